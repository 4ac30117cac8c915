from __future__ import annotations

import time

from django.conf import settings

from markets.features.eviction import evict


def evict_features() -> int:
    """Keep the cache of this machine below its limit; what is still needed is computed again."""
    return evict(settings.FEATURE_CACHE, max_bytes=settings.FEATURE_CACHE_BYTES, now=time.time())
