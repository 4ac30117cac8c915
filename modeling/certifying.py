"""The causality certificate of a run: made before anything is trained, stored, and refused when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.frame import Candles
from markets.features.certificate import certify_features
from markets.features.compute import compute_features
from markets.features.table import FeatureTable
from modeling.models import TrainingRun
from modeling.windows.certificate import LEARNED, certify_fit
from modeling.windows.make import FoldWindows, Windows


def certify_table(
    run: TrainingRun, attempt: RunningAttempt, candles: Candles, table: FeatureTable
) -> None:
    """Prove once that no feature knows the future, and end the run when one does."""
    if not run.causality:
        certificate = certificate_of(candles, table, run.seed, attempt)
        attempt.write(lambda: _store_certificate(run, certificate))
    _refuse_failed(run.causality)


def certificate_of(
    candles: Candles, table: FeatureTable, seed: int, attempt: RunningAttempt
) -> dict[str, Any]:
    """Each bar of the check computes all features twice, so a stop is looked for in between."""

    def compute(shorter: Candles, names: Sequence[str], scales: Sequence[int]) -> FeatureTable:
        attempt.raise_if_stopping()
        attempt.progress(0.02, "Checking that no feature knows the future")
        return compute_features(shorter, names, scales)

    return certify_features(candles, table, seed=seed, compute=compute)


def _store_certificate(run: TrainingRun, certificate: dict[str, Any]) -> None:
    run.causality = certificate
    run.save(update_fields=["causality"])


def certify_fold(
    run: TrainingRun, attempt: RunningAttempt, windows: Windows, fold: FoldWindows
) -> None:
    """Prove once that what the fold learned before training knows nothing behind its fit slice."""
    done = run.causality.get("folds", [])
    entry = next((entry for entry in done if entry["fold"] == fold.fold.number), None)
    if entry is None:
        spec = run.experiment.model_spec
        entry = certify_fit(windows, fold, spec, seed=run.seed)
        passed = bool(run.causality["passed"] and entry["passed"])
        certificate = run.causality | {"passed": passed, "folds": [*done, entry]}
        attempt.write(lambda: _store_certificate(run, certificate))
    _refuse_failed(run.causality)


def _refuse_failed(certificate: dict[str, Any]) -> None:
    """End the run when anything knew its future, and say what."""
    if certificate["passed"]:
        return
    for entry in certificate.get("folds", []):
        parts = [name for name in LEARNED if entry[name] != "passed"]
        if parts:
            raise JobFailed(
                "causality",
                f"Candles behind the fit slice of fold {entry['fold']} changed its "
                f"{' and '.join(parts)}; expected no change. The fold was not trained. "
                "Update the code, then launch again.",
            )
    raise JobFailed(
        "causality",
        "A feature used candles from its future; the certificate of this run names it. "
        "Nothing was trained. Update the feature, then launch again.",
    )
