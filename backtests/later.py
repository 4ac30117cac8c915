"""Backtests of what a registered model predicted later: what may be judged, and what a report says of it."""

from __future__ import annotations

from datetime import datetime

from backtests.models import Backtest
from modeling.models import ModelPrediction

UNSEEN = "unseen_instrument"


def in_sample_text(start: datetime) -> str:
    """Why nothing is left of predictions that begin to count at `start`."""
    return (
        f"All predicted bars were known before {start:%Y-%m-%d %H:%M} UTC, in the time the model was "
        "trained on, embargo included. Predict candles that reach behind it, then backtest those."
    )


def model_badges(row: Backtest) -> list[tuple[str, str]]:
    """Code and label of what sets these predictions apart from those of a run."""
    later = row.model_prediction
    if later is None:
        return []
    badges = [("registered_model", f"Registered model {later.model}")]
    if _unseen(later):
        badges.append((UNSEEN, "Instrument the model was not trained on"))
    return badges


def model_lines(row: Backtest) -> list[tuple[str, str, str]]:
    """Label, text and emphasis of the assumptions that hold for a registered model alone."""
    later = row.model_prediction
    if later is None:
        return []
    model = later.model
    pool = model.run.experiment.pool
    instruments = ", ".join(str(version.dataset.instrument) for version in pool)
    fit = model.fold.splits["slices"]["fit"]
    lines = [
        (
            "Model",
            f"{model}, fold {model.fold.number} of run {model.run_id}, trained on "
            f"{instruments} {pool[0].dataset.timeframe} from {fit['from_at'][:10]}.",
            "",
        ),
        (
            "Out of sample",
            f"Only bars known from {model.out_of_sample_from:%Y-%m-%d %H:%M} UTC on: everything the "
            "model has learned from ended before, embargo included, on whatever instrument.",
            "",
        ),
    ]
    if unseen := _unseen(later):
        lines.append(("Instrument", unseen, "warn"))
    return lines


def _unseen(later: ModelPrediction) -> str:
    """The notice of an instrument that training never saw; empty where it did."""
    found = (notice["message"] for notice in later.notices if notice["code"] == UNSEEN)
    return next(found, "")
