"""The body of a prediction job: a registered model on a dataset version it was not trained on.

Only the trainer process imports this module; it loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from artifacts.store import scratch_folder
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from markets.candles.frame import Candles
from markets.candles.quality import counted
from markets.features.compute import compute_features
from markets.features.registry import CODE_VERSION
from markets.reading import ns_of
from modeling.causality import features_version
from modeling.evaluation.alarm import leak_alarm
from modeling.evaluation.columns import MIN_SAMPLES
from modeling.evaluation.heads import score_heads
from modeling.evaluation.table import Table, write_predictions
from modeling.judging import add_certainty
from modeling.models import ModelPrediction, instrument_name
from modeling.predictable import readable
from modeling.sealed import closed_within, instant, sealed_candles
from modeling.storing import write_end
from modeling.trained import (
    TrainedFold,
    as_stored,
    block_of,
    effective_of,
    raise_alarm,
    store_set,
)
from modeling.training.machine import set_threads
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.make import Windows, cut_windows
from specs.writing import grouped

Bars = NDArray[np.int64]
Notice = dict[str, Any]  # Any: a code, a message and sometimes a count


@dataclass(frozen=True)
class Reach:
    """Which bars of a version are predicted: out of sample and not sealed.

    `tested_from` is the end of the embargo (ns UTC) behind everything the fold was trained on; on the
    model's own market, whatever the venue, nothing earlier is predicted.
    """

    is_own: bool
    tested_from: int

    def out_of_sample(self, windows: Windows) -> Bars:
        """Numbers of the bars to predict."""
        samples = windows.samples
        is_new = samples.known_at >= self.tested_from
        return samples.bar[is_new] if self.is_own else samples.bar

    def scored(self, table: Table) -> NDArray[np.bool_]:
        """Rows that lie behind the training in time: markets move together."""
        return np.asarray(table["known_at"], dtype=np.int64) >= self.tested_from


def predict_version(row: ModelPrediction, attempt: RunningAttempt) -> None:
    """Predict every complete window the model may see as new, score the heads, store both."""
    run, stored = row.model.run, row.model.fold
    spec, version = run.experiment.model_spec, row.version
    _require_known_features(row)
    set_threads(run.threads or spec.training.threads)
    attempt.progress(0.0, "Reading the candles")
    candles, notices = _readable(row, attempt)
    attempt.raise_if_stopping()
    attempt.progress(0.1, "Computing features")
    fold = as_stored(run, stored, _windows(row, candles))
    reach = Reach(row.model.shares_market_of(version), ns_of(row.model.out_of_sample_from))
    bars = reach.out_of_sample(fold.windows)
    notices += _in_sample(reach, fold.windows)
    if not bars.size:
        said = " ".join(notice["message"] for notice in notices)
        raise _nothing(f"no bar of {version} is new to this model. {said}".strip())
    attempt.raise_if_stopping()
    attempt.progress(0.4, "Predicting")
    predicted = fold.predict(bars, attempt)
    attempt.progress(0.7, "Scoring")
    notices += _same_period(reach, predicted)
    metrics, reasons = _scored(row, fold, reach, predicted)
    notices += [{"code": "leak_alarm", "message": reason} for reason in reasons]
    attempt.raise_if_stopping()
    with scratch_folder() as scratch:
        path = scratch / "predictions.parquet"
        write_predictions(path, predicted, instrument_name(version))

        def store() -> None:
            row.predictions = store_set(fold, predicted, path)
            row.metrics, row.notices = metrics, notices
            row.save(update_fields=["predictions", "metrics", "notices"])
            raise_alarm(run, reasons)
            attempt.succeed(f"{counted(len(bars), 'bar')} predicted.")

        write_end(attempt, store)


def _require_known_features(row: ModelPrediction) -> None:
    """Refuse to feed the network with columns of other formulas than those it learned from."""
    trained = features_version(row.model.run.causality, row.model.fold.number)
    if trained != CODE_VERSION:
        raise JobFailed(
            "features_changed",
            f"The model was trained on features of code version {trained}; this is {CODE_VERSION}. "
            "Train it again and register the new run.",
        )


def _readable(row: ModelPrediction, attempt: RunningAttempt) -> tuple[Candles, list[Notice]]:
    """The candles the model may see, and what is to be said about them; nothing else is read on."""
    model, version = row.model, row.version
    whole = sealed_candles(version)
    notices: list[Notice] = []
    if not model.knows(version):
        notices = [
            {
                "code": "unseen_instrument",
                "message": f"The model was not trained on {version.dataset.instrument}; its features "
                "are scaled with the pooled scaler of the training instruments.",
            }
        ]
    if not model.shares_market_of(version):
        return whole, notices
    sealed_after = attempt.write(lambda: model.sealed_after(version))
    candles = closed_within(whole, *readable(model, version, sealed_after))
    closed = int((whole.close_time > ns_of(sealed_after)).sum()) if sealed_after else 0
    if not closed:
        return candles, notices
    return candles, [
        *notices,
        {
            "code": "sealed",
            "count": closed,
            "message": f"{grouped(closed)} bars that close after {sealed_after:%Y-%m-%d %H:%M} UTC stay closed "
            "until the hold-out of the experiment is opened with the run of this model.",
        },
    ]


def _windows(row: ModelPrediction, candles: Candles) -> Windows:
    spec = row.model.run.experiment.model_spec
    if not len(candles):
        raise _nothing("the version has no bar that this model may see.")
    scales = spec.features.scales_for(candles.timeframe_minutes)
    table = compute_features(candles, spec.features.names(), scales, cache=settings.FEATURE_CACHE)
    try:
        return cut_windows(candles, table, spec, instrument_name(row.version))
    except NotEnoughHistory as error:
        raise JobFailed("not_enough_history", str(error)) from error


def _in_sample(reach: Reach, windows: Windows) -> list[Notice]:
    if not reach.is_own:
        return []
    count = int((windows.samples.known_at < reach.tested_from).sum())
    text = f"{instant(reach.tested_from):%Y-%m-%d %H:%M} UTC"
    return [
        {
            "code": "in_sample",
            "count": count,
            "message": f"{grouped(count)} bars known before {text} are in-sample: the model was trained on this "
            "time. They are not predicted.",
        }
    ] * bool(count)


def _same_period(reach: Reach, predicted: Table) -> list[Notice]:
    count = int((~reach.scored(predicted)).sum())
    return [
        {
            "code": "same_period",
            "count": count,
            "message": f"{count} of {len(predicted['open_at'])} predicted bars lie in the time the model "
            "was trained on, on another instrument. Markets move together, so they are not scored.",
        }
    ] * bool(count)


def _scored(
    row: ModelPrediction, fold: TrainedFold, reach: Reach, predicted: Table
) -> tuple[dict[str, Any], tuple[str, ...]]:  # Any: scores are plain JSON
    """Head metrics with intervals, and why they are an alarm; no metrics below 200 labelled rows."""
    kept = reach.scored(predicted)
    table = {name: values[kept] for name, values in predicted.items()}
    is_labelled = np.isfinite(np.asarray(table["realised_return"], dtype=float))
    if is_labelled.sum() < MIN_SAMPLES:
        return {}, ()
    spec = row.model.run.experiment.model_spec
    opens = np.asarray(table["open_at"], dtype=np.int64)[is_labelled]
    bars = np.searchsorted(fold.windows.open_time, opens).astype(np.int64)
    effective = effective_of(bars, spec.windows.horizon_bars)
    scoring = fold.scoring(effective)
    metrics: dict[str, Any] = {**score_heads(table, scoring)}
    add_certainty(metrics, table, [fold.stored], scoring)
    alarm = leak_alarm(
        {f"predictions on {row.version}": block_of(metrics, effective)},
        market="noise" if row.version.is_synthetic else "real",
        timeframe_minutes=fold.windows.timeframe_minutes,
        horizon_bars=spec.windows.horizon_bars,
    )
    return metrics, alarm.reasons


def _nothing(found: str) -> JobFailed:
    return JobFailed(
        "nothing_to_predict",
        f"Nothing to predict: {found} Choose a newer version or another instrument.",
    )
