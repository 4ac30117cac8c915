"""Weights as files that are equal when the weights are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from modeling.training.errors import CheckpointRejected
from modeling.training.files import write_atomically


def weights_sha256(weights: Mapping[str, Tensor], spec_sha256: str) -> str:
    """Checksum of the file that `save_weights` writes for these weights and this spec."""
    return hashlib.sha256(_content(weights, spec_sha256)).hexdigest()


def save_weights(path: Path, weights: Mapping[str, Tensor], spec_sha256: str) -> str:
    """Write a safetensors file, tensors in name order, float32; return its sha256.

    Its only metadata is the checksum of the spec, so equal weights give equal files.
    """
    return write_atomically(path, _content(weights, spec_sha256))


def load_weights(path: Path, *, sha256: str) -> dict[str, Tensor]:
    """Read weights. Raises CheckpointRejected when the file is not the one with that checksum."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointRejected(f"{path.name} does not have the checksum it was stored with")
    return dict(load(content))


def _content(weights: Mapping[str, Tensor], spec_sha256: str) -> bytes:
    tensors = {
        name: weights[name].detach().to("cpu", torch.float32).contiguous()
        for name in sorted(weights)
    }
    content: bytes = save(tensors, metadata={"spec_sha256": spec_sha256})
    return content
