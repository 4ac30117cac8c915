"""Runs or backtests side by side: what differs in spec, data and code, and how far figures differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.urls import reverse

from accounts.models import User
from backtests.forms import declared_settings, is_read, value_at
from backtests.models import Backtest
from backtests.report_page import measure_rows
from backtests.specs import ExperimentSpec
from markets.models import DatasetVersion
from modeling.code_versions import MixedCode, mixed_code, trained_by
from modeling.measures import HEAD_MEASURES, HEADS
from modeling.models import Fold, PredictionSet, TrainingRun
from specs.forms import in_words

LEAST, MOST = 2, 10
SHORT = 40
KINDS = ("runs", "backtests")
RUN_AGAIN = (
    "To compare without that, start the runs trained by older code again, and compare the new ones."
)
# Which test blocks there are follows from these fields.
FOLD_FIELDS = ("scheme", "folds", "embargo_bars", "holdout_fraction")
# Another question was asked of the heads when one of these differs.
TARGET_FIELDS = ("windows.horizon_bars", "target.cost_bps", "target.regime_bars")
Row = dict[str, Any]  # Any: figures, settings and words of a table


@dataclass(frozen=True)
class Column:
    """One run with its own backtest, or one backtest with its run."""

    kind: str
    pk: int
    name: str
    url: str
    run: TrainingRun
    backtest: Backtest | None

    @property
    def label(self) -> str:
        """Two columns never share it, whatever their names are."""
        return f"#{self.pk} {self.name}"

    @property
    def short(self) -> str:
        """The label for heads and legends; the number keeps it apart from the others."""
        return self.label if len(self.label) <= SHORT else f"{self.label[: SHORT - 1]}…"

    @property
    def versions(self) -> list[DatasetVersion]:
        """The candles: those of a backtest, or all that a run was trained on."""
        if self.kind == "backtests" and self.backtest is not None:
            return [self.backtest.version]
        return self.run.experiment.pool

    @cached_property
    def spec(self) -> ExperimentSpec:
        """The whole spec; of a further backtest, with its own part instead of the experiment's."""
        whole = self.run.experiment.spec
        if self.kind == "backtests" and self.backtest is not None:
            whole = {**whole, "backtest": self.backtest.spec.to_json()}
        return ExperimentSpec.parse(whole)

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """First and last bar that was tested; None before there are predictions."""
        if self.kind == "backtests":
            row: Any = self.backtest
        else:
            row = next((row for row in self.run.prediction_sets.all()), None)
        return (row.first_at, row.last_at) if row is not None and row.first_at else None

    @property
    def test_blocks(self) -> list[tuple[str, str]]:
        """Where the test block of each fold begins and ends; empty before there are folds."""
        tests = [fold.splits.get("slices", {}).get("test", {}) for fold in self.run.folds.all()]
        return [(test["from_at"], test["to_at"]) for test in tests if test]

    @property
    def report(self) -> Row:
        return self.backtest.report if self.backtest else {}


@dataclass(frozen=True)
class Comparison:
    """Two to ten columns of one kind; differences are to the reference."""

    kind: str
    columns: Sequence[Column]
    reference: Column

    @property
    def query(self) -> str:
        """The columns as they stand in an address."""
        return f"{self.kind}={','.join(str(column.pk) for column in self.columns)}"

    def not_comparable(self, column: Column) -> list[str]:
        """What makes the figures of a column no match for those of the reference, in words."""
        return [words for words, is_other in DIFFERENCES if is_other(column, self.reference)]

    def mixed_code(self) -> MixedCode | None:
        """What to say where several code versions have trained the columns; one begins with its run."""
        begun = (column.run for column in self.columns if column.run.code_version)
        return mixed_code(begun, RUN_AGAIN)

    def settings(self) -> list[Row]:
        """Data, code and every field of the spec, each with whether the columns differ in it, as values and
        in words.
        """
        rows = [*self._data_and_code(), *self._spec()]
        for row in rows:
            read = row.pop("read", row["cells"])
            row["differs"] = any(value != read[0] for value in read)
            row["words"] = [in_words(value, row.get("choices", {})) for value in row["cells"]]
        return rows

    def measures(self) -> list[Row]:
        """Scores of the heads (of runs), then measures after costs, with differences."""
        rows = [*self._scores()] if self.kind == "runs" else []
        return [_with_differences(row, self._place) for row in [*rows, *self._after_costs()]]

    @property
    def _place(self) -> int:
        return self.columns.index(self.reference)

    def _data_and_code(self) -> Iterator[Row]:
        facts: dict[tuple[str, str], Callable[[Column], object]] = {
            ("Data", "Candles"): lambda column: _listed(column.versions),
            ("Data", "Data sha256"): lambda column: _listed(row.sha256 for row in column.versions),
            ("Data", "Source"): lambda column: _listed(
                dict.fromkeys(row.get_source_display() for row in column.versions)
            ),
            ("Data", "First tested bar"): lambda column: (column.period or [None])[0],
            ("Data", "Last tested bar"): lambda column: (column.period or [None])[-1],
            ("Code", "Seed"): lambda column: column.run.seed,
            ("Code", "Code version"): lambda column: (
                column.run.code_version and trained_by(column.run)
            ),
            ("Code", "Device"): lambda column: column.run.device,
            ("Code", "Threads"): lambda column: column.run.threads or None,
            ("Code", "Libraries"): lambda column: [
                f"{name} {number}" for name, number in sorted(column.run.libraries.items())
            ],
        }
        for (section, label), fact in facts.items():
            values = [fact(column) for column in self.columns]
            yield {"section": section, "label": label, "unit": "", "path": "", "cells": values}

    def _spec(self) -> Iterator[Row]:
        for setting in declared_settings():
            path = setting.path
            read = {
                column.pk: value_at(column.spec, path)
                for column in self.columns
                if is_read(column.spec.network.kind, path)
            }
            values = [read.get(column.pk) for column in self.columns]
            # Columns that do not read a setting say so; they do not differ in it.
            yield {**setting._asdict(), "cells": values, "read": list(read.values())}

    def _scores(self) -> Iterator[Row]:
        for head, label in HEADS.items():
            for key, measure in HEAD_MEASURES.items():
                found = [column.run.metrics.get(head, {}).get(key) for column in self.columns]
                if any(found):
                    yield {
                        "group": label,
                        "key": f"{head}.{key}",
                        "anchor": f"h-{key}",
                        "measure": measure,
                        "cells": [_score_cell(score) for score in found],
                    }

    def _after_costs(self) -> Iterator[Row]:
        found = [
            {row["measure"].key: row for row in measure_rows(column.report)}
            for column in self.columns
        ]
        declared = {key: row["measure"] for rows in found for key, row in rows.items()}
        for key, measure in declared.items():
            cells = [
                _measure_cell(rows.get(key), column.report if key == "sharpe" else {})
                for rows, column in zip(found, self.columns, strict=True)
            ]
            yield {
                "group": "After costs",
                "key": key,
                "anchor": f"m-{key}",
                "measure": measure,
                "cells": cells,
            }


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _digests(column: Column) -> list[str]:
    return [version.sha256 for version in column.versions]


def _other_period(ours: Column, theirs: Column) -> bool:
    return bool(ours.period and theirs.period) and ours.period != theirs.period


def _other_costs(ours: Column, theirs: Column) -> bool:
    return ours.spec.backtest.costs != theirs.spec.backtest.costs


def _other_folds(ours: Column, theirs: Column) -> bool:
    if ours.test_blocks and theirs.test_blocks and ours.test_blocks != theirs.test_blocks:
        return True
    pair = (ours.spec.evaluation, theirs.spec.evaluation)
    return any(getattr(pair[0], name) != getattr(pair[1], name) for name in FOLD_FIELDS)


def _other_targets(ours: Column, theirs: Column) -> bool:
    if ours.kind != "runs":
        return False
    return any(value_at(ours.spec, path) != value_at(theirs.spec, path) for path in TARGET_FIELDS)


DIFFERENCES: tuple[tuple[str, Callable[[Column, Column], bool]], ...] = (
    ("other candles", lambda ours, theirs: _digests(ours) != _digests(theirs)),
    ("other period", _other_period),
    ("other costs", _other_costs),
    ("other folds", _other_folds),
    ("other targets", _other_targets),
)


def compared(user: User, kind: str, wanted: Sequence[int], reference: int | None) -> Comparison:
    """The comparison of rows a person may see, in the order asked for.

    Raises LookupError when one of them, or the reference, is not among what they may see.
    """
    found = {column.pk: column for column in _columns(user, kind, wanted)}
    columns = [found[pk] for pk in wanted]
    return Comparison(kind, columns, found[reference] if reference else columns[0])


def choices(user: User, kind: str, besides: Sequence[int]) -> list[tuple[int, str]]:
    """The newest rows that could be added, with their names."""
    if kind == "runs":
        runs = TrainingRun.objects.visible_to(user).select_related("experiment")
        return [(run.pk, f"#{run.pk} {run}") for run in runs.exclude(pk__in=besides)[:50]]
    rows = Backtest.objects.visible_to(user).exclude(pk__in=besides)
    return [(pk, f"#{pk} {name}") for pk, name in rows.values_list("pk", "name")[:50]]


def _columns(user: User, kind: str, wanted: Sequence[int]) -> list[Column]:
    if kind == "runs":
        own = Backtest.objects.filter(is_own=True).select_related("equity")
        runs = _with_data(TrainingRun.objects.visible_to(user).filter(pk__in=wanted))
        return [_run_column(run) for run in runs.prefetch_related(Prefetch("backtests", own))]
    backtests = Backtest.objects.visible_to(user).filter(pk__in=wanted)
    parts = Prefetch("run", _with_data(TrainingRun.objects.all()))
    rows = backtests.select_related("equity", "version__dataset__instrument")
    rows = rows.prefetch_related(parts)
    return [_backtest_column(row) for row in rows]


def _with_data(runs: QuerySet[TrainingRun]) -> QuerySet[TrainingRun]:
    versions = DatasetVersion.objects.select_related("dataset__instrument")
    versions = versions.defer("report", "difference")
    sets = PredictionSet.objects.headline().filter(rung=PredictionSet.MODEL, is_holdout=False)
    return runs.select_related("experiment", "job").prefetch_related(
        Prefetch("experiment__versions", versions),
        Prefetch("prediction_sets", sets),
        Prefetch("folds", Fold.objects.only("run", "number", "splits")),
    )


def _run_column(run: TrainingRun) -> Column:
    own = next(iter(run.backtests.all()), None)
    url = reverse("modeling:run_detail", args=[run.pk])
    return Column("runs", run.pk, str(run), url, run, own)


def _backtest_column(row: Backtest) -> Column:
    url = reverse("backtests:backtest_detail", args=[row.pk])
    return Column("backtests", row.pk, row.name, url, row.run, row)


def _score_cell(score: Row | None) -> Row:
    if score is None:
        return {"value": None, "interval": None, "reason": "not scored yet"}
    value, interval = score.get("value"), score.get("interval")
    return {"value": value, "interval": interval, "reason": score.get("reason", "")}


def _measure_cell(found: Row | None, report: Row) -> Row:
    if found is None:
        return {"value": None, "interval": None, "reason": "no report yet"}
    interval = report.get("numbers", {}).get("sharpe_interval")
    return {"value": found["value"], "interval": interval, "reason": found["reason"]}


def _with_differences(row: Row, place: int) -> Row:
    """Each cell with its value minus that of the reference; None where either is undefined."""
    base = row["cells"][place]["value"]
    for number, cell in enumerate(row["cells"]):
        is_known = number != place and base is not None and cell["value"] is not None
        cell["difference"] = cell["value"] - base if is_known else None
    return row
