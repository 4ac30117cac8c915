"""The list of experiments: what one row shows, read narrowly and made ready for its template."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import JSONObject

from backtests.models import Backtest, SeedVerdict, Verdict
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
# Of the account of a mean prediction over seeds; no interval is drawn for its Sharpe ratio.
POOLED = {
    "verdict": "equity__verdict__word",
    "sharpe": "equity__numbers__sharpe",
    "drawdown": "equity__numbers__max_drawdown",
    "pooled": "runs",
}
# The best first: it is worse to know nothing than to know of a loss, and worst to be told nothing.
BEST_FIRST = (Verdict.BEATS, Verdict.TIES, Verdict.LOSES, Verdict.UNDECIDED, Verdict.WITHHELD)
RANK = Case(
    *(When(verdict=word, then=Value(place)) for place, word in enumerate(BEST_FIRST)),
    output_field=IntegerField(),
)
UNEXPLAINED = Q(leak_alarm__raised=True, alarm_explanation="")
# A name that a template finds nowhere costs it more than ten that it finds.
NO_RUN, NO_RESULT = dict.fromkeys(("run", "status")), dict.fromkeys((*RESULT, *POOLED))


def listed_experiments(rows: QuerySet[Experiment]) -> QuerySet[Experiment, dict[str, Any]]:
    """Of each experiment what its row shows, with its newest run, the best of its own backtests and the
    verdict over its seeds.

    `pool` are the keys of its candles; `experiment_rows` reads them for the rows of one page.
    """
    return rows.values(*SHOWN, **_beside())


@cache
def _beside() -> dict[str, Subquery]:
    """What is read beside each experiment. Built once: that takes longer than the query of a page."""
    runs = TrainingRun.objects.filter(experiment=OuterRef("pk")).order_by("-pk")
    own = Backtest.objects.filter(run__experiment=OuterRef("pk"), is_own=True).exclude(verdict="")
    own = own.order_by(RANK, F("sharpe").desc(nulls_last=True), "-pk")
    pooled = SeedVerdict.objects.filter(experiment=OuterRef("pk")).over_most_seeds()
    newest, best = JSONObject(run="pk", status="job__status"), JSONObject(**RESULT)
    pool = Experiment.versions.through.objects.filter(experiment=OuterRef("pk"))
    over_seeds = JSONObject(**POOLED, is_alarmed=UNEXPLAINED)
    return {
        "newest": Subquery(runs.values(shown=newest)[:1]),
        "best": Subquery(own.values(shown=best)[:1]),
        "over_seeds": Subquery(pooled.values(shown=over_seeds)[:1]),
        "alarmed": ArraySubquery(runs.filter(UNEXPLAINED).values("pk")),
        "pool": ArraySubquery(pool.values("datasetversion")),
    }


def experiment_rows(page: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one page with their candles, each version read once, and the size of the network."""
    rows = list(page)
    versions = DatasetVersion.objects.for_list().in_bulk(
        {key for row in rows for key in row["pool"]}
    )
    for row in rows:
        first, *others = sorted((versions[key] for key in row["pool"]), key=instrument_name)
        row |= (row.pop("newest") or NO_RUN) | NO_RESULT | headlined(row)
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


def headlined(row: dict[str, Any]) -> dict[str, Any]:
    """The verdict over the seeds, as the page of the experiment headlines it; the best of the single
    runs where there is none, or no account of the mean prediction.
    """
    pooled, best, alarmed = row.pop("over_seeds"), row.pop("best"), row.pop("alarmed")
    if pooled is None or pooled["verdict"] is None:
        return best or {}
    if pooled.pop("is_alarmed") or not set(alarmed).isdisjoint(pooled["pooled"]):
        return pooled | {"verdict": Verdict.WITHHELD}
    return pooled


def parameters_of(spec: ModelSpec, timeframe_minutes: int) -> int:
    """Size of the network that this spec trains on candles of this timeframe."""
    size = network_size(
        spec.network,
        features=spec.features.count,
        context_bars=spec.windows.context_bars,
        scales=spec.features.scales_for(timeframe_minutes),
    )
    return size["parameters"]
