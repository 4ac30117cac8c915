"""Where a run was computed and with what: device, threads, code, libraries and data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from collections.abc import Sequence

import torch
from django.conf import settings

from jobs.attempts import RunningAttempt
from markets.candles.frame import Candles, candles_sha256
from modeling.models import TrainingRun
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

    def store() -> None:
        run.device, run.threads = name[:40], threads
        run.code_version = code_version()
        run.libraries = {library: importlib.metadata.version(library) for library in LIBRARIES}
        run.data_sha256 = data_sha256
        run.save(update_fields=["device", "threads", "code_version", "libraries", "data_sha256"])
        attempt.record_device(name)

    attempt.write(store)


def data_digest(candles: Sequence[Candles]) -> str:
    """The checksum of the candles; of several instruments that of their checksums in order."""
    each = [candles_sha256(own) for own in candles]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


def code_version() -> str:
    """The package version, and the commit where one is known."""
    version = importlib.metadata.version("outsample")
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=settings.ROOT,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except OSError:
        return version
    return f"{version}+{found.stdout.strip()}" if found.returncode == 0 else version


def provenance_of(run: TrainingRun) -> Provenance:
    return Provenance(
        spec_sha256=run.experiment.spec_sha256,
        dataset_sha256=run.data_sha256,
        seed=run.seed,
        code_version=run.code_version,
        library_versions=run.libraries,
    )
