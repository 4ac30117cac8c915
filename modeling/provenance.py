"""Where a run was computed and with what: device, threads, code, libraries and data."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence

import torch

from jobs.attempts import RunningAttempt
from markets.candles.frame import Candles, candles_sha256
from modeling.code_versions import code_version
from modeling.models import TrainingRun
from modeling.observing import tell_changed_code
from modeling.training.checkpoint import Provenance
from modeling.training.ranks import Ranks

LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn", "lightgbm", "TA-Lib", "safetensors")


def note_machine(
    run: TrainingRun,
    attempt: RunningAttempt,
    data_sha256: str,
    ranks: Ranks,
    threads: int,
) -> None:
    name = torch.cuda.get_device_name() if ranks.device.type == "cuda" else "cpu"
    if ranks.count > 1:
        name = f"{ranks.count} × {name}"

    running = code_version()
    if run.code_version and attempt.write(run.folds.exclude(finished_at=None).exists):
        before = run.code_version
        tell_changed_code(run, attempt, before=before, running=running, left="finished folds")

    def store() -> None:
        run.device, run.threads = name[:40], threads
        run.code_version = running
        run.libraries = {library: importlib.metadata.version(library) for library in LIBRARIES}
        run.data_sha256 = data_sha256
        run.save(update_fields=["device", "threads", "code_version", "libraries", "data_sha256"])
        attempt.record_device(name)

    attempt.write(store)


def data_digest(candles: Sequence[Candles]) -> str:
    """The checksum of the candles; of several instruments that of their checksums in order."""
    each = [candles_sha256(own) for own in candles]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


def provenance_of(run: TrainingRun) -> Provenance:
    return Provenance(
        spec_sha256=run.experiment.spec_sha256,
        dataset_sha256=run.data_sha256,
        seed=run.seed,
        code_version=run.code_version,
        library_versions=run.libraries,
    )
