"""The causality certificate of a run: made part by part, stored, and the end of the run when one fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.frame import Candles
from markets.features.certificate import certify_features
from markets.features.compute import compute_features
from markets.features.registry import CODE_VERSION
from markets.features.table import FeatureTable
from modeling.causality import (
    CERTIFIED_BY,
    certified_again,
    failed_parts,
    joined_certificate,
    joined_proof,
)
from modeling.evaluation.calibration import Calibrator
from modeling.evaluation.table import PREDICTED, Table
from modeling.folds import FoldResult
from modeling.judging import MODEL
from modeling.models import TrainingRun
from modeling.training.certificate import PredictedBlock, certify_predictions
from modeling.training.fit import FittedFold
from modeling.training.resident import Standards
from modeling.windows.certificate import certify_fit
from modeling.windows.learned import FoldFit, FoldWindows, apply_fit, learn_from_fit
from modeling.windows.make import Bars, PoolPart, Windows
from modeling.working import WorkingFold

Json = dict[str, Any]  # Any: JSON has no narrower type


def certify_tables(run: TrainingRun, attempt: RunningAttempt, parts: Sequence[PoolPart]) -> None:
    """Prove once by the running code that no feature of any instrument knows the future, and end the
    run when one does. `run.code_version` is that of this process.
    """
    if run.causality.get(CERTIFIED_BY) != run.code_version:
        each = {
            part.instrument: certificate_of(part.candles, part.table, run.seed, attempt)
            for part in parts
        }
        found = joined_certificate(each) | {CERTIFIED_BY: run.code_version}
        done = run.folds.exclude(finished_at=None)
        finished = attempt.write(lambda: set(done.values_list("number", flat=True)))
        certificate = certified_again(run.causality, found, finished)
        attempt.write(lambda: _store_certificate(run, certificate))
    _refuse_failed(run.causality)


def certificate_of(
    candles: Candles, table: FeatureTable, seed: int, attempt: RunningAttempt
) -> Json:
    """Each bar of the check computes all features twice, so a stop is looked for in between."""

    def compute(shorter: Candles, names: Sequence[str], scales: Sequence[int]) -> FeatureTable:
        attempt.raise_if_stopping()
        attempt.progress(0.02, "Checking that no feature knows the future")
        return compute_features(shorter, names, scales)

    return certify_features(candles, table, seed=seed, compute=compute)


def _store_certificate(run: TrainingRun, certificate: Json) -> None:
    run.causality = certificate
    run.save(update_fields=["causality"])


def certify_fold(
    run: TrainingRun,
    attempt: RunningAttempt,
    windows: Windows,
    fold: FoldWindows,
    *,
    is_resumed: bool = False,
) -> None:
    """Prove once by the running code that what the fold learned before training knows nothing but its
    fit slice.

    A fold that is resumed keeps the features it began with. Other code, which proved that choice, may
    have chosen otherwise without knowing the future: proved is then what the running code learns itself.
    """
    if (_entry(run, fold) or {}).get(CERTIFIED_BY) != run.code_version:
        spec = run.experiment.model_spec
        if is_resumed:
            bars = windows.bars(fold.fold.fit)
            again = learn_from_fit(windows.parts, windows.raw, bars, spec)
            fold = dataclasses.replace(fold, learned=again)
        found = certify_fit(windows, fold, spec, seed=run.seed)
        found |= {CERTIFIED_BY: run.code_version, "code_version": CODE_VERSION}
        attempt.write(lambda: _store_entry(run, found))
    _refuse_failed(run.causality)


def certify_predicted(
    run: TrainingRun,
    attempt: RunningAttempt,
    windows: Windows,
    fold: FoldWindows,
    fitted: FittedFold,
    result: FoldResult,
) -> None:
    """Prove that what a fold predicted, by what it is about to store, knows no later candle."""
    spec = run.experiment.model_spec
    table = result.tables[MODEL]
    again = _again(run, attempt, fitted, result)
    bars = windows.bars(fold.fold.predicted)
    each = {}
    for part in windows.parts:
        at = slice(*np.searchsorted(bars, (part.span.start, part.span.stop)))
        block = PredictedBlock(
            windows.alone(part),
            part.own(bars),
            {name: table[name][at] for name in PREDICTED},
            again,
        )
        each[part.instrument] = certify_predictions(block, spec, seed=run.seed + fold.fold.number)
    found = joined_proof(each)
    before = _entry(run, fold) or {}
    entry = {
        **before,
        "passed": bool(before["passed"] and found["passed"]),
        "predictions": "passed" if found["passed"] else "failed",
        "predicted": found,
    }
    attempt.write(lambda: _store_entry(run, entry))
    _refuse_failed(run.causality)


def _again(
    run: TrainingRun, attempt: RunningAttempt, fitted: FittedFold, result: FoldResult
) -> Callable[[Windows, Bars], Table]:
    """Predict on windows of other candles with the selection and scalers as they are stored."""
    learned = FoldFit.from_json(result.state)
    working = WorkingFold(
        spec=run.experiment.model_spec,
        network=fitted.network,
        precision=fitted.precision,
        device=next(fitted.network.parameters()).device,
        standards=Standards.from_json(result.state),
        calibrator=Calibrator.from_json(result.state["calibrator"]),
    )

    def again(windows: Windows, bars: Bars) -> Table:
        attempt.raise_if_stopping()
        applied = apply_fit(windows, learned)
        return working.predict(windows, applied, bars, attempt.raise_if_stopping)

    return again


def _entry(run: TrainingRun, fold: FoldWindows) -> Json | None:
    done: list[Json] = run.causality.get("folds", [])
    return next((entry for entry in done if entry["fold"] == fold.fold.number), None)


def _store_entry(run: TrainingRun, entry: Json) -> None:
    """The parts of a fold in the place of what was known of it, and whether nothing failed so far."""
    others = [other for other in run.causality.get("folds", []) if other["fold"] != entry["fold"]]
    passed = bool(run.causality["passed"] and not failed_parts(entry))
    entries = sorted([*others, entry], key=lambda each: each["fold"])
    _store_certificate(run, run.causality | {"passed": passed, "folds": entries})


def _refuse_failed(certificate: Json) -> None:
    """End the run when anything knew its future, and say what."""
    if certificate["passed"]:
        return
    for entry in certificate.get("folds", []):
        if failed_parts(entry):
            raise JobFailed("causality", _said(entry))
    raise JobFailed(
        "causality",
        "A feature used candles from its future; the certificate of this run names it. "
        "Nothing was trained with it. Update the feature, then launch again.",
    )


def _said(entry: Json) -> str:
    number = entry["fold"]
    if entry.get("predictions") == "failed":
        found = entry["predicted"]
        of = f" of {found['instrument']}" if "instrument" in found else ""
        return (
            f"Candles{of} behind bar {found['altered_after_bar']}, {found['future']}, changed the predictions "
            f"of fold {number} up to it ({', '.join(found['changed'])}); expected no change. The fold was "
            "not stored. Update the code, then launch again."
        )
    return (
        f"Candles behind the fit slice of fold {number}, or its test blocks, changed its "
        f"{' and '.join(failed_parts(entry))}; expected no change. The fold was not trained. "
        "Update the code, then launch again."
    )
