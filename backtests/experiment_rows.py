"""The list of experiments: what one row shows, read narrowly and made ready for its template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject

from backtests.models import Backtest
from markets.models import DatasetVersion
from modeling.models import Experiment, TrainingRun, bars_used, instrument_name
from modeling.network.size import network_size
from modeling.specs import ModelSpec

SHOWN = ("pk", "name", "preset", "model_spec", "created_at", "run_count")
RESULT = {
    "verdict": "verdict",
    "sharpe": "sharpe",
    "low": "sharpe_low",
    "high": "sharpe_high",
    "drawdown": "max_drawdown",
}
# A name that a template finds nowhere costs it more than ten that it finds.
NO_RUN, NO_RESULT = dict.fromkeys(("run", "status")), dict.fromkeys(RESULT)


def listed_experiments(rows: QuerySet[Experiment]) -> QuerySet[Experiment, dict[str, Any]]:
    """Of each experiment what its row shows, with its newest run and the best of its own backtests.

    `pool` are the keys of its candles; `experiment_rows` reads them for the rows of one page.
    """
    runs = TrainingRun.objects.filter(experiment=OuterRef("pk")).order_by("-pk")
    own = Backtest.objects.filter(run__experiment=OuterRef("pk"), is_own=True)
    newest, best = JSONObject(run="pk", status="job__status"), JSONObject(**RESULT)
    pool = Experiment.versions.through.objects.filter(experiment=OuterRef("pk"))
    return rows.values(
        *SHOWN,
        newest=Subquery(runs.values(shown=newest)[:1]),
        best=Subquery(own.exclude(sharpe=None).order_by("-sharpe").values(shown=best)[:1]),
        pool=ArraySubquery(pool.values("datasetversion")),
    )


def experiment_rows(page: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one page with their candles, each version read once, and the size of the network."""
    rows = list(page)
    versions = DatasetVersion.objects.for_list().in_bulk(
        {key for row in rows for key in row["pool"]}
    )
    for row in rows:
        first, *others = sorted((versions[key] for key in row["pool"]), key=instrument_name)
        row |= (row.pop("newest") or NO_RUN) | (row.pop("best") or NO_RESULT)
        row |= {
            "symbol": first.dataset.instrument.symbol,
            "number": first.number,
            "timeframe": first.dataset.timeframe,
            "range": bars_used(row["model_spec"], [first, *others]),
            "others": others,
            "is_synthetic": any(version.is_synthetic for version in (first, *others)),
            "parameters": parameters_of(row["model_spec"], first.dataset.timeframe_minutes),
        }
    return rows


def parameters_of(spec: ModelSpec, timeframe_minutes: int) -> int:
    """Size of the network that this spec trains on candles of this timeframe."""
    size = network_size(
        spec.network,
        features=spec.features.count,
        context_bars=spec.windows.context_bars,
        scales=spec.features.scales_for(timeframe_minutes),
    )
    return size["parameters"]
