"""Threads, precision and repeatable arithmetic of the machine at hand."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import psutil
import torch

Precision = Literal["fp32", "bf16"]

NARROWEST_BF16_WIDTH = 128
STARVED = ("DefaultCPUAllocator", "not enough memory", "std::bad_alloc")
UNREASONED = re.compile(r"could not (create|execute) a (primitive|memory)(?! desc)")


def set_threads(threads: int, *, processes: int = 1) -> int:
    """Let torch compute with that many threads; return their number. 0 takes the physical cores, or
    the part of one of several processes.

    Call it before anything is computed: another number of threads changes the last bits.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False) or 1
    chosen = threads or max(1, min(physical, usable or 1) // processes)
    torch.set_num_threads(chosen)
    return chosen


def chosen_precision(
    wish: Literal["auto", "fp32", "bf16"], device: torch.device, *, width: int
) -> Precision:
    """The precision of matrix products. Auto takes bf16 where the device computes it natively.

    On a processor auto keeps networks narrower than 128 in fp32: there the conversions cost more
    than the products save (2 cores: 3500 for 6700 samples/s at width 32, equal at width 64).
    """
    if wish != "auto":
        return wish
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    native = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return "bf16" if native and width >= NARROWEST_BF16_WIDTH else "fp32"


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it, equal seeds give equal bits on a processor, a GPU multiplies in TF32 what is not
    bf16, and torch's own generators are free to use: they and the settings are restored afterwards.
    """
    before = torch.are_deterministic_algorithms_enabled()
    memory = cast(Any, torch.utils.deterministic)  # Any: its switch is not in the type stubs
    filled = memory.fill_uninitialized_memory
    products = torch.get_float32_matmul_precision()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
            memory.fill_uninitialized_memory = False
        else:
            torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            memory.fill_uninitialized_memory = filled
            torch.set_float32_matmul_precision(products)


def free_bytes(device: torch.device) -> int:
    """Memory that could still be allocated on the device, within the limit of this process."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return available
    return max(0, min(available, limit - int(psutil.Process().memory_info().vms)))


def held_bytes(device: torch.device) -> int:
    """Memory that this process holds on the device."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def is_out_of_memory(error: BaseException, device: torch.device) -> bool:
    """Whether an allocation failed, on a GPU or for the processor.

    oneDNN gives no reason for what it could not create; with less free than is held it was memory.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    if UNREASONED.search(text):
        return free_bytes(device) < held_bytes(device)
    return any(words in text for words in STARVED)
