"""From candles and targets to an account: the one way equity is made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.engine import kernel
from backtests.engine.ledger import TRADE, LedgerBroken, Simulation, trades_from_rows
from backtests.specs import BacktestSpec
from markets.candles.frame import Candles

COLUMNS = ("open", "high", "low", "close", "volume")
MARKS = ("equity", "position", "standing")
# About 0.1 s of compiled work; between chunks the interpreter serves heartbeats.
CHUNK_BARS = 1_000_000
TOLERANCE = 1e-9


class InvalidTargets(ValueError):
    """Targets that cannot be traded: of another length than the candles, or outside [−1, 1]."""


class InvalidSpan(ValueError):
    """A span that holds no candle."""


@dataclass(frozen=True)
class _Market:
    time: NDArray[np.int64]
    columns: tuple[NDArray[np.float64], ...]
    bar_ns: int
    is_after_gap: NDArray[np.bool_]


def simulate(
    candles: Candles | Mapping[str, ArrayLike], targets: ArrayLike, spec: BacktestSpec
) -> Simulation:
    """Trade `targets` on `candles` and return the account at every close.

    `candles` are Candles or a mapping of equally long arrays time (int64 ns UTC, bar open), open, high,
    low, close, volume. `targets[t]` ∈ [−1, 1] is known at the close of bar t and filled at the open of
    the next bar there is; NaN keeps the standing target. Fees and slippage come from `spec.costs`,
    protective exits from `spec.risk`. With a span the account starts flat at its first bar and the
    target standing there is acted on at that bar's close; arrays of the result cover the span alone.
    A bar with stop and target both touched takes `spec.fills.both_touched` and is counted.

    Raises InvalidTargets, InvalidSpan, ValueError for candles of unequal length, and LedgerBroken when
    the books do not balance to 1e-9.
    """
    market = _market(candles)
    wanted = _checked_targets(targets, len(market.time))
    first, stop = _span(market.time, spec)
    standing = _standing_before(wanted, first)
    return _run(_part(market, first, stop), wanted[first:stop], standing, first, spec)


def bar_length_ns(time: NDArray[np.int64]) -> int:
    """The bar length (ns) of sorted open times: the smallest difference, since gaps are multiples of it.

    One bar alone is taken to last a minute.
    """
    return int(np.diff(time).min()) if len(time) > 1 else 60_000_000_000


def _market(candles: Candles | Mapping[str, ArrayLike]) -> _Market:
    source = candles if isinstance(candles, Mapping) else vars(candles)
    time = np.ascontiguousarray(source["time"], np.int64)
    columns = tuple(np.ascontiguousarray(source[name], np.float64) for name in COLUMNS)
    if any(len(column) != len(time) for column in columns):
        lengths = ", ".join(f"{name} {len(c)}" for name, c in zip(COLUMNS, columns, strict=True))
        raise ValueError(f"expected columns of {len(time)} candles, found {lengths}")
    bar_ns = candles.bar_ns if isinstance(candles, Candles) else bar_length_ns(time)
    is_after_gap = np.zeros(len(time), np.bool_)
    is_after_gap[1:] = np.diff(time) != bar_ns
    return _Market(time, columns, bar_ns, is_after_gap)


def _checked_targets(targets: ArrayLike, bars: int) -> NDArray[np.float64]:
    wanted = np.ascontiguousarray(targets, np.float64)
    if wanted.shape != (bars,):
        raise InvalidTargets(f"expected {bars} targets, one per candle, found shape {wanted.shape}")
    outside = np.flatnonzero(np.abs(wanted) > 1)
    if len(outside):
        bar = int(outside[0])
        raise InvalidTargets(
            f"bar {bar}: found target {wanted[bar]}, expected −1 to 1 or no opinion"
        )
    return wanted


def _span(time: NDArray[np.int64], spec: BacktestSpec) -> tuple[int, int]:
    begin, end = spec.span.from_at, spec.span.to_at
    first = int(np.searchsorted(time, _to_ns(begin))) if begin else 0
    stop = int(np.searchsorted(time, _to_ns(end))) if end else len(time)
    if first >= stop:
        raise InvalidSpan("the span holds no candle; choose a period inside the candles")
    return first, stop


def _to_ns(instant: dt.datetime) -> int:
    since = instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since // dt.timedelta(microseconds=1)) * 1000


def _standing_before(targets: NDArray[np.float64], first: int) -> float:
    """The last opinion of the warm-up, 0 without one."""
    known = targets[:first][~np.isnan(targets[:first])]
    return float(known[-1]) if len(known) else 0.0


def _part(market: _Market, first: int, stop: int) -> _Market:
    is_after_gap = market.is_after_gap[first:stop].copy()
    is_after_gap[0] = False
    columns = tuple(column[first:stop] for column in market.columns)
    return _Market(market.time[first:stop], columns, market.bar_ns, is_after_gap)


def _rules(spec: BacktestSpec) -> kernel.Rules:
    return kernel.Rules(
        fixed_quantity=spec.sizing.mode == "fixed_quantity",
        fraction=float(spec.sizing.fraction),
        quantity=float(spec.sizing.quantity),
        lot_step=float(spec.sizing.lot_step),
        min_notional=float(spec.sizing.min_notional),
        stop=float(spec.risk.stop_pct or 0.0),
        goal=float(spec.risk.take_profit_pct or 0.0),
        maker=spec.costs.maker_bps / 1e4,
        taker=spec.costs.taker_bps / 1e4,
        slippage=spec.costs.slippage_bps / 1e4,
        goal_fills_at_open=spec.fills.take_profit_gap == "open",
        goal_first=spec.fills.both_touched == "target_first",
    )


def _run(
    market: _Market, targets: NDArray[np.float64], standing: float, first: int, spec: BacktestSpec
) -> Simulation:
    bars = len(market.time)
    states = np.zeros(1, kernel.STATE)
    states["cash"] = spec.capital
    states["standing"] = standing
    marks = tuple(np.empty(bars) for _ in MARKS)
    rows = np.empty(min(bars, 4096) + 2, TRADE)
    rules, bar = _rules(spec), 0
    while bar < bars:
        stop = min(bar + CHUNK_BARS, bars)
        bar = kernel.advance(
            bar, stop, market.columns, market.is_after_gap, targets, rules, states, marks, rows
        )
        if bar < stop:
            rows = np.concatenate([rows, np.empty(len(rows), TRADE)])
    if states["quantity"][0] != 0:
        kernel.mark_open_trade(states[0], rows, market.columns[3][-1])
    simulation = _simulation(market, marks, states[0], rows, first, spec.capital)
    _require_balance(simulation, states[0], market.columns[3])
    return simulation


def _simulation(
    market: _Market,
    marks: tuple[NDArray[np.float64], ...],
    state: np.void,
    rows: NDArray[np.void],
    first: int,
    capital: float,
) -> Simulation:
    equity, position, standing = marks
    return Simulation(
        first_bar=first,
        bar_ns=market.bar_ns,
        capital=capital,
        time=market.time,
        equity=equity,
        position=position,
        standing=standing,
        trades=trades_from_rows(rows[: state["trades"]], market.time, len(market.time)),
        cash=float(state["cash"]),
        fees=float(state["fees"]),
        slippage_cost=float(state["slippage"]),
        traded_notional=float(state["traded"]),
        shortfall=float(state["shortfall"]),
        halted="ruin" if state["halted"] else "",
        ambiguous_bars=int(state["ambiguous_bars"]),
        rejected_min_notional=int(state["rejected"]),
        liquidations=int(state["liquidations"]),
        gap_fills=int(state["gap_fills"]),
        zero_volume_fills=int(state["zero_volume_fills"]),
    )


def _require_balance(simulation: Simulation, state: np.void, close: NDArray[np.float64]) -> None:
    equity, capital = float(simulation.equity[-1]), simulation.capital
    pnl = float(np.sum(simulation.trades.pnl))
    spent = float(state["bought"]) + simulation.fees
    scale = max(capital, float(np.max(simulation.equity)), simulation.traded_notional)
    books = {
        "equity = cash + position × close": simulation.cash
        + float(simulation.position[-1] * close[-1])
        - equity,
        "equity = capital + pnl of trades + shortfall": capital
        + pnl
        + simulation.shortfall
        - equity,
        "cash = capital − purchases − fees + shortfall": capital
        - spent
        + simulation.shortfall
        - simulation.cash,
        "fees = fees of trades": float(np.sum(simulation.trades.fees)) - simulation.fees,
    }
    for identity, difference in books.items():
        if not abs(difference) <= TOLERANCE * scale:
            raise LedgerBroken(f"{identity} is off by {difference} at equity {equity}")
