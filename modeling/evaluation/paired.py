"""Two members on the same test bars: paired differences of head metrics, and means over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation import prepared
from modeling.evaluation.columns import MIN_SAMPLES, REGIMES, RISKS, scorable_rows
from modeling.evaluation.draws import by_time
from modeling.evaluation.intervals import (
    Between,
    Interval,
    Resampling,
    draw_values,
    interval_of,
    mean_block_length,
    no_pause,
)
from modeling.evaluation.prepared import Floats, Ints, Metric
from modeling.evaluation.table import (
    INSTRUMENT,
    PREDICTED,
    Column,
    Table,
    instruments_in,
    joined,
    of_instrument,
)

# (head, metric): larger is better in the difference, whatever the metric itself says.
COMPARED: tuple[tuple[str, str], ...] = (
    ("action", "auc"),
    ("action", "rank_ic"),
    ("regime", "macro_f1"),
    ("volatility", "r2"),
    ("risk", "ordinal_brier"),
)
SMALLER_IS_BETTER = frozenset({"ordinal_brier"})


@dataclass(frozen=True)
class Paired:
    """Ours − theirs of one metric on `rows` shared test bars; positive is better.

    `difference` and `interval` are None where the metric is undefined, and `reason` says why.
    """

    difference: float | None
    interval: Interval | None
    rows: int
    reason: str = ""


def mean_prediction(tables: Sequence[Mapping[str, Column]]) -> Table:
    """The mean prediction over seeds on the bars that all tables have, in time order; of several
    instruments one after the other.

    Tables are prediction tables (`open_at` in ns UTC, rising). Volatility is averaged on its
    logarithm, on which its head is judged; everything else as it is. A prediction that one seed
    lacks (NaN) is NaN. Labels and times are those of the first table. Raises ValueError for no table.
    """
    if not tables:
        raise ValueError("expected at least one table of predictions")
    if names := instruments_in(tables[0]):
        return joined([_named(name, mean_prediction(_of(tables, name))) for name in names])
    shared = shared_bars([table["open_at"] for table in tables])
    rows = [np.searchsorted(table["open_at"], shared) for table in tables]
    mean: Table = {name: values[rows[0]] for name, values in tables[0].items()}
    for name in PREDICTED:
        stacked = np.stack(
            [np.asarray(t[name], float)[r] for t, r in zip(tables, rows, strict=True)]
        )
        if name == "volatility":
            mean[name] = np.exp(np.log(np.maximum(stacked, 1e-12)).mean(axis=0))
        else:
            mean[name] = stacked.mean(axis=0)
    return mean


def shared_bars(opens: Sequence[Column]) -> NDArray[np.int64]:
    """Open times (ns UTC, rising) that stand in every one of these columns."""
    shared = np.asarray(opens[0], dtype=np.int64)
    for other in opens[1:]:
        shared = np.intersect1d(shared, np.asarray(other, dtype=np.int64), assume_unique=True)
    return shared


def paired_differences(
    ours: Table,
    theirs: Table,
    *,
    horizon_bars: int,
    draws: int,
    seed: int,
    between: Between = no_pause,
) -> dict[tuple[str, str], Paired]:
    """Differences of the metrics in COMPARED on shared bars, each with its 95 % interval.

    Stationary block bootstrap with one draw of time for both members (blocks as for a verdict).
    Bars whose label is unknown or whose prediction is NaN in either table are left out; below 200 a
    difference is None with its reason. `between` is called every few draws and may raise.
    """
    names = instruments_in(ours) or ("",)
    each = [_on_shared_bars(_of((ours, theirs), name)) for name in names]
    pair = [joined(tables) for tables in zip(*each, strict=True)]
    found: dict[tuple[str, str], Paired] = {}
    heads = list(dict.fromkeys(head for head, _ in COMPARED))
    for place, head in enumerate(heads):

        def within(share: float, place: int = place) -> None:
            between((place + share) / len(heads))

        rows = np.intersect1d(scorable_rows(pair[0], head), scorable_rows(pair[1], head))
        found |= _of_head(head, pair, rows, (horizon_bars, draws, seed), within)
    return found


def _of_head(
    head: str,
    pair: Sequence[Table],
    rows: Ints,
    drawing: tuple[int, int, int],
    between: Between,
) -> dict[tuple[str, str], Paired]:
    names = [name for of, name in COMPARED if of == head]
    if len(rows) < MIN_SAMPLES:
        reason = f"found {len(rows)} shared test samples; a comparison needs {MIN_SAMPLES}"
        return {(head, name): Paired(None, None, len(rows), reason) for name in names}
    horizon_bars, draws, seed = drawing
    (metrics, loss), (others, _) = (_CASES[head](table, rows) for table in pair)
    both = {("ours", name): metrics[name] for name in names}
    both |= {("theirs", name): others[name] for name in names}
    loss, steps, positions = by_time(pair[0]["open_at"][rows], loss)
    plan = Resampling(steps, mean_block_length(loss, horizon_bars), draws, seed, positions)
    drawn = draw_values(both, plan, between=between)
    found = {}
    for name in names:
        sign = -1.0 if name in SMALLER_IS_BETTER else 1.0
        once = np.ones(len(rows))
        difference = sign * float(metrics[name](once) - others[name](once))
        if not np.isfinite(difference):
            found[head, name] = Paired(None, None, len(rows), "the outcomes are all equal")
            continue
        values = sign * (drawn["ours", name] - drawn["theirs", name])
        found[head, name] = Paired(difference, interval_of(values), len(rows))
    return found


def _of(tables: Sequence[Mapping[str, Column]], name: str) -> list[Table]:
    return [of_instrument(table, name) for table in tables]


def _named(name: str, table: Table) -> Table:
    return {INSTRUMENT: np.full(len(table["open_at"]), name, dtype=object), **table}


def _on_shared_bars(tables: Sequence[Table]) -> list[Table]:
    shared = shared_bars([table["open_at"] for table in tables])
    return [_at(table, shared) for table in tables]


def _at(table: Table, bars: NDArray[np.int64]) -> Table:
    rows = np.searchsorted(table["open_at"], bars)
    return {name: values[rows] for name, values in table.items()}


def _floats(table: Table, name: str, rows: Ints) -> Floats:
    return np.asarray(table[name], dtype=np.float64)[rows]


def _chances(table: Table, head: str, classes: int, rows: Ints) -> tuple[Floats, Ints]:
    chances = np.stack([_floats(table, f"{head}_{k}", rows) for k in range(classes)], axis=1)
    return chances, _floats(table, f"realised_{head}", rows).astype(np.int64)


Case = tuple[dict[str, Metric], Floats]  # metrics by name, and the loss of each row


def _action(table: Table, rows: Ints) -> Case:
    score, gain = _floats(table, "action", rows), _floats(table, "realised_return", rows)
    metrics = {
        "auc": prepared.direction_auc_of(score, gain),
        "rank_ic": prepared.rank_correlation_of(score, gain),
    }
    return metrics, score * gain


def _regime(table: Table, rows: Ints) -> Case:
    chances, actual = _chances(table, "regime", REGIMES, rows)
    metric = prepared.macro_f1_of(actual, chances.argmax(axis=1), REGIMES)
    return {"macro_f1": metric}, prepared.row_log_loss(chances, actual)


def _volatility(table: Table, rows: Ints) -> Case:
    guess, truth = (_floats(table, name, rows) for name in ("volatility", "realised_volatility"))
    loss = np.log(np.maximum(guess, 1e-6) / np.maximum(truth, 1e-6)) ** 2
    return {"r2": prepared.log_r2_of(guess, truth)}, loss


def _risk(table: Table, rows: Ints) -> Case:
    chances, actual = _chances(table, "risk", RISKS, rows)
    return {"ordinal_brier": prepared.ordinal_brier_of(chances, actual)}, prepared.row_log_loss(
        chances, actual
    )


_CASES: dict[str, Callable[[Table, Ints], Case]] = {
    "action": _action,
    "regime": _regime,
    "volatility": _volatility,
    "risk": _risk,
}
