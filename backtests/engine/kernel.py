"""The bar loop, compiled: fills, protective exits, cash and marks in the order of events of a bar.

The loop carries its whole state in one record, so a run can be made in pieces and gives the same
figures however it is cut. `s` is that record, `r` the rules; nothing here allocates memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from backtests.engine.ledger import LIQUIDATION, OPEN, SIGNAL, STOP, TAKE_PROFIT

MAINTENANCE_MARGIN = 0.005
LIQUIDATION_FEE = 0.005
MAX_LEVERAGE = 1.0

NO_ORDER, EXIT_ORDER, TARGET_ORDER = 0, 1, 2

STATE = np.dtype(
    [
        (name, np.float64)
        for name in [
            "cash",
            "quantity",
            "entry_price",
            "stop",
            "goal",
            "standing",
            "order_target",
            "equity_before",
            "largest",
            "flow",
            "trade_fees",
            "trade_slippage",
            "lowest",
            "highest",
            "fees",
            "bought",
            "traded",
            "slippage",
            "shortfall",
        ]
    ]
    + [
        (name, np.int64)
        for name in [
            "order",
            "blocked_side",
            "halted",
            "entry_bar",
            "trade_ambiguous",
            "trades",
            "ambiguous_bars",
            "rejected",
            "liquidations",
            "gap_fills",
            "zero_volume_fills",
        ]
    ]
)


class Rules(NamedTuple):
    """A BacktestSpec as plain numbers; rates are fractions, an absent stop or target is 0."""

    fixed_quantity: bool
    fraction: float
    quantity: float
    lot_step: float
    min_notional: float
    stop: float
    goal: float
    maker: float
    taker: float
    slippage: float
    goal_fills_at_open: bool
    goal_first: bool


compiled = numba.njit(nogil=True, cache=True)


@compiled
def _fill(s, delta, raw, price, rate):  # type: ignore[no-untyped-def]
    notional = abs(delta) * price
    fee = notional * rate
    s.cash -= delta * price + fee
    s.quantity += delta
    s.flow -= delta * price
    s.trade_fees += fee
    s.trade_slippage += abs(price - raw) * abs(delta)
    s.fees += fee
    s.bought += delta * price
    s.traded += notional
    s.slippage += abs(price - raw) * abs(delta)


@compiled
def _leave(s, trades, bar, raw, price, rate, reason):  # type: ignore[no-untyped-def]
    side = 1 if s.quantity > 0 else -1
    _fill(s, -s.quantity, raw, price, rate)
    s.quantity = 0.0
    s.order = NO_ORDER
    trade = trades[s.trades]
    trade.side = side
    trade.entry_bar = s.entry_bar
    trade.exit_bar = bar
    trade.entry_price = s.entry_price
    trade.exit_price = price
    trade.quantity = s.largest
    trade.fees = s.trade_fees
    trade.slippage = s.trade_slippage
    trade.pnl = s.flow - s.trade_fees
    trade.equity_before = s.equity_before
    trade.lowest = s.lowest
    trade.highest = s.highest
    trade.reason = reason
    trade.ambiguous = s.trade_ambiguous
    s.trades += 1
    if reason != SIGNAL:
        s.blocked_side = side
    if reason == LIQUIDATION:
        s.liquidations += 1
        if s.cash < 0:
            s.shortfall -= s.cash
            s.cash = 0.0


@compiled
def _leave_at_market(s, r, trades, bar, raw, reason):  # type: ignore[no-untyped-def]
    price = raw * (1 - r.slippage) if s.quantity > 0 else raw * (1 + r.slippage)
    rate = r.taker + LIQUIDATION_FEE if reason == LIQUIDATION else r.taker
    _leave(s, trades, bar, raw, price, rate, reason)


@compiled
def _wanted(r, target, equity, price):  # type: ignore[no-untyped-def]
    ceiling = equity / (price * (1 + r.taker))
    if r.fixed_quantity:
        return min(r.quantity * abs(target), MAX_LEVERAGE * ceiling)
    return min(r.fraction * abs(target), MAX_LEVERAGE) * ceiling


@compiled
def _accepted(s, r, quantity, price):  # type: ignore[no-untyped-def]
    if r.lot_step > 0:
        quantity = np.floor(quantity / r.lot_step + 1e-9) * r.lot_step
    if quantity <= 0 or quantity * price < r.min_notional:
        s.rejected += 1
        return 0.0
    return quantity


@compiled
def _enter(s, r, bar, raw, target):  # type: ignore[no-untyped-def]
    side = 1.0 if target > 0 else -1.0
    price = raw * (1 + side * r.slippage)
    quantity = _accepted(s, r, _wanted(r, target, s.cash, price), price)
    if quantity == 0:
        return 0
    s.equity_before = s.cash
    s.flow = s.trade_fees = s.trade_slippage = 0.0
    s.trade_ambiguous = 0
    s.entry_bar = bar
    s.entry_price = price
    s.largest = quantity
    s.lowest = s.highest = raw
    s.stop = price * (1 - side * r.stop) if r.stop > 0 else np.nan
    s.goal = price * (1 + side * r.goal) if r.goal > 0 else np.nan
    _fill(s, side * quantity, raw, price, r.taker)
    return 1


@compiled
def _resize(s, r, trades, bar, raw, target):  # type: ignore[no-untyped-def]
    side = 1.0 if s.quantity > 0 else -1.0
    held = abs(s.quantity)
    equity = s.cash + s.quantity * raw
    growing_price = raw * (1 + side * r.slippage)
    shrinking_price = raw * (1 - side * r.slippage)
    more = _wanted(r, target, equity, growing_price) - held
    if more > 0:
        more = _accepted(s, r, more, growing_price)
        if more == 0:
            return 0
        s.entry_price = (s.entry_price * held + growing_price * more) / (held + more)
        _fill(s, side * more, raw, growing_price, r.taker)
        s.largest = max(s.largest, held + more)
        return 1
    less = _accepted(s, r, held - _wanted(r, target, equity, shrinking_price), shrinking_price)
    if less == 0:
        return 0
    if less >= held:  # the lot tolerance rounded up to the whole position
        _leave_at_market(s, r, trades, bar, raw, SIGNAL)
        return 1
    _fill(s, -side * less, raw, shrinking_price, r.taker)
    return 1


@compiled
def _liquidation_level(s):  # type: ignore[no-untyped-def]
    """The price at which the margin is used up; NaN for a long that borrows nothing."""
    if s.quantity > 0:
        return -s.cash / (s.quantity * (1 - MAINTENANCE_MARGIN)) if s.cash < 0 else np.nan
    return s.cash / (-s.quantity * (1 + MAINTENANCE_MARGIN))


@compiled
def _losing_level(s):  # type: ignore[no-untyped-def]
    """The nearer of stop and liquidation, the stop on a tie, with its reason; NaN where there is none."""
    level = _liquidation_level(s)
    if np.isnan(level) or (s.stop - level) * s.quantity >= 0:
        return s.stop, STOP
    return level, LIQUIDATION


@compiled
def _at_open(s, r, trades, bar, raw):  # type: ignore[no-untyped-def]
    """Steps 2 to 4 of a bar: liquidation at the open, then the pending order. Returns the fills made."""
    if s.quantity != 0:
        side = 1 if s.quantity > 0 else -1
        s.lowest, s.highest = min(s.lowest, raw), max(s.highest, raw)
        if (raw - _liquidation_level(s)) * side <= 0:
            _leave_at_market(s, r, trades, bar, raw, LIQUIDATION)
            return 1
        if s.order == TARGET_ORDER and s.order_target * side > 0:
            s.order = NO_ORDER
            if (raw - s.stop) * side <= 0:
                return 0
            return _resize(s, r, trades, bar, raw, s.order_target)
    order, target, fills = s.order, s.order_target, 0
    s.order = NO_ORDER
    if order == NO_ORDER:
        return 0
    if s.quantity != 0:
        _leave_at_market(s, r, trades, bar, raw, SIGNAL)
        fills = 1
    if order == TARGET_ORDER:
        fills += _enter(s, r, bar, raw, target)
    return fills


@compiled
def _inside(s, r, trades, bar, open_, high, low):  # type: ignore[no-untyped-def]
    """Steps 5 and 6: the protective exits of an open position. Returns 2 at the open, 1 inside, 0 for none."""
    side = 1 if s.quantity > 0 else -1
    level, reason = _losing_level(s)
    worst, best = (low, high) if side > 0 else (high, low)
    if (open_ - level) * side <= 0:
        _leave_at_market(s, r, trades, bar, open_, reason)
        return 2
    if (open_ - s.goal) * side >= 0:
        price = open_ if r.goal_fills_at_open else s.goal
        _leave(s, trades, bar, price, price, r.maker, TAKE_PROFIT)
        return 2
    s.lowest, s.highest = min(s.lowest, low), max(s.highest, high)
    loses, wins = (worst - level) * side <= 0, (best - s.goal) * side >= 0
    if loses and wins:
        s.ambiguous_bars += 1
        s.trade_ambiguous = 1
    if wins and (r.goal_first or not loses):
        _leave(s, trades, bar, s.goal, s.goal, r.maker, TAKE_PROFIT)
        return 1
    if loses:
        _leave_at_market(s, r, trades, bar, level, reason)
        return 1
    return 0


@compiled
def _decide(s, opinion):  # type: ignore[no-untyped-def]
    """Step 10: the target known at this close becomes the order of the next open."""
    target = s.standing if np.isnan(opinion) else opinion
    side = np.sign(target)
    if not np.isnan(opinion) and side != s.blocked_side:
        s.blocked_side = 0
    may_enter = side != 0 and s.halted == 0 and side != s.blocked_side
    held = np.sign(s.quantity)
    s.order_target = target
    if held != 0 and side == held:
        if target != s.standing:
            s.order = TARGET_ORDER
    elif may_enter:
        s.order = TARGET_ORDER
    elif held != 0:
        s.order = EXIT_ORDER
    s.standing = target


@compiled
def advance(first, last, candles, is_after_gap, targets, r, states, marks, trades):  # type: ignore[no-untyped-def]
    """Run bars first..last−1 and return the next bar to run.

    `candles` and `marks` are tuples of float64 arrays (open, high, low, close, volume) and (equity,
    position, standing). It stops early when `trades` has no room for the exits of one more bar.
    Orders are made at every close; the caller drops that of the last bar.
    """
    open_, high, low, close, volume = candles
    equity, position, standing = marks
    s = states[0]
    for bar in range(first, last):
        if s.trades + 2 > len(trades):
            return bar
        at_open = _at_open(s, r, trades, bar, open_[bar])
        fills = at_open
        if s.quantity != 0:
            exits = _inside(s, r, trades, bar, open_[bar], high[bar], low[bar])
            fills += 1 if exits else 0
            at_open += 1 if exits == 2 else 0
        if is_after_gap[bar]:
            s.gap_fills += at_open
        if volume[bar] == 0:
            s.zero_volume_fills += fills
        equity[bar] = s.cash + s.quantity * close[bar]
        position[bar] = s.quantity
        if equity[bar] <= 0:
            s.halted = 1
        _decide(s, targets[bar])
        standing[bar] = s.standing
    return last


@compiled
def mark_open_trade(s, trades, close):  # type: ignore[no-untyped-def]
    """Write the trade still open as a marked row at the last close; nothing is sold."""
    trade = trades[s.trades]
    trade.side = 1 if s.quantity > 0 else -1
    trade.entry_bar = s.entry_bar
    trade.exit_bar = -1
    trade.entry_price = s.entry_price
    trade.exit_price = close
    trade.quantity = s.largest
    trade.fees = s.trade_fees
    trade.slippage = s.trade_slippage
    trade.pnl = s.flow - s.trade_fees + s.quantity * close
    trade.equity_before = s.equity_before
    trade.lowest = s.lowest
    trade.highest = s.highest
    trade.reason = OPEN
    trade.ambiguous = s.trade_ambiguous
    s.trades += 1
