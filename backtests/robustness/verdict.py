"""The verdict: does the model's account beat the best simple one, after costs?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.robustness.bootstrap import DRAWS, FEWEST_DAYS, mean_interval
from modeling.measures import rung_words

Word = Literal["beats", "ties", "loses", "undecided"]

BUY_AND_HOLD = "buy_and_hold"
FEWEST_TRADES = 30
WORST_FIRST: tuple[Word, ...] = ("undecided", "loses", "ties", "beats")


@dataclass(frozen=True)
class Comparison:
    """Ours against one rung: mean daily log net return, ours minus theirs, with its 95 % interval.

    The interval is None when the track is too short to draw one.
    """

    rung: str
    word: Word
    difference: float
    low: float | None
    high: float | None
    block_days: float | None


@dataclass(frozen=True)
class Verdict:
    """The worse of two comparisons: with the best rung, and with buy and hold.

    `deciding` is that comparison, and `word` its word; whoever names a rung beside the word takes it
    from there. `best_rung` is the one with the highest mean daily log net return of `rungs` rungs.
    """

    word: Word
    sentence: str
    deciding: Comparison
    comparisons: tuple[Comparison, ...]
    best_rung: str
    rungs: int
    days: int
    closed_trades: int
    draws: int

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data."""
        return {**asdict(self), "comparisons": [asdict(item) for item in self.comparisons]}


def equity_verdict(
    daily_ours: ArrayLike,
    daily_rungs: Mapping[str, ArrayLike],
    *,
    closed_trades: int,
    draws: int = DRAWS,
    seed: int,
) -> Verdict:
    """Judge a run by paired block bootstrap of daily log net returns.

    `daily_ours` [days] and each of `daily_rungs` [days] cover the same UTC days; `buy_and_hold` must be
    among the rungs. Against a rung the word is `beats` when the 95 % interval of the mean of
    (ours − rung) lies above 0, `loses` when below, else `ties`; each draw takes the same days of both.
    Below 30 days or 30 closed trades all words are `undecided`.

    Raises ValueError for a missing buy_and_hold, unequal lengths, or values that are not finite.
    """
    ours = np.asarray(daily_ours, np.float64)
    rungs = {name: np.asarray(values, np.float64) for name, values in daily_rungs.items()}
    _require_comparable(ours, rungs)
    is_decided = len(ours) >= FEWEST_DAYS and closed_trades >= FEWEST_TRADES
    compared = {
        name: _compare(name, ours - values, is_decided=is_decided, draws=draws, seed=seed)
        for name, values in rungs.items()
    }
    best = max(rungs, key=lambda name: float(np.sum(rungs[name])))
    pair = (compared[best], compared[BUY_AND_HOLD])
    worse = min(pair, key=lambda item: WORST_FIRST.index(item.word))
    standing = _standing(worse.rung, best, len(rungs))
    return Verdict(
        word=worse.word,
        sentence=_sentence(worse, standing, len(ours), closed_trades),
        deciding=worse,
        comparisons=tuple(compared.values()),
        best_rung=best,
        rungs=len(rungs),
        days=len(ours),
        closed_trades=closed_trades,
        draws=draws,
    )


def _require_comparable(
    ours: NDArray[np.float64], rungs: Mapping[str, NDArray[np.float64]]
) -> None:
    if BUY_AND_HOLD not in rungs:
        raise ValueError(f"expected the rung {BUY_AND_HOLD}, found {', '.join(rungs) or 'none'}")
    if not len(ours):
        raise ValueError("expected at least one daily return")
    for name, values in {"the run": ours, **rungs}.items():
        if values.shape != ours.shape:
            raise ValueError(f"{name}: found {values.shape} daily returns, expected {ours.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite daily returns")


def _compare(
    rung: str, differences: NDArray[np.float64], *, is_decided: bool, draws: int, seed: int
) -> Comparison:
    mean = float(np.mean(differences))
    interval = mean_interval(differences, draws=draws, seed=seed)
    if interval is None:
        return Comparison(rung, "undecided", mean, None, None, None)
    word: Word = "beats" if interval.low > 0 else "loses" if interval.high < 0 else "ties"
    return Comparison(
        rung,
        word if is_decided else "undecided",
        mean,
        interval.low,
        interval.high,
        interval.block_days,
    )


def _sentence(worse: Comparison, standing: str, days: int, closed_trades: int) -> str:
    """What the word means and what to try."""
    name = f"{rung_words(worse.rung)} ({standing})"
    if worse.word == "undecided":
        return (
            f"Undecided: {days} days and {closed_trades} closed trades; at least {FEWEST_DAYS} "
            f"days and {FEWEST_TRADES} trades are needed. Test on a longer period."
        )
    if worse.word == "ties":
        return (
            f"Not better than {name}: over {days} days the difference could be chance. "
            "Try a longer period or lower costs before another model."
        )
    if worse.word == "loses":
        return (
            f"Loses to {name} after costs over {days} days. Look first at costs and turnover: "
            "a higher entry threshold trades less."
        )
    return (
        f"Beats {name} after costs over {days} days out of sample. "
        "Confirm it on the hold-out before relying on it."
    )


def _standing(rung: str, best: str, rungs: int) -> str:
    if rungs == 1:
        return "the only rung"
    return f"best of {rungs} rungs" if rung == best else "the benchmark"
