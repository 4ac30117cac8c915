"""A run whose predictions vary in every head, with folds that lie where they were cut."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from accounts.models import Workspace
from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles
from modeling.evaluation.bands import fit_band
from modeling.evaluation.cases import Priors, Scoring
from modeling.evaluation.heads import score_heads
from modeling.evaluation.table import write_predictions
from modeling.judging import add_certainty
from modeling.models import HoldoutOpening, PredictionSet, TrainingRun
from tests.factories import (
    candles_of,
    instant,
    make_experiment,
    make_job,
    make_run,
    make_stored,
    make_version,
)

MINUTE_NS = 60 * 10**9
THRESHOLDS = {1: 0.6, 2: 0.5}


def minutes(days: int = 12) -> Candles:
    """Five-minute candles in which an hour is missing, within the test blocks."""
    whole = synthetic_candles(
        days=days, timeframe_minutes=5, end_at=datetime(2024, 2, 10, tzinfo=UTC)
    )
    keep = np.ones(len(whole), dtype=bool)
    hole = int(len(whole) * 0.7)
    keep[hole : hole + 12] = False
    names = ("time", "open", "high", "low", "close", "volume")
    return Candles(5, *(getattr(whole, name)[keep] for name in names))


def make_predicted_run(workspace: Workspace, candles: Candles | None = None) -> TrainingRun:
    """Two folds over the second half up to the seal; scores are those of the stored predictions."""
    experiment = make_experiment(workspace, make_version(workspace, candles=candles or minutes()))
    run = make_run(experiment)
    stored = candles_of(experiment.version)
    sealed = int(experiment.holdout_at.timestamp()) * 10**9
    inside = np.flatnonzero(stored.close_time <= sealed)
    table = heads_of(stored.slice(len(inside) // 2, len(inside)))
    _store(run, table)
    run.metrics = _scored(table)
    run.verdict = {
        "regime": {
            "word": "ties",
            "metric": "macro_f1",
            "rung": "logistic",
            "sentence": "Not better than logistic regression at naming the coming regime.",
            "rungs": {"logistic": {"word": "ties"}},
        }
    }
    run.save()
    _cut_folds(run, table)
    return run


def open_holdout_of(run: TrainingRun) -> PredictionSet:
    """What an opening leaves: the sealed bars predicted and scored."""
    candles = candles_of(run.experiment.version)
    sealed = int(run.experiment.holdout_at.timestamp()) * 10**9
    start = int(np.searchsorted(candles.close_time, sealed, side="right"))
    table = heads_of(candles.slice(start, len(candles)), folds=(2,))
    row = _new_set(run, table, is_holdout=True)
    HoldoutOpening.objects.create(
        workspace=run.workspace,
        experiment=run.experiment,
        run=run,
        job=make_job(run.workspace),
        from_at=run.experiment.holdout_at,
        until_at=run.experiment.holdout_until,
        predictions=row,
        metrics=_scored(table),
    )
    return row


def heads_of(candles: Candles, folds: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    """Made-up predictions for each of these candles; the last eight outcomes are unknown."""
    rng = np.random.default_rng(11)
    count = len(candles)
    drift = np.cumsum(rng.normal(size=(count, 4)), axis=0) / 8
    regime = np.exp(drift) / np.exp(drift).sum(axis=1, keepdims=True)
    risk = rng.dirichlet((4, 3, 2), count)
    spread = 0.001 * np.exp(np.cumsum(rng.normal(0, 0.02, count)))
    gain = rng.normal(0, 0.004, count)
    table = {
        "open_at": candles.time,
        "known_at": candles.close_time,
        "fold": np.array(folds)[np.arange(count) * len(folds) // count],
        "seed": np.zeros(count, dtype=np.int64),
        "action": np.tanh(rng.normal(0, 0.35, count) + 20 * gain),
        **{f"regime_{k}": regime[:, k] for k in range(4)},
        "confidence": np.clip(0.35 + 0.05 * np.cumsum(rng.normal(size=count)) / 20, 0.05, 0.95),
        "confidence_raw": rng.uniform(0.3, 0.6, count),
        "volatility": spread,
        **{f"risk_{k}": risk[:, k] for k in range(3)},
        "realised_return": gain,
        "realised_regime": rng.integers(0, 4, count),
        "realised_volatility": spread * np.exp(rng.normal(0, 0.3, count)),
        "realised_risk": rng.integers(0, 3, count),
    }
    table["realised_return"][-8:] = table["realised_volatility"][-8:] = np.nan
    table["realised_regime"][-8:] = table["realised_risk"][-8:] = -1
    return table


def _scored(table: dict[str, Any]) -> dict[str, Any]:
    priors = Priors(np.full(4, 0.25), np.full(3, 1 / 3), np.array(0.4))
    scoring = Scoring(priors, cost_bps=10, horizon_bars=12, effective=90.0, draws=20)
    metrics = score_heads(table, scoring)
    band = fit_band(table["volatility"][:-8], table["realised_volatility"][:-8]).to_json()
    folds = [
        SimpleNamespace(number=int(number), state={"volatility_band": band})
        for number in np.unique(table["fold"])
    ]
    add_certainty(metrics, table, folds, scoring)
    return metrics


def _store(run: TrainingRun, table: dict[str, Any]) -> None:
    made = _new_set(run, table, rung="made", is_holdout=False)
    run.prediction_sets.filter(rung=PredictionSet.MODEL).delete()
    PredictionSet.objects.filter(pk=made.pk).update(rung=PredictionSet.MODEL)


def _new_set(
    run: TrainingRun, table: dict[str, Any], *, rung: str = "model", is_holdout: bool
) -> PredictionSet:
    opens = table["open_at"]
    numbers = np.unique(table["fold"]).tolist()
    return PredictionSet.objects.create(
        workspace=run.workspace,
        run=run,
        rung=rung,
        is_holdout=is_holdout,
        file=make_stored(
            run.workspace,
            lambda path: write_predictions(path, table, "BTC/USDT (binance)"),
            "predictions.parquet",
        ),
        sha256="cd" * 32,
        rows=len(opens),
        first_at=instant(opens[0]),
        last_at=instant(opens[-1]),
        folds=[{"fold": number, "threshold": THRESHOLDS[number]} for number in numbers],
    )


def _cut_folds(run: TrainingRun, table: dict[str, Any]) -> None:
    for fold in run.folds.all():
        known = table["known_at"][table["fold"] == fold.number]
        fold.splits["slices"]["test"] = {
            **fold.splits["slices"]["test"],
            "from_at": f"{instant(known[0]):%Y-%m-%dT%H:%M:%SZ}",
            "to_at": f"{instant(known[-1]):%Y-%m-%dT%H:%M:%SZ}",
        }
        fold.threshold = THRESHOLDS[fold.number]
        fold.save()
