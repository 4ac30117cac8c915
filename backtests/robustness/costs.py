"""What is left of a run when trading costs more, and at which cost nothing is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from backtests.engine.simulate import simulate
from backtests.metrics.measures import returns_of, sharpe, total_return
from backtests.metrics.series import daily_values, values_with_capital
from backtests.metrics.summary import SHORTEST_TRACK_DAYS
from backtests.specs import BacktestSpec, CostSpec
from markets.candles.frame import Candles

FACTORS = (0.0, 0.5, 1.0, 2.0, 5.0)
HIGHEST_BPS = 200.0
PRECISION_BPS = 0.01

Market = Candles | Mapping[str, ArrayLike]


@dataclass(frozen=True)
class CostRow:
    """The run with all costs times `factor`; the Sharpe ratio is None below 30 days."""

    factor: float
    total_return: float
    sharpe: float | None
    closed_trades: int


@dataclass(frozen=True)
class BreakEven:
    """The cost per side at which the total return is 0.

    `bps` is None when there is no such cost; `word` is then `none` (it loses without any cost) or
    `above` (it still earns at 200 bps), else `found`.
    """

    bps: float | None
    word: str


def cost_sensitivity(candles: Market, targets: ArrayLike, spec: BacktestSpec) -> list[CostRow]:
    """The run again with maker fee, taker fee and slippage times 0, ½, 1, 2 and 5.

    Arguments and errors are those of `simulate`. These runs are cells of a table, not trials.
    """
    return [_row(candles, targets, spec, factor) for factor in FACTORS]


def break_even_cost(candles: Market, targets: ArrayLike, spec: BacktestSpec) -> BreakEven:
    """The taker fee per side (bps, all orders, no slippage) with total return 0, to 0.01 bps.

    Found by bisection on 0 to 200 bps. The return need not fall evenly with cost where exits or lots
    depend on it; then this is one of its crossings.
    """
    if _return_at(candles, targets, spec, 0.0) <= 0:
        return BreakEven(None, "none")
    if _return_at(candles, targets, spec, HIGHEST_BPS) > 0:
        return BreakEven(None, "above")
    low, high = 0.0, HIGHEST_BPS
    while high - low > PRECISION_BPS:
        middle = (low + high) / 2
        if _return_at(candles, targets, spec, middle) > 0:
            low = middle
        else:
            high = middle
    return BreakEven((low + high) / 2, "found")


def _row(candles: Market, targets: ArrayLike, spec: BacktestSpec, factor: float) -> CostRow:
    costs = spec.costs.model_copy(
        update={
            name: getattr(spec.costs, name) * factor
            for name in ("maker_bps", "taker_bps", "slippage_bps")
        }
    )
    simulation = simulate(candles, targets, spec.model_copy(update={"costs": costs}))
    daily = returns_of(daily_values(simulation))
    ratio = sharpe(daily) if len(daily) >= SHORTEST_TRACK_DAYS else float("nan")
    return CostRow(
        factor=factor,
        total_return=total_return(values_with_capital(simulation)),
        sharpe=ratio if ratio == ratio else None,
        closed_trades=int((~simulation.trades.is_open).sum()),
    )


def _return_at(candles: Market, targets: ArrayLike, spec: BacktestSpec, bps: float) -> float:
    costs = CostSpec(maker_bps=bps, taker_bps=bps, slippage_bps=0.0)
    simulation = simulate(candles, targets, spec.model_copy(update={"costs": costs}))
    return total_return(values_with_capital(simulation))
