"""The one table of a study: each variant with its scores over seeds and its difference to the base."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from backtests.models import Study, StudyRun, StudyVariant
from backtests.reading import harmless
from backtests.variants import BASE, LABELS
from jobs.statuses import JobStatus
from modeling.code_versions import MixedCode, mixed_code, trained_by
from modeling.measures import HEAD_MEASURES, HEADS

Json = dict[str, Any]  # Any: plain JSON
OTHER_TRADES = "every variant foretells trades of its own, and easier ones give a smaller score"
WITHHELD = "a leak alarm that nobody has explained keeps the verdicts of one of these runs back"
NOT_YET = "no seed of both has finished yet"
TRAIN_AGAIN = (
    "Launch the study again: it trains anew what other code than the running one has trained, unless "
    "you choose to take that over."
)
WORDS = {
    "better": "better",
    "worse": "worse",
    "not_shown": "not shown",
    "undecided": "undecided",
    "withheld": "withheld",
    "": "",
}


@dataclass(frozen=True)
class StudyMeasure:
    """One column: what is shown over seeds, and what is compared with the base.

    `kind` and `difference_kind` are kinds of the number filter; `per` scales a difference for them.
    """

    key: str
    label: str
    kind: str
    difference_kind: str
    compared: str = ""
    reason: str = ""
    per: float = 1.0


def _of_head(head: str, metric: str, reason: str = "") -> StudyMeasure:
    key, measure = f"{head}.{metric}", HEAD_MEASURES[metric]
    compared = "" if reason else key
    return StudyMeasure(
        key, f"{HEADS[head]}: {measure.label}", measure.kind, measure.kind, compared, reason
    )


MEASURES: tuple[StudyMeasure, ...] = (
    _of_head("action", "auc"),
    _of_head("action", "rank_ic"),
    _of_head("regime", "macro_f1"),
    _of_head("volatility", "r2"),
    _of_head("risk", "ordinal_brier"),
    _of_head("confidence", "brier", OTHER_TRADES),
    StudyMeasure(
        "net_return",
        "Net return",
        "signed",
        "bps",
        compared="equity.daily_log_return",
        per=1e4,
    ),
)


@dataclass(frozen=True)
class Cell:
    """Mean and spread over seeds, and the paired difference to the base; positive is better.

    `rows` are the shared test bars, or days, that the difference is made of.

    `word` is a key of WORDS, empty where nothing is compared (the base, or not yet).
    """

    key: str
    mean: float | None
    std: float | None
    difference: float | None
    low: float | None
    high: float | None
    rows: int | None
    word: str
    reason: str

    @property
    def measure(self) -> StudyMeasure:
        return next(measure for measure in MEASURES if measure.key == self.key)

    @property
    def said(self) -> str:
        """The word as people read it."""
        return WORDS[self.word]

    @property
    def mark(self) -> str:
        """The colour of the word: that of the verdict which says the same."""
        return {"better": "beats", "worse": "loses"}.get(self.word, self.word)

    @property
    def shown(self) -> tuple[float | None, float | None, float | None]:
        """Difference, lower and upper end, in the unit that the page shows."""
        per = self.measure.per
        difference, low, high = (
            None if part is None else per * part for part in (self.difference, self.low, self.high)
        )
        return difference, low, high


@dataclass(frozen=True)
class Row:
    """One variant; `seconds` is the mean wall time of its finished runs."""

    key: str
    label: str
    change: str
    reason: str
    experiment: int | None
    parameters: int | None
    seconds: float | None
    seeds_finished: int
    seeds_compared: tuple[int, ...]
    runs: tuple[Json, ...]
    cells: tuple[Cell, ...]


def table_of(study: Study, known: Iterable[StudyRun] | None = None) -> list[Row]:
    """All rows in their order, from what is stored at this moment; `known` are the runs, if read."""
    parts: dict[int, list[StudyRun]] = {}
    for part in StudyRun.objects.of_study(study) if known is None else known:
        parts.setdefault(part.variant_id, []).append(part)
    withheld = {part.run_id for found in parts.values() for part in found if part.run.is_withheld}
    return [_row(variant, parts.get(variant.pk, []), withheld) for variant in study.variants.all()]


def mixed_code_of(parts: Iterable[StudyRun]) -> MixedCode | None:
    """What to say where several code versions have trained the finished runs of one table."""
    return mixed_code((part.run for part in _finished(parts)), TRAIN_AGAIN)


def _finished(parts: Iterable[StudyRun]) -> list[StudyRun]:
    return [part for part in parts if part.run.job.status == JobStatus.SUCCEEDED]


def _row(variant: StudyVariant, parts: list[StudyRun], withheld: set[int]) -> Row:
    finished = _finished(parts)
    taken = [part.run.job.duration for part in finished]
    seconds = [duration.total_seconds() for duration in taken if duration]
    return Row(
        key=variant.key,
        label=LABELS.get(variant.key, variant.key),
        change=variant.change,
        reason=variant.reason,
        experiment=variant.experiment_id,
        parameters=variant.parameters,
        seconds=fmean(seconds) if seconds else None,
        seeds_finished=len(finished),
        seeds_compared=tuple(variant.comparison.get("seeds", ())),
        runs=tuple(
            {
                "id": part.run_id,
                "seed": part.run.seed,
                "status": part.run.job.status,
                "code_version": trained_by(part.run) if part in finished else "",
            }
            for part in parts
        ),
        cells=tuple(_cell(measure, variant, finished, withheld) for measure in MEASURES),
    )


def _cell(
    measure: StudyMeasure, variant: StudyVariant, finished: list[StudyRun], withheld: set[int]
) -> Cell:
    values = [value for part in finished if (value := _value(measure, part)) is not None]
    mean = fmean(values) if values else None
    std = stdev(values) if len(values) > 1 else None
    found, word, reason = _compared(measure, variant, withheld)
    low, high = found.get("interval") or (None, None)
    rows = found.get("rows")
    return Cell(measure.key, mean, std, found.get("difference"), low, high, rows, word, reason)


def _value(measure: StudyMeasure, part: StudyRun) -> float | None:
    if measure.key == "net_return":
        return part.backtest.net_return
    head, metric = measure.key.split(".")
    value: float | None = part.run.metrics.get(head, {}).get(metric, {}).get("value")
    return value


def _compared(
    measure: StudyMeasure, variant: StudyVariant, withheld: set[int]
) -> tuple[Json, str, str]:
    """The stored difference, its word, and why there is none."""
    if variant.key == BASE or variant.experiment_id is None:
        return {}, "", ""
    if not measure.compared:
        return {}, "", measure.reason
    if not variant.comparison:
        return {}, "", NOT_YET
    used = {*variant.comparison["runs"], *variant.comparison["base_runs"]}
    if used & withheld:
        return {}, "withheld", WITHHELD
    found: Json = variant.comparison["rows"][measure.compared]
    return found, word_of(found["interval"]), found["reason"]


def word_of(interval: Sequence[float] | None) -> str:
    """`better` where the interval lies above 0, `worse` below; holding 0 it is `not_shown`."""
    if interval is None:
        return "undecided"
    low, high = interval
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not_shown"


def progress_of(parts: Iterable[StudyRun]) -> Json:
    """How many runs there are, and how many of them wait, run, have succeeded or ended otherwise."""
    statuses = [part.run.job.status for part in parts]
    succeeded = statuses.count(JobStatus.SUCCEEDED)
    queued = statuses.count(JobStatus.QUEUED)
    running = statuses.count(JobStatus.RUNNING) + statuses.count(JobStatus.CANCELLING)
    return {
        "runs": len(statuses),
        "succeeded": succeeded,
        "running": running,
        "queued": queued,
        "stopped": len(statuses) - succeeded - running - queued,
    }


def table_json(study: Study, known: Iterable[StudyRun] | None = None) -> list[Json]:
    """The table as plain JSON: the file of the page and the answer of the API."""
    return [asdict(row) for row in table_of(study, known)]


def table_csv(study: Study) -> str:
    """The table as CSV: one line for each variant and measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([harmless(value) for value in line] for line in _csv_lines(study))
    return text.getvalue()


def _csv_lines(study: Study) -> Iterator[list[Any]]:
    yield [
        *(
            "variant",
            "change",
            "parameters",
            "seconds",
            "seeds_finished",
            "code_versions",
            "measure",
        ),
        *("mean", "std", "difference", "low", "high", "rows", "word", "reason"),
    ]
    for row in table_of(study):
        trained = dict.fromkeys(run["code_version"] for run in row.runs if run["code_version"])
        about = [row.key, row.change, row.parameters, row.seconds, row.seeds_finished]
        about.append("; ".join(trained))
        if row.reason:
            yield [*about, *[""] * 8, row.reason]
            continue
        for cell in row.cells:
            values = [cell.mean, cell.std, cell.difference, cell.low, cell.high, cell.rows]
            yield [*about, cell.key, *values, WORDS[cell.word], cell.reason]
