from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeling.training.checkpoint import (
    Checkpoint,
    SavedCheckpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from modeling.training.errors import CheckpointRejected
from modeling.training.files import write_atomically
from tests.modeling.training.markets import PROVENANCE


def checkpoint(step: int, *, fold: int = 1) -> Checkpoint:
    return Checkpoint(
        fold=fold,
        step=step,
        arrays={
            "a": np.linspace(0, 1, 7, dtype=np.float32),
            "step": np.array(step, dtype=np.float32),
            "random": np.arange(9, dtype=np.uint8),
        },
        state={"threads": 2, "provenance": PROVENANCE.to_json(), "mean": 0.1 + 0.2},
    )


def three(folder: Path) -> list[SavedCheckpoint]:
    return [save_checkpoint(folder, checkpoint(step)) for step in (100, 200, 300)]


def flip_a_bit(path: Path, at: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path, checkpoint(100))
    loaded = load_checkpoint(saved.path, sha256=saved.sha256)
    assert (loaded.fold, loaded.step, loaded.threads) == (1, 100, 2)
    assert loaded.state["mean"] == 0.1 + 0.2
    for name, array in checkpoint(100).arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].tobytes() == array.tobytes()
    assert not list(tmp_path.glob(".*"))


def test_equal_checkpoints_are_equal_files(tmp_path: Path) -> None:
    one = save_checkpoint(tmp_path / "one", checkpoint(100))
    two = save_checkpoint(tmp_path / "two", checkpoint(100))
    assert one.sha256 == two.sha256


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_damaged_checkpoint_is_rejected_and_the_one_before_is_whole(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    _, before, newest = three(tmp_path)
    path = newest.path.with_suffix(suffix)
    if damage == "bit":
        flip_a_bit(path)
    else:
        path.write_bytes(path.read_bytes()[: 60 if damage == "cut" else 0])
    with pytest.raises(CheckpointRejected, match="step-000000300"):
        load_checkpoint(newest.path)
    assert load_checkpoint(before.path, sha256=before.sha256).step == 200


def test_state_without_its_arrays_is_rejected(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path, checkpoint(100))
    saved.path.with_suffix(".safetensors").unlink()
    with pytest.raises(CheckpointRejected, match="cannot be read"):
        load_checkpoint(saved.path)


def test_arrays_without_their_state_are_no_checkpoint(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path, checkpoint(100))
    saved.path.unlink()
    with pytest.raises(CheckpointRejected, match="cannot be read"):
        load_checkpoint(saved.path)


def test_checkpoint_with_another_checksum_is_rejected(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path, checkpoint(100))
    with pytest.raises(CheckpointRejected, match="checksum"):
        load_checkpoint(saved.path, sha256="0" * 64)


def test_checkpoint_of_a_later_format_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeling.training.checkpoint.FORMAT_VERSION", 3)
    saved = save_checkpoint(tmp_path, checkpoint(100))
    monkeypatch.undo()
    with pytest.raises(CheckpointRejected, match="format version 3, expected 2"):
        load_checkpoint(saved.path)


@pytest.mark.parametrize(
    "change", [{"spec_sha256": "6" * 64}, {"dataset_sha256": "e" * 64}, {"seed": 4}]
)
def test_checkpoint_fits_no_other_spec_data_or_seed(change: dict[str, Any]) -> None:
    other = dataclasses.replace(PROVENANCE, **change)
    assert PROVENANCE.fits(PROVENANCE.to_json())
    assert not other.fits(PROVENANCE.to_json())


def test_code_may_change_between_checkpoint_and_resume() -> None:
    newer = dataclasses.replace(PROVENANCE, code_version="9.9", library_versions={"torch": "9"})
    assert newer.fits(PROVENANCE.to_json())


def test_old_checkpoints_and_remains_are_deleted(tmp_path: Path) -> None:
    three(tmp_path)
    (tmp_path / "fold-001-step-000000400.safetensors").write_bytes(b"no state follows")
    (tmp_path / ".fold-001-step-000000500.json.tmp").write_bytes(b"half")
    prune_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fold-001-step-000000200.json",
        "fold-001-step-000000200.safetensors",
        "fold-001-step-000000300.json",
        "fold-001-step-000000300.safetensors",
    ]


def test_two_writers_of_one_file_do_not_share_a_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "state.json", os.fsync

    def written_over(descriptor: int) -> None:
        monkeypatch.setattr("modeling.training.files.os.fsync", real)
        write_atomically(path, b"second")  # starts and ends while the first still writes
        real(descriptor)

    monkeypatch.setattr("modeling.training.files.os.fsync", written_over)
    write_atomically(path, b"first")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("state.json", b"first")
    ]


def test_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path)
    before = sorted(tmp_path.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeling.training.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint(400))
    assert sorted(tmp_path.iterdir()) == before


def test_written_file_has_the_returned_checksum(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    digest = write_atomically(path, b"[1, 2]")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_bytes() == b"[1, 2]"
