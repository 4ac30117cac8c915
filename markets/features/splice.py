"""Step zero of every feature: prices without the jump over a gap and without a price level."""

from __future__ import annotations

import dataclasses

import numpy as np

from markets.candles.frame import Candles

FIRST_CLOSE = 100.0


def splice_prices(candles: Candles) -> Candles:
    """The same candles with prices multiplied so that each gap closes and the first close is 100.

    At the first bar after a gap all prices from there on are multiplied by the previous close over
    its open (the factors accumulate): a move over an unknown number of bars is no one-bar return.
    Each factor is known at its bar. Volume and times stay as they are; an empty series stays empty.
    """
    if len(candles) == 0:
        return candles
    joins = np.ones(len(candles))
    after_gap = np.flatnonzero(candles.gap_before)
    joins[after_gap] = candles.close[after_gap - 1] / candles.open[after_gap]
    factor = np.cumprod(joins) * (FIRST_CLOSE / candles.close[0])
    return dataclasses.replace(
        candles,
        open=candles.open * factor,
        high=candles.high * factor,
        low=candles.low * factor,
        close=candles.close * factor,
    )
