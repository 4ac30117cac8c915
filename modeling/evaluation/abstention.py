"""What is left when only the surer trades are taken: accuracy and net return against a confidence cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation import prepared
from modeling.evaluation.cases import Scoring
from modeling.evaluation.columns import MIN_SAMPLES, REGIMES, scorable_rows
from modeling.evaluation.draws import resampling
from modeling.evaluation.intervals import Between, draw_values, interval_of, no_pause
from modeling.evaluation.prepared import Bools, Floats, Ints, Metric

Columns = Mapping[str, NDArray[np.generic]]
Json = dict[str, object]

COVERED_PERCENT = (100, 75, 50, 25, 10)


def confidence_cuts(confidence: Floats) -> list[float]:
    """The confidence that 100, 75, 50, 25 and 10 % of the rows [n] reach, the share rounded up to rows.

    Equal confidences stay on one side of a cut, so more rows than asked for may reach it. NaN is not
    allowed. Raises ValueError without rows.
    """
    rows = len(confidence)
    if rows == 0:
        raise ValueError("found no confidence; expected at least one")
    falling = np.sort(confidence)[::-1]
    return [float(falling[-(-rows * percent // 100) - 1]) for percent in COVERED_PERCENT]


def abstention(table: Columns, scoring: Scoring, *, between: Between = no_pause) -> Json:
    """Accuracy, net bp per trade and coverage of the rows at or above each cut, as plain JSON.

    {"cuts": [{"wanted", "cut"}], "groups": [{"group", "key", "samples", "rows": [{"samples",
    "coverage", "accuracy", "net_bps"}]}]}. Groups are all rows, every fold, and every regime the
    model named at the bar (its largest probability: what a trader knows then, not what came). One set
    of cuts, that of all rows, serves every group; coverage is the share of the group's rows that
    reach the cut. A trade takes the side of the action score and costs `cost_bps`; returns of 0 are
    left out of the accuracy only. Below 200 rows a value is None with its reason. All rows together
    have 95 % intervals when the scoring draws any. `table` is a prediction table in time order;
    unknown labels are left out, and no row left gives no cut and no group. `between` is called with
    the share of the draws done and may raise.
    """
    rows = scorable_rows(table, "confidence")
    if not len(rows):
        return {"cuts": [], "groups": []}
    confidence = _floats(table, "confidence")[rows]
    side, gain = _floats(table, "action")[rows], _floats(table, "realised_return")[rows]
    cuts = confidence_cuts(confidence)
    groups: list[Json] = []
    for group, key, inside in _groups(table, rows):
        kept = [np.flatnonzero(inside & (confidence >= cut)) for cut in cuts]
        metrics = [_metrics(side[places], gain[places], scoring.cost_bps) for places in kept]
        spans = _intervals(table, rows, kept, metrics, scoring, between) if group == "all" else {}
        groups.append(
            {
                "group": group,
                "key": key,
                "samples": int(inside.sum()),
                "rows": [
                    _row(place, kept[place], found, int(inside.sum()), spans)
                    for place, found in enumerate(metrics)
                ],
            }
        )
    return {
        "cuts": [
            {"wanted": percent / 100, "cut": cut}
            for percent, cut in zip(COVERED_PERCENT, cuts, strict=True)
        ],
        "groups": groups,
    }


def _groups(table: Columns, rows: Ints) -> Iterator[tuple[str, int | None, Bools]]:
    yield "all", None, np.ones(len(rows), dtype=bool)
    folds = _floats(table, "fold")[rows]
    for fold in np.unique(folds):
        yield "fold", int(fold), folds == fold
    chances = np.stack([_floats(table, f"regime_{k}")[rows] for k in range(REGIMES)], axis=1)
    named = np.where(np.isfinite(chances).all(axis=1), chances.argmax(axis=1), REGIMES)
    for regime in range(REGIMES):
        yield "regime", regime, named == regime


def _metrics(side: Floats, gain: Floats, cost_bps: float) -> dict[str, Metric]:
    return {
        "accuracy": prepared.accuracy_of(side, gain),
        "net_bps": prepared.mean_of(np.sign(side) * gain * 1e4 - cost_bps),
    }


def _row(
    place: int,
    kept: Ints,
    metrics: Mapping[str, Metric],
    of_group: int,
    spans: Mapping[tuple[int, str], list[float] | None],
) -> Json:
    samples = len(kept)
    row: Json = {"samples": samples, "coverage": samples / of_group if of_group else None}
    for name, metric in metrics.items():
        value = float(metric(np.ones(samples))) if samples >= MIN_SAMPLES else float("nan")
        if samples < MIN_SAMPLES:
            reason = f"found {samples} test samples; a score needs {MIN_SAMPLES}"
            row[name] = {"value": None, "reason": reason}
        elif not np.isfinite(value):
            row[name] = {"value": None, "reason": "no bar of them moved"}
        else:
            row[name] = {"value": value}
            if (place, name) in spans:
                row[name] = {"value": value, "interval": spans[place, name]}
    return row


def _intervals(
    table: Columns,
    rows: Ints,
    kept: Sequence[Ints],
    metrics: Sequence[Mapping[str, Metric]],
    scoring: Scoring,
    between: Between,
) -> dict[tuple[int, str], list[float] | None]:
    """95 % intervals by cut and metric, all on the same draws of time."""
    if not scoring.draws or len(rows) < MIN_SAMPLES:
        return {}
    loss = _floats(table, "action")[rows] * _floats(table, "realised_return")[rows]
    plan = resampling(table, rows, loss, scoring)
    drawn = draw_values(
        {
            (place, name): _among(metric, kept[place])
            for place, found in enumerate(metrics)
            for name, metric in found.items()
            if len(kept[place]) >= MIN_SAMPLES
        },
        plan,
        between=between,
    )
    spans = {key: interval_of(values) for key, values in drawn.items()}
    return {key: list(span) if span else None for key, span in spans.items()}


def _among(metric: Metric, kept: Ints) -> Metric:
    """The metric of some of the rows, as a function of the counts of all."""
    return lambda counts: metric(counts[..., kept])


def _floats(table: Columns, name: str) -> Floats:
    return np.asarray(table[name], dtype=np.float64)
