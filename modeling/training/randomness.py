"""The state of every random generator that training may draw from, as arrays and JSON data."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TORCH, CUDA = "random/torch", "random/cuda"

Json = dict[str, Any]  # Any: JSON has no narrower type
Arrays = dict[str, NDArray[Any]]  # Any: of any dtype


def generator_arrays(device: torch.device) -> Arrays:
    """States of torch's generators, those of the processor and of the device, by name."""
    arrays = {TORCH: torch.get_rng_state().numpy().copy()}
    if device.type == "cuda":
        arrays[CUDA] = torch.cuda.get_rng_state(device).numpy().copy()
    return arrays


def generator_json() -> Json:
    """States of Python's and numpy's global generators."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc]
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), place, has_gauss, cached],
    }


def restore_generators(
    arrays: Mapping[str, NDArray[Any]], state: Json, device: torch.device
) -> None:
    """Set every generator to a state that the two functions above returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), place, has_gauss, cached))
    torch.set_rng_state(torch.from_numpy(np.array(arrays[TORCH])))
    if device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(np.array(arrays[CUDA])), device)
