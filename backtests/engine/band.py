"""How much the unknown order of prices inside a bar matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.engine.ledger import Simulation
from backtests.engine.simulate import simulate
from backtests.specs import BacktestSpec
from markets.candles.frame import Candles


@dataclass(frozen=True)
class Band:
    """A run and the range its equity spans when ambiguous bars are read the other way.

    `headline` follows the spec: stop first by default, and target first only where the spec asks for
    that parity option, which would else change nothing. `twin` takes the other of the two; `lowest`
    and `highest` (float64 [N]) bound the two equities per bar, so the band is the same either way.
    Without an ambiguous bar the three are None. `ambiguous_share` is ambiguous trades over all trades
    of the headline, 0 without trades.
    """

    headline: Simulation
    twin: Simulation | None
    lowest: NDArray[np.float64] | None
    highest: NDArray[np.float64] | None
    ambiguous_share: float


def simulate_band(
    candles: Candles | Mapping[str, ArrayLike], targets: ArrayLike, spec: BacktestSpec
) -> Band:
    """Simulate, and simulate the twin when a bar touched both stop and target.

    Arguments and errors are those of `simulate`. Up to its first ambiguous bar the twin equals the
    headline, so a headline without one needs no second run.
    """
    headline = simulate(candles, targets, spec)
    if not headline.ambiguous_bars:
        return Band(headline, None, None, None, 0.0)
    other = "stop_first" if spec.fills.both_touched == "target_first" else "target_first"
    fills = spec.fills.model_copy(update={"both_touched": other})
    twin = simulate(candles, targets, spec.model_copy(update={"fills": fills}))
    return Band(
        headline=headline,
        twin=twin,
        lowest=np.minimum(headline.equity, twin.equity),
        highest=np.maximum(headline.equity, twin.equity),
        ambiguous_share=float(np.mean(headline.trades.ambiguous)),
    )
