from __future__ import annotations

import resource
from collections.abc import Callable

import psutil
import pytest
import torch

from modeling.training import machine
from modeling.training.machine import (
    chosen_precision,
    free_bytes,
    held_bytes,
    is_out_of_memory,
    set_threads,
)

CPU = torch.device("cpu")


def test_threads_are_set_and_0_takes_the_physical_cores() -> None:
    assert set_threads(1) == torch.get_num_threads() == 1
    assert set_threads(0) == torch.get_num_threads() >= 1


def test_wished_precision_is_taken() -> None:
    assert chosen_precision("bf16", CPU, width=32) == "bf16"
    assert chosen_precision("fp32", CPU, width=512) == "fp32"


@pytest.mark.parametrize(("native", "wide"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_where_it_is_native_and_pays(
    native: bool, wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    assert chosen_precision("auto", CPU, width=512) == wide
    assert chosen_precision("auto", CPU, width=32) == "fp32"


def test_some_memory_is_free_and_some_is_held() -> None:
    assert free_bytes(CPU) > 0
    assert held_bytes(CPU) > 2**20


def test_limit_of_the_process_leaves_nothing_free() -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms, limits[1]))
    try:
        assert free_bytes(CPU) < 2**20
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize(
    ("processes", "expected"), [(1, lambda cores: cores), (64, lambda cores: 1)]
)
def test_processes_share_the_cores(processes: int, expected: Callable[[int], int]) -> None:
    cores = set_threads(0)
    assert set_threads(0, processes=processes) == expected(cores)
    assert set_threads(3, processes=processes) == 3


@pytest.mark.parametrize(
    ("error", "free", "starved"),
    [
        (MemoryError(), 2**40, True),
        (torch.OutOfMemoryError("Tried to allocate 2.50 GiB"), 2**40, True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: …"), 2**40, True),
        (RuntimeError("std::bad_alloc"), 2**40, True),
        (RuntimeError("could not create a primitive"), 0, True),
        (RuntimeError("could not create a primitive"), 2**40, False),
        (RuntimeError("could not create a memory object"), 0, True),
        (RuntimeError("could not create a primitive descriptor for a matmul"), 0, False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 0, False),
    ],
)
def test_failed_allocations_are_known_by_kind_words_or_by_what_is_left(
    error: Exception, free: int, starved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda device: free)
    assert is_out_of_memory(error, CPU) is starved
