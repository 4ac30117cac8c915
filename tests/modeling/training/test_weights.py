from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from modeling.training.weights import save_weights

WEIGHTS = {"b": torch.arange(3.0), "a": torch.ones(2, 2), "c.d": torch.tensor([0.5])}


def test_file_has_the_announced_checksum_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    digest = save_weights(path, WEIGHTS, "spec")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_file(path)
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[name], WEIGHTS[name]) for name in WEIGHTS)


def test_order_of_the_tensors_does_not_matter(tmp_path: Path) -> None:
    turned = dict(reversed(WEIGHTS.items()))
    digests = {save_weights(tmp_path / "w", weights, "spec") for weights in (WEIGHTS, turned)}
    assert len(digests) == 1


def test_checksum_tells_weights_and_specs_apart(tmp_path: Path) -> None:
    changed = {**WEIGHTS, "b": torch.tensor([0.0, 1.0, 2.0000002])}
    cases = ((WEIGHTS, "spec"), (changed, "spec"), (WEIGHTS, "other"))
    assert len({save_weights(tmp_path / "w", weights, spec) for weights, spec in cases}) == 3


def test_only_metadata_is_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, WEIGHTS, "spec")
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"spec_sha256": "spec"}
