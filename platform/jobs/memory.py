from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def address_space_limit(extra_gib: float) -> Iterator[None]:
    """Let this process grow by so much at most; beyond that allocations raise MemoryError.

    Only the soft limit is moved, and it is restored. Where the current size cannot be read
    (elsewhere than Linux) nothing is limited.
    """
    current = _address_space_bytes()
    if current is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = current + int(extra_gib * 2**30)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def peak_mib(usage: resource.struct_rusage) -> int:
    """The most memory a process has held, from what the system says of it."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    return int(usage.ru_maxrss * unit // 2**20)


def _address_space_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return pages * resource.getpagesize()
