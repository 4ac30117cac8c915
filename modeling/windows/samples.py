"""Which bars make a sample: a complete window behind, a complete label ahead, no gap in either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import NS_PER_MINUTE, Candles
from markets.features.registry import FEATURES
from markets.features.table import FeatureTable, ScaleFeatures
from modeling.evaluation.effective import effective_samples
from modeling.windows.errors import ContextTooShort, NotEnoughHistory

SCALE_BARS = 288
"""Bars of the volatility that scales every label; the first labels need so many returns."""


@dataclass(frozen=True)
class Samples:
    """Every complete window of one candle series, or of several, in order of time.

    `bar` is the number of the window's last base bar; `known_at` its close (ns UTC). `has_label`
    says whether all bars of the longest label exist without a gap; `label_end_at` is the close of
    the last of them (where they do not exist: the time at which it would be). `instrument` is the
    place of the series that a window is of; None where there is one only.
    """

    bar: NDArray[np.int64]
    has_label: NDArray[np.bool_]
    known_at: NDArray[np.int64]
    label_end_at: NDArray[np.int64]
    horizon_bars: int
    regime_bars: int
    instrument: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return int(self.bar.size)

    @property
    def label_bars(self) -> int:
        """Bars that the longest label reads."""
        return max(self.horizon_bars, self.regime_bars)

    def by_instrument(self, positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Those of the samples that are of each instrument, in order of time."""
        if self.instrument is None:
            return [positions]
        of = self.instrument[positions]
        return [positions[of == place] for place in range(int(self.instrument.max()) + 1)]

    def some(self, positions: NDArray[np.int64], *, first_bar: int) -> Samples:
        """Samples of one series alone, its bars numbered from 0; `first_bar` is its first one here."""
        return Samples(
            bar=self.bar[positions] - first_bar,
            has_label=self.has_label[positions],
            known_at=self.known_at[positions],
            label_end_at=self.label_end_at[positions],
            horizon_bars=self.horizon_bars,
            regime_bars=self.regime_bars,
        )

    def effective(self, positions: NDArray[np.int64]) -> float:
        """Independent observations among samples: the sum of label uniqueness over the horizon.

        Of several instruments the largest sum of one counts, since they move together.
        """
        return max(
            effective_samples(self.bar[of] + 1, self.bar[of] + self.horizon_bars)
            for of in self.by_instrument(positions)
        )


def in_order_of_time(series: Sequence[Samples], first_bars: Sequence[int]) -> Samples:
    """Samples of several series as one, by time and then by series; bars are numbered from the
    `first_bars` on.
    """
    if len(series) == 1:
        return series[0]
    bar = np.concatenate([of.bar + first for of, first in zip(series, first_bars, strict=True)])
    known_at = np.concatenate([of.known_at for of in series])
    order = np.lexsort((bar, known_at))
    places = np.repeat(np.arange(len(series)), [len(of) for of in series])
    return Samples(
        bar=bar[order],
        has_label=np.concatenate([of.has_label for of in series])[order],
        known_at=known_at[order],
        label_end_at=np.concatenate([of.label_end_at for of in series])[order],
        horizon_bars=series[0].horizon_bars,
        regime_bars=series[0].regime_bars,
        instrument=places[order],
    )


def eligible_samples(
    candles: Candles,
    table: FeatureTable,
    *,
    context_bars: int,
    horizon_bars: int,
    regime_bars: int,
) -> Samples:
    """All bars whose window is complete on every timescale: finite features, no gap inside.

    A window is the last `context_bars` base bars and, per coarse scale, the coarse bars that lie
    inside it at every phase. A label needs the next max(horizon, regime) bars without a gap and
    288 returns before. Raises NotEnoughHistory with the bars needed when no window is complete,
    ContextTooShort when a scale does not fit into the window.
    """
    complete = np.ones(len(candles), dtype=np.bool_)
    for scale in table.scales.values():
        ends = _complete_window_ends(scale, coarse_bars(context_bars, scale.factor))
        # last_closed −1 (no coarse bar yet) looks at the last entry, so it is excluded apart.
        complete &= (scale.last_closed >= 0) & ends[scale.last_closed] if ends.size else False
    bar = np.flatnonzero(complete)
    if not bar.size:
        needed = bars_needed(
            table.names,
            tuple(table.scales),
            context_bars,
            max(horizon_bars, regime_bars),
            timeframe_minutes=candles.timeframe_minutes,
        )
        raise NotEnoughHistory(
            f"No complete window in {len(candles)} bars; about {needed} bars without a gap are "
            "needed. Use more history, fewer timescales or a shorter context.",
            found=len(candles),
            needed=needed,
        )
    ahead = max(horizon_bars, regime_bars)
    known_at = candles.close_time[bar]
    return Samples(
        bar=bar.astype(np.int64),
        has_label=labelled_bars(candles, ahead)[bar],
        known_at=known_at,
        label_end_at=known_at + ahead * candles.bar_ns,
        horizon_bars=horizon_bars,
        regime_bars=regime_bars,
    )


def coarse_bars(context_bars: int, factor: int) -> int:
    """Bars of a timescale that lie inside every window of `context_bars` base bars, whatever the
    phase: (T − k + 1) // k, and T for the base itself. Raises ContextTooShort below one bar.
    """
    count = context_bars if factor == 1 else (context_bars - factor + 1) // factor
    if count < 1:
        raise ContextTooShort(
            f"A context of {context_bars} bars does not hold a bar of timescale {factor} at every "
            f"phase; expected at least {2 * factor - 1} bars."
        )
    return count


def bars_needed(
    names: Sequence[str],
    scales: Sequence[int],
    context_bars: int,
    label_bars: int,
    *,
    timeframe_minutes: int,
) -> int:
    """Base bars, at most, before one labelled sample exists in a series without gaps: the longest
    warm-up of any feature on any scale, the window and the label.

    A warm-up of whole days is as many bars as the timeframe makes of it.
    """
    warm_up = max(
        FEATURES[name].warm_up_bars(timeframe_minutes * k) * k for name in names for k in scales
    )
    return max(warm_up, SCALE_BARS) + max(scales) + context_bars + label_bars


def first_window(
    names: Sequence[str],
    scales: Sequence[int],
    context_bars: int,
    *,
    first_open: int,
    timeframe_minutes: int,
) -> int:
    """The number of the first bar with a complete window in a series without gaps that opens at
    `first_open` (ns UTC, on the grid of the timeframe).

    On each scale the coarse bars of the window follow the longest warm-up and have closed; a coarse
    bar that began before the series is none. Raises ContextTooShort when a scale does not fit into
    the window.
    """
    place = first_open // (timeframe_minutes * NS_PER_MINUTE)
    return max(
        -place % k
        + k * max(FEATURES[name].warm_up_bars(timeframe_minutes * k) for name in names)
        + k * coarse_bars(context_bars, k)
        - 1
        for k in scales
    )


def labelled_bars(candles: Candles, ahead: int) -> NDArray[np.bool_]:
    """True at each bar whose next `ahead` bars exist without a gap, 288 returns being known."""
    has_label = np.zeros(len(candles), dtype=np.bool_)
    if len(candles) <= ahead:
        return has_label
    gaps = np.cumsum(candles.gap_before)
    has_label[: len(candles) - ahead] = gaps[ahead:] == gaps[:-ahead]
    has_label[:SCALE_BARS] = False
    return has_label


def _complete_window_ends(scale: ScaleFeatures, bars: int) -> NDArray[np.bool_]:
    """True at each bar of the scale that ends `bars` bars without NaN and without a gap inside."""
    count = scale.open_time.size
    complete = np.zeros(count, dtype=np.bool_)
    if count < bars:
        return complete
    broken = np.zeros(count + 1, dtype=np.int64)
    for row in scale.values:
        broken[1:] |= ~np.isfinite(row)
    broken = np.cumsum(broken)
    gaps = np.cumsum(scale.gap_before)
    finite = broken[bars:] == broken[:-bars]
    # A gap before the first bar of a window is outside it.
    complete[bars - 1 :] = finite & (gaps[bars - 1 :] == gaps[: count - bars + 1])
    return complete
