"""The body of an opened hold-out: the last fold's weights on the sealed span, scored once.

Only the trainer process imports this module; it loads torch.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from django.conf import settings
from numpy.typing import NDArray
from safetensors.torch import load_file

from artifacts.store import FileChanged, scratch_folder, verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from jobs.exits import failed
from jobs.statuses import ExitKind
from markets.candles.frame import Candles, candles_sha256, read_candles
from markets.features.compute import compute_features
from modeling.evaluation.alarm import BlockScore, leak_alarm
from modeling.evaluation.calibration import Calibrator
from modeling.evaluation.effective import effective_samples
from modeling.evaluation.heads import Priors, Scoring, score_heads
from modeling.evaluation.table import Table, predictions_sha256, write_predictions
from modeling.folds import known_columns, model_columns, read_fold
from modeling.judging import MODEL, PRIOR
from modeling.models import Fold, HoldoutOpening, PredictionSet, TrainingRun, Trial
from modeling.network.transformer import EnhancedCryptoTransformer, build_network
from modeling.pipeline import instant, nanoseconds, resident_windows, store_in_run, write_end
from modeling.training.machine import chosen_precision, set_threads
from modeling.training.predict import predict
from modeling.windows.make import FoldWindows, Windows, make_windows, prepare_fold
from modeling.windows.selection import Selection

Positions = NDArray[np.int64]


def score_holdout(opening: HoldoutOpening, attempt: RunningAttempt) -> None:
    """Predict every complete window of the sealed span, score the heads, store both and count it."""
    run = opening.run
    spec, version = run.experiment.model_spec, run.experiment.version
    set_threads(run.threads or spec.training.threads)
    attempt.progress(0.0, "Reading the candles")
    last = attempt.write(
        lambda: run.folds.select_related("weights", "predictions").latest("number")
    )
    candles = _whole_candles(opening)
    attempt.raise_if_stopping()
    attempt.progress(0.1, "Computing features")
    scales = spec.features.scales_for(candles.timeframe_minutes)
    table = compute_features(candles, spec.features.names(), scales, cache=settings.FEATURE_CACHE)
    windows = make_windows(candles, table, spec, holdout_at=nanoseconds(opening.from_at))
    fold = _as_trained(windows, last, run)
    attempt.raise_if_stopping()
    attempt.progress(0.4, "Predicting the hold-out")
    sealed = _sealed_samples(windows, opening)
    predicted = _predictions(windows, fold, last, run, windows.bars(sealed), attempt)
    attempt.progress(0.7, "Scoring the hold-out")
    effective = _effective(windows, sealed, opening)
    metrics = score_heads(predicted, _scoring(run, last, effective))
    alarm = leak_alarm(
        {"hold-out": _block(metrics, effective)},
        market="noise" if version.is_synthetic else "real",
        timeframe_minutes=candles.timeframe_minutes,
        horizon_bars=spec.windows.horizon_bars,
    )
    attempt.raise_if_stopping()
    with scratch_folder() as scratch:
        path = scratch / "holdout.parquet"
        write_predictions(path, predicted, str(version.dataset.instrument))

        def store() -> None:
            opening.predictions = _store_set(run, predicted, path, last)
            opening.metrics = metrics
            opening.save(update_fields=["predictions", "metrics"])
            _raise_alarm(run, alarm.reasons)
            _count_trial(opening)
            attempt.succeed(f"{len(predicted['open_at'])} bars of the hold-out predicted.")

        write_end(attempt, store)


def _whole_candles(opening: HoldoutOpening) -> Candles:
    """The candles the experiment uses, up to the end of the sealed span."""
    experiment = opening.experiment
    version = experiment.version
    try:
        candles = read_candles(verified_path(version.file), version.dataset.timeframe_minutes)
    except FileChanged as error:
        raise failed(ExitKind.DATA_CHANGED, version=version.number) from error
    if candles_sha256(candles) != version.sha256:
        raise failed(ExitKind.DATA_CHANGED, version=version.number)
    first, _ = experiment.model_spec.data.within(version.first_at, opening.until_at)
    until = nanoseconds(opening.until_at) - candles.bar_ns + 1
    start, stop = np.searchsorted(candles.time, (nanoseconds(first), until))
    return candles.slice(int(start), int(stop))


def _as_trained(windows: Windows, stored: Fold, run: TrainingRun) -> FoldWindows:
    """The last fold with the scalers and thresholds it was trained with, proved equal to the stored.

    They are fitted on the fit slice alone, so that more candles behind it change nothing.
    """
    selection = Selection.from_json(stored.state["selection"])
    spec = run.experiment.model_spec
    fold = prepare_fold(windows, windows.folds[-1], spec, selection=selection)
    learned = json.loads(json.dumps(fold.learned.to_json()))
    if any(stored.state[name] != value for name, value in learned.items()):
        raise JobFailed(
            "not_as_trained",
            "The last fold is not prepared as it was when it was trained; the code has changed since. "
            "Run the experiment again and open the hold-out with the new run.",
        )
    return fold


def _sealed_samples(windows: Windows, opening: HoldoutOpening) -> Positions:
    """Samples that are known only behind the seal."""
    sealed = np.flatnonzero(windows.samples.known_at > nanoseconds(opening.from_at))
    if not sealed.size:
        raise JobFailed(
            "not_enough_history",
            "The hold-out has no complete window. Open that of an experiment with a longer one.",
        )
    return sealed


def _predictions(
    windows: Windows,
    fold: FoldWindows,
    stored: Fold,
    run: TrainingRun,
    bars: Positions,
    attempt: RunningAttempt,
) -> Table:
    spec = run.experiment.model_spec
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    resident = resident_windows(spec, windows, fold, device)
    outputs = predict(
        _network(stored, run, device, features=resident.features, scales=resident.scales),
        resident,
        bars,
        volatility_mean=fold.scale.volatility_mean,
        volatility_std=fold.scale.volatility_std,
        precision=chosen_precision(spec.training.precision, device, width=spec.network.d_model),
        between=attempt.raise_if_stopping,
    )
    calibrator = Calibrator.from_json(stored.state["calibrator"])
    known = known_columns(windows, fold, bars, run.seed)
    return known | model_columns(outputs, calibrator.apply(outputs.confidence_raw))


def _network(
    stored: Fold, run: TrainingRun, device: torch.device, *, features: int, scales: tuple[int, ...]
) -> EnhancedCryptoTransformer:
    """The network of the fold with its stored weights; nothing is trained."""
    if stored.weights is None:
        raise JobFailed("no_weights", "The last fold has no stored weights. Run it again.")
    spec = run.experiment.model_spec
    network = build_network(
        spec.network,
        features=features,
        context_bars=spec.windows.context_bars,
        scales=scales,
        seed=run.seed,
    )
    network.load_state_dict(load_file(verified_path(stored.weights)))
    return network.to(device)


def _effective(windows: Windows, sealed: Positions, opening: HoldoutOpening) -> float:
    """Independent observations among the samples whose label ends inside the span."""
    samples = windows.samples
    usable = samples.has_label & (samples.label_end_at <= nanoseconds(opening.until_at))
    bars = samples.bar[sealed[usable[sealed]]]
    return effective_samples(bars + 1, bars + samples.horizon_bars) if bars.size else 0.0


def _scoring(run: TrainingRun, stored: Fold, effective: float) -> Scoring:
    """As the test block of the last fold was scored: its priors come from its own training part."""
    spec = run.experiment.model_spec
    assert stored.predictions is not None
    prior = read_fold(verified_path(stored.predictions))[PRIOR]
    return Scoring(
        priors=Priors(
            regime=np.array([prior[f"regime_{k}"][0] for k in range(4)]),
            risk=np.array([prior[f"risk_{k}"][0] for k in range(3)]),
            confidence=np.asarray(prior["confidence"][:1], dtype=float),
        ),
        cost_bps=spec.target.cost_bps,
        horizon_bars=spec.windows.horizon_bars,
        effective=effective,
        draws=spec.evaluation.bootstrap_draws,
        seed=spec.evaluation.bootstrap_seed,
    )


def _block(metrics: dict[str, Any], effective: float) -> BlockScore:
    action = metrics.get("action", {})
    return BlockScore(
        accuracy=action.get("accuracy", {}).get("value"),
        auc=action.get("auc", {}).get("value"),
        effective=effective,
    )


def _store_set(run: TrainingRun, table: Table, path: Any, last: Fold) -> PredictionSet:
    row: PredictionSet = PredictionSet.objects.create(
        workspace_id=run.workspace_id,
        run=run,
        rung=MODEL,
        is_holdout=True,
        file=store_in_run(run, path),
        sha256=predictions_sha256(table),
        rows=len(table["open_at"]),
        first_at=instant(int(table["open_at"][0])),
        last_at=instant(int(table["open_at"][-1])),
        folds=[{"fold": last.number, "threshold": last.state["thresholds"][MODEL]}],
    )
    return row


def _raise_alarm(run: TrainingRun, reasons: tuple[str, ...]) -> None:
    """An alarm of the hold-out is one of the run; an explanation given before did not know of it."""
    if not reasons:
        return
    run.refresh_from_db(fields=["leak_alarm"])
    run.leak_alarm = {"raised": True, "reasons": [*run.leak_alarm.get("reasons", []), *reasons]}
    run.alarm_explanation = ""
    run.save(update_fields=["leak_alarm", "alarm_explanation"])


def _count_trial(opening: HoldoutOpening) -> None:
    experiment, run = opening.experiment, opening.run
    Trial.objects.get_or_create(
        workspace_id=opening.workspace_id,
        origin=Trial.Origin.HOLDOUT,
        spec_sha256=experiment.spec_sha256,
        seed=run.seed,
        defaults={"run": run, "instrument": str(experiment.version.dataset.instrument)},
    )
