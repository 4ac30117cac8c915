"""The trial ledger: what a finished backtest writes into it, and what it says to others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from django.db.models import Count, F, OuterRef, Q, Subquery, Value, Variance
from django.db.models.functions import Coalesce, JSONObject
from numpy.typing import NDArray

from accounts.models import Workspace
from backtests.metrics.measures import DAYS_PER_YEAR
from backtests.models import Backtest
from backtests.robustness.bootstrap import FEWEST_DAYS
from backtests.robustness.overfitting import Overfitting, overfitting_probability
from backtests.robustness.sharpe import SharpeShape, expected_maximum
from modeling.models import Trial, TrialQuerySet


@dataclass(frozen=True)
class Ledger:
    """All trials of a workspace as one backtest sees them, itself among them.

    `sharpes` are the daily Sharpe ratios of trials with at least thirty days, its own last;
    `overfitting` compares it with the trials on its instrument that cover its days.
    """

    trials: int
    distinct_specs: int
    on_instrument: int
    sharpes: list[float]
    overfitting: Overfitting


def ledger_for(
    row: Backtest, daily: NDArray[np.float64], shape: SharpeShape | None, first_day: date
) -> Ledger:
    """The ledger at this moment for a backtest with these daily net returns from `first_day` on."""
    others = _others(row)
    same = others.filter(instrument=instrument_of(row))
    counted_before = others.filter(spec_sha256=row.spec_sha256).exists()
    known = others.filter(days__gte=FEWEST_DAYS).exclude(daily_sharpe=None).order_by("pk")
    sharpes = list(known.values_list("daily_sharpe", flat=True))
    if shape and shape.periods >= FEWEST_DAYS:
        sharpes.append(shape.ratio)
    return Ledger(
        trials=1 + others.count(),
        distinct_specs=others.values("spec_sha256").distinct().count() + (not counted_before),
        on_instrument=1 + same.count(),
        sharpes=sharpes,
        overfitting=overfitting_probability(_matrix(same, daily, first_day)),
    )


def count_trial(
    row: Backtest, ledger: Ledger, daily: NDArray[np.float64], shape: SharpeShape | None
) -> Trial:
    """Write or renew the one entry of this spec and seed."""
    first, last = _days(row, daily)
    trial, _ = Trial.objects.update_or_create(
        **_key(row),
        defaults={
            "run": row.run,
            "instrument": instrument_of(row),
            "daily_sharpe": shape.ratio if shape else None,
            "days": len(daily),
            "first_at": row.first_at,
            "last_at": row.last_at,
            "daily_returns": daily.tolist(),
            "first_day": first,
            "last_day": last,
            "overfitting": ledger.overfitting.value,
        },
    )
    return trial


def instrument_of(row: Backtest) -> str:
    return str(row.version.dataset.instrument)


def _days(row: Backtest, daily: NDArray[np.float64]) -> tuple[date, date]:
    assert row.first_at is not None
    first = row.first_at.date()
    return first, first + timedelta(days=len(daily) - 1)


def _key(row: Backtest) -> dict[str, Any]:
    origin = Trial.Origin.BACKTEST
    if row.is_holdout:
        origin = Trial.Origin.HOLDOUT
    elif row.is_own:
        origin = Trial.Origin.RUN
    return {
        "workspace_id": row.workspace_id,
        "origin": origin,
        "spec_sha256": row.spec_sha256,
        "seed": row.run.seed,
    }


def _others(row: Backtest) -> TrialQuerySet:
    rows: TrialQuerySet = Trial.objects.filter(workspace_id=row.workspace_id)
    return rows.exclude(Q(**_key(row)))


def _matrix(
    others: TrialQuerySet, daily: NDArray[np.float64], first_day: date
) -> NDArray[np.float64]:
    """Daily net returns [days, columns] of the same days, its own column last."""
    last_day = first_day + timedelta(days=len(daily) - 1)
    found = others.covering(first_day, last_day).order_by("pk")
    columns = []
    for first, returns in found.values_list("first_day", "daily_returns"):
        start = (first_day - first).days
        columns.append(returns[start : start + len(daily)])
    return np.column_stack([*columns, daily])


@dataclass(frozen=True)
class InstrumentTrials:
    """The trials on one instrument, and their probability of overfitting when last computed."""

    instrument: str
    trials: int
    overfitting: float | None


@dataclass(frozen=True)
class Summary:
    """The whole ledger of a workspace; the luck is the yearly Sharpe ratio its best would reach."""

    trials: int
    distinct_specs: int
    variance: float | None
    luck: float | None
    instruments: list[InstrumentTrials]


def summary_of(workspace: Workspace) -> Summary:
    """Two queries, whatever the number of trials."""
    rows = Trial.objects.filter(workspace=workspace)
    long_enough = Q(days__gte=FEWEST_DAYS)
    found = rows.aggregate(
        trials=Count("pk"),
        distinct_specs=Count("spec_sha256", distinct=True),
        variance=Variance("daily_sharpe", sample=True, filter=long_enough),
    )
    newest = rows.filter(instrument=OuterRef("instrument")).exclude(overfitting=None)
    groups = (
        rows.exclude(instrument="")
        .order_by("instrument")
        .values("instrument")
        .annotate(
            trials=Count("pk"),
            overfitting=Subquery(newest.order_by("-pk").values("overfitting")[:1]),
        )
    )
    luck = None
    if found["variance"] is not None:
        yearly = math.sqrt(DAYS_PER_YEAR * found["variance"])
        luck = yearly * expected_maximum(found["trials"])
    return Summary(**found, luck=luck, instruments=[InstrumentTrials(**group) for group in groups])


def listed_trials(workspace: Workspace, *, kind: str = "", instrument: str = "") -> TrialQuerySet:
    """Trials with their number in the workspace and the newest of their backtests."""
    trials: TrialQuerySet = Trial.objects.filter(workspace=workspace)
    before = Trial.objects.filter(workspace=OuterRef("workspace"), pk__lte=OuterRef("pk"))
    newest = Backtest.objects.filter(trial=OuterRef("pk")).order_by("-pk")
    shown = JSONObject(pk="pk", name="name", low="sharpe_low", high="sharpe_high")
    if kind:
        trials = trials.filter(origin=kind)
    if instrument:
        trials = trials.filter(instrument=instrument)
    return trials.for_list().annotate(
        number=Subquery(before.order_by().values("workspace").annotate(n=Count("pk")).values("n")),
        backtest=Subquery(newest.values(shown=shown)[:1]),
        ranked=Coalesce("daily_sharpe", Value(-math.inf)),
        sharpe=F("daily_sharpe") * Value(math.sqrt(DAYS_PER_YEAR)),
    )
