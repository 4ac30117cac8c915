"""Learning rate over the steps, and the order of samples."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

FINAL_SHARE = 0.1


def rate_share(step: int, *, total_steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step counted from 1.

    It rises linearly over the first `warmup` share of all steps, then falls along a cosine to 10 %.
    """
    rising = math.ceil(warmup * total_steps)
    if step <= rising:
        return step / rising
    progress = (step - rising) / max(1, total_steps - rising)
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))


def epoch_order(samples: int, *, seed: int, fold: int, epoch: int) -> NDArray[np.int64]:
    """Permutation of `samples` that depends on seed, fold and epoch and nothing drawn before."""
    generator = np.random.default_rng(derived_seed("order", seed, fold, epoch))
    return generator.permutation(samples).astype(np.int64, copy=False)


def derived_seed(purpose: str, *parts: int) -> int:
    """A seed of 63 bits for one purpose; different parts give unrelated seeds."""
    text = ":".join([purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
