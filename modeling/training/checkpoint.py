"""Checkpoints: everything that training needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load, save

from modeling.training.errors import CheckpointRejected, OtherFormat
from modeling.training.files import TEMPORARY_SUFFIX, write_atomically

FORMAT_VERSION = 2
KEPT = 2
ARRAYS_SUFFIX = ".safetensors"
STATE_SUFFIX = ".json"

Array = NDArray[Any]  # Any: weights, step counts and generator states differ in type
Json = dict[str, Any]  # Any: JSON has no narrower type


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint was made from. Only the versions may differ when training goes on."""

    spec_sha256: str
    dataset_sha256: str
    seed: int
    code_version: str = ""
    library_versions: Mapping[str, str] | None = None

    def to_json(self) -> Json:
        """Plain JSON data."""
        return {
            "spec_sha256": self.spec_sha256,
            "dataset_sha256": self.dataset_sha256,
            "seed": self.seed,
            "code_version": self.code_version,
            "library_versions": dict(self.library_versions or {}),
        }

    def fits(self, found: Json) -> bool:
        """Whether a checkpoint with this provenance belongs to the same spec, data and seed."""
        own = self.to_json()
        return all(found.get(key) == own[key] for key in ("spec_sha256", "dataset_sha256", "seed"))


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps of a fold: arrays by name, and the rest as JSON data."""

    fold: int
    step: int
    arrays: Mapping[str, Array]
    state: Json

    @property
    def threads(self) -> int:
        """Processor threads that the steps so far were computed with."""
        return int(self.state["threads"])


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint on disk: its state file (`path`), which names the arrays file, and its checksum."""

    path: Path
    sha256: str
    bytes: int
    fold: int
    step: int


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> SavedCheckpoint:
    """Write a checkpoint as arrays and JSON; the JSON comes last and makes it valid.

    Raises OSError when the disk is full; checkpoints written before are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"fold-{checkpoint.fold:03d}-step-{checkpoint.step:09d}"
    content = save({key: checkpoint.arrays[key] for key in sorted(checkpoint.arrays)})
    body = {
        "format_version": FORMAT_VERSION,
        "fold": checkpoint.fold,
        "step": checkpoint.step,
        "arrays_sha256": write_atomically(folder / f"{name}{ARRAYS_SUFFIX}", content),
        "state": checkpoint.state,
    }
    text = json.dumps({**body, "body_sha256": _body_sha256(body)}, sort_keys=True).encode()
    path = folder / f"{name}{STATE_SUFFIX}"
    return SavedCheckpoint(
        path=path,
        sha256=write_atomically(path, text),
        bytes=len(content) + len(text),
        fold=checkpoint.fold,
        step=checkpoint.step,
    )


def read_state(path: Path, *, sha256: str | None = None) -> Json:
    """The state file alone: fold, step, `arrays_sha256` and `state`; the arrays are not looked at.

    Raises CheckpointRejected as `load_checkpoint`, and its OtherFormat when only the format differs.
    """
    try:
        content = path.read_bytes()
        found: Json = json.loads(content)
        body_sha256 = found.pop("body_sha256")
    except OSError as error:
        raise CheckpointRejected(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointRejected(f"{path.name} is not a checkpoint") from error
    altered = sha256 is not None and hashlib.sha256(content).hexdigest() != sha256
    if altered or body_sha256 != _body_sha256(found):
        raise CheckpointRejected(f"{path.name} does not have the checksum it was stored with")
    if found["format_version"] != FORMAT_VERSION:
        version = found["format_version"]
        raise OtherFormat(f"{path.name} has format version {version}, expected {FORMAT_VERSION}")
    return found


def load_checkpoint(path: Path, *, sha256: str | None = None) -> Checkpoint:
    """Read the checkpoint whose state file is `path`.

    Raises CheckpointRejected when a file is missing, cut short, altered, of another format, or
    when the state file does not have the given `sha256`.
    """
    body = read_state(path, sha256=sha256)
    arrays = path.with_suffix(ARRAYS_SUFFIX)
    try:
        content = arrays.read_bytes()
    except OSError as error:
        raise CheckpointRejected(f"{arrays.name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != body["arrays_sha256"]:
        raise CheckpointRejected(f"{arrays.name} does not have the checksum it was stored with")
    return Checkpoint(
        fold=int(body["fold"]), step=int(body["step"]), arrays=load(content), state=body["state"]
    )


def prune_checkpoints(folder: Path, *, keep: int = KEPT) -> None:
    """Delete all but the newest `keep` checkpoints, what is left of unfinished ones included."""
    states = sorted(folder.glob(f"fold-*{STATE_SUFFIX}"), reverse=True)
    kept = {path.stem for path in states[:keep]}
    for path in states[keep:]:
        path.unlink(missing_ok=True)
    for path in folder.glob(f"fold-*{ARRAYS_SUFFIX}"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)
    for path in folder.glob(f".fold-*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def _body_sha256(body: Json) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
