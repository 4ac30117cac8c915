from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from modeling.training.errors import CheckpointRejected
from modeling.training.weights import load_weights, save_weights, weights_sha256

WEIGHTS = {"b": torch.arange(3.0), "a": torch.ones(2, 2), "c.d": torch.tensor([0.5])}


def test_file_has_the_announced_checksum_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    digest = save_weights(path, WEIGHTS, "spec")
    assert digest == weights_sha256(WEIGHTS, "spec")
    loaded = load_weights(path, sha256=digest)
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[name], WEIGHTS[name]) for name in WEIGHTS)


def test_order_of_the_tensors_does_not_matter() -> None:
    turned = dict(reversed(WEIGHTS.items()))
    assert weights_sha256(turned, "spec") == weights_sha256(WEIGHTS, "spec")


def test_checksum_tells_weights_and_specs_apart() -> None:
    changed = {**WEIGHTS, "b": torch.tensor([0.0, 1.0, 2.0000002])}
    assert weights_sha256(changed, "spec") != weights_sha256(WEIGHTS, "spec")
    assert weights_sha256(WEIGHTS, "other") != weights_sha256(WEIGHTS, "spec")


def test_only_metadata_is_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, WEIGHTS, "spec")
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"spec_sha256": "spec"}


def test_altered_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    digest = save_weights(path, WEIGHTS, "spec")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointRejected, match="checksum"):
        load_weights(path, sha256=digest)
