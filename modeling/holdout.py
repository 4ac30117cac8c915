"""The body of an opened hold-out: the newest fold's weights on the sealed span, scored once.

Only the trainer process imports this module; it loads torch.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from artifacts.store import scratch_folder
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.frame import Candles
from markets.features.compute import compute_features
from markets.models import DatasetVersion
from markets.reading import ns_of
from modeling.evaluation.alarm import leak_alarm
from modeling.evaluation.heads import score_heads
from modeling.evaluation.table import of_instrument, write_predictions
from modeling.folds import window_volatility
from modeling.judging import add_certainty
from modeling.models import Fold, HoldoutOpening, TrainingRun, Trial, instrument_name
from modeling.sealed import closed_within, sealed_candles
from modeling.specs import ModelSpec
from modeling.storing import write_end
from modeling.trained import TrainedFold, block_of, raise_alarm, store_set
from modeling.training.machine import set_threads
from modeling.windows.learned import prepare_fold
from modeling.windows.make import PoolPart, Windows, pool_windows
from modeling.windows.selection import Selection

Positions = NDArray[np.int64]


def score_holdout(opening: HoldoutOpening, attempt: RunningAttempt) -> None:
    """Predict every complete window of the sealed span, score the heads, store both and count it."""
    run = opening.run
    spec, pool = run.experiment.model_spec, run.experiment.pool
    set_threads(run.threads or spec.training.threads)
    attempt.progress(0.0, "Reading the candles")
    last = attempt.write(lambda: run.newest_fold)
    candles = {instrument_name(version): _whole_candles(opening, version) for version in pool}
    attempt.raise_if_stopping()
    attempt.progress(0.1, "Computing features")
    parts = [_part(spec, name, own) for name, own in candles.items()]
    windows = pool_windows(parts, spec, holdout_at=ns_of(opening.from_at))
    fold = _as_trained(windows, last, run)
    attempt.raise_if_stopping()
    attempt.progress(0.4, "Predicting the hold-out")
    sealed = _sealed_samples(windows, opening)
    predicted = fold.predict(windows.bars(sealed), attempt)
    attempt.progress(0.7, "Scoring the hold-out")
    effective = _effective(windows, sealed, opening)
    scoring = fold.scoring(effective)
    metrics: dict[str, Any] = {**score_heads(predicted, scoring)}
    add_certainty(metrics, predicted, [last], scoring)
    blocks = {"hold-out": block_of(metrics, effective)}
    of_each = _effective_of_each(windows, sealed, opening)
    for name, own in of_each.items():
        rows, scoring = of_instrument(predicted, name), fold.scoring(own)
        scores = score_heads(rows, scoring)
        add_certainty(scores, rows, [last], scoring)
        metrics["instruments"] = metrics.get("instruments", {}) | {name: scores}
        blocks[f"{name}, hold-out"] = block_of(scores, own)
    alarm = leak_alarm(
        blocks,
        market="noise" if all(version.is_synthetic for version in pool) else "real",
        timeframe_minutes=windows.timeframe_minutes,
        horizon_bars=spec.windows.horizon_bars,
    )
    attempt.raise_if_stopping()
    with scratch_folder() as scratch:
        path = scratch / "holdout.parquet"
        write_predictions(path, predicted, instrument_name(run.experiment.version))

        def store() -> None:
            opening.predictions = store_set(fold, predicted, path, run=run, is_holdout=True)
            opening.metrics = metrics
            opening.save(update_fields=["predictions", "metrics"])
            raise_alarm(run, alarm.reasons)
            _count_trial(opening)
            attempt.succeed(f"{len(predicted['open_at'])} bars of the hold-out predicted.")

        write_end(attempt, store)


def _part(spec: ModelSpec, name: str, candles: Candles) -> PoolPart:
    scales = spec.features.scales_for(candles.timeframe_minutes)
    names, cache = spec.features.names(), settings.FEATURE_CACHE
    return PoolPart(name, candles, compute_features(candles, names, scales, cache=cache))


def _whole_candles(opening: HoldoutOpening, version: DatasetVersion) -> Candles:
    """The candles of a version that the experiment uses, up to the end of the sealed span."""
    first, until = opening.experiment.model_spec.data.within(version.first_at, opening.until_at)
    return closed_within(sealed_candles(version), first, until)


def _as_trained(windows: Windows, stored: Fold, run: TrainingRun) -> TrainedFold:
    """The newest fold with the scalers and thresholds it was trained with, proved equal to the stored.

    They are fitted on the fit slice alone, so that more candles behind it change nothing.
    """
    selection = Selection.from_json(stored.state["selection"])
    spec = run.experiment.model_spec
    fold = prepare_fold(windows, windows.folds[stored.number - 1], spec, selection=selection)
    learned = json.loads(json.dumps(fold.learned.to_json()))
    if any(stored.state[name] != value for name, value in learned.items()):
        raise JobFailed(
            "not_as_trained",
            "The newest fold is not prepared as it was when it was trained; the code has changed since. "
            "Run the experiment again and open the hold-out with the new run.",
        )
    volatility = window_volatility(spec, windows, windows.bars(fold.fold.fit))
    return TrainedFold(run, stored, windows, fold, volatility)


def _sealed_samples(windows: Windows, opening: HoldoutOpening) -> Positions:
    """Samples that are known only behind the seal."""
    sealed = np.flatnonzero(windows.samples.known_at > ns_of(opening.from_at))
    if not sealed.size:
        raise JobFailed(
            "not_enough_history",
            "The hold-out has no complete window. Open that of an experiment with a longer one.",
        )
    return sealed


def _effective(windows: Windows, sealed: Positions, opening: HoldoutOpening) -> float:
    """Independent observations among the samples whose label ends inside the span."""
    return windows.samples.effective(_labelled(windows, sealed, opening))


def _effective_of_each(
    windows: Windows, sealed: Positions, opening: HoldoutOpening
) -> dict[str, float]:
    """The same for each of several instruments."""
    samples = windows.samples
    each = samples.by_instrument(_labelled(windows, sealed, opening))
    return {
        name: samples.effective(own) for name, own in zip(windows.pooled_names, each, strict=False)
    }


def _labelled(windows: Windows, sealed: Positions, opening: HoldoutOpening) -> Positions:
    samples = windows.samples
    usable = samples.has_label & (samples.label_end_at <= ns_of(opening.until_at))
    return sealed[usable[sealed]]


def _count_trial(opening: HoldoutOpening) -> None:
    experiment, run = opening.experiment, opening.run
    Trial.objects.get_or_create(
        workspace_id=opening.workspace_id,
        origin=Trial.Origin.HOLDOUT,
        spec_sha256=experiment.spec_sha256,
        seed=run.seed,
        defaults={"run": run, "instrument": str(experiment.version.dataset.instrument)},
    )
