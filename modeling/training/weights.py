"""Weights as files that are equal when the weights are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from modeling.training.files import write_atomically


def save_weights(path: Path, weights: Mapping[str, Tensor], spec_sha256: str) -> str:
    """Write a safetensors file, tensors in name order, float32; return its sha256.

    Its only metadata is the checksum of the spec, so equal weights give equal files.
    """
    return write_atomically(path, _content(weights, spec_sha256))


def _content(weights: Mapping[str, Tensor], spec_sha256: str) -> bytes:
    tensors = {
        name: weights[name].detach().to("cpu", torch.float32).contiguous()
        for name in sorted(weights)
    }
    content: bytes = save(tensors, metadata={"spec_sha256": spec_sha256})
    return content
