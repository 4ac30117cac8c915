"""The plain bar loop that judges the compiled one: dictionaries, one bar after the other, no speed."""

import itertools
import math
from typing import Any

PPM = 1e-9


class Account:
    def __init__(self, spec):
        self.spec = spec
        self.bar: dict[str, Any] = {}
        self.equity: list[float] = []
        self.positions: list[float] = []
        self.standings: list[float] = []
        self.cash = spec.capital
        self.quantity = 0.0
        self.trade: dict[str, Any] = {}
        self.trades: list[dict[str, Any]] = []
        self.pending: dict[str, Any] | None = None
        self.standing = 0.0
        self.shut_side = 0
        self.ruined = False
        self.fees = self.slippage = self.traded = self.shortfall = 0.0
        self.counts = dict.fromkeys(
            ("ambiguous", "rejected", "liquidations", "gap_fills", "zero_volume_fills"), 0
        )
        self.taker = spec.costs.taker_bps / 10_000
        self.maker = spec.costs.maker_bps / 10_000
        self.slip = spec.costs.slippage_bps / 10_000

    def trade_at(self, change, raw, *, market, extra_fee=0.0):
        """Execute a change of quantity at a raw price and book it."""
        if not market:
            price, rate = raw, self.maker
        elif change > 0:
            price, rate = raw * (1 + self.slip), self.taker + extra_fee
        else:
            price, rate = raw * (1 - self.slip), self.taker + extra_fee
        fee = rate * abs(change) * price
        self.cash = self.cash - change * price - fee
        self.quantity += change
        self.fees += fee
        self.traded += abs(change) * price
        self.slippage += abs(price - raw) * abs(change)
        self.trade["fees"] += fee
        self.trade["slippage"] += abs(price - raw) * abs(change)
        if self.bar["volume"] == 0:
            self.counts["zero_volume_fills"] += 1
        if self.bar["after_gap"] and self.at_open:
            self.counts["gap_fills"] += 1
        return price

    def close_trade(self, raw, reason, *, market=True):
        extra = 0.005 if reason == "liquidation" else 0.0
        before = self.quantity
        price = self.trade_at(-self.quantity, raw, market=market, extra_fee=extra)
        self.quantity = 0.0
        self.trade.update(
            reason=reason,
            exit_bar=self.bar["index"],
            exit_price=price,
            pnl=self.cash - self.trade["equity_before"],
        )
        self.trades.append(self.trade)
        self.trade = {}
        if reason != "signal":
            self.shut_side = int(math.copysign(1, before))
        if reason == "liquidation":
            self.counts["liquidations"] += 1
            if self.cash < 0:
                self.shortfall += -self.cash
                self.cash = 0.0

    def wanted_quantity(self, target, equity, price):
        per_weight = equity / (price * (1 + self.taker))
        sizing = self.spec.sizing
        if sizing.mode == "fixed_fraction":
            return min(sizing.fraction * abs(target), 1.0) * per_weight
        return min(sizing.quantity * abs(target), per_weight)

    def allowed(self, quantity, price):
        step = self.spec.sizing.lot_step
        if step:
            quantity = math.floor(quantity / step + PPM) * step
        if quantity <= 0 or quantity * price < self.spec.sizing.min_notional:
            self.counts["rejected"] += 1
            return None
        return quantity

    def open_trade(self, target, raw):
        side = 1 if target > 0 else -1
        price = raw * (1 + side * self.slip)
        quantity = self.allowed(self.wanted_quantity(target, self.cash, price), price)
        if quantity is None:
            return
        risk = self.spec.risk
        self.trade = {
            "side": side,
            "entry_bar": self.bar["index"],
            "entry_price": price,
            "quantity": quantity,
            "equity_before": self.cash,
            "fees": 0.0,
            "slippage": 0.0,
            "ambiguous": False,
            "stop": price * (1 - side * risk.stop_pct) if risk.stop_pct else None,
            "target": price * (1 + side * risk.take_profit_pct) if risk.take_profit_pct else None,
        }
        self.trade_at(side * quantity, raw, market=True)

    def resize_trade(self, target, raw):
        side, held = self.trade["side"], abs(self.quantity)
        equity = self.cash + self.quantity * raw
        price = raw * (1 + side * self.slip)
        growth = self.wanted_quantity(target, equity, price) - held
        if growth > 0:
            growth = self.allowed(growth, price)
            if growth is not None:
                value = self.trade["entry_price"] * held + price * growth
                self.trade["entry_price"] = value / (held + growth)
                self.trade_at(side * growth, raw, market=True)
                self.trade["quantity"] = max(self.trade["quantity"], abs(self.quantity))
            return
        price = raw * (1 - side * self.slip)
        cut = self.allowed(held - self.wanted_quantity(target, equity, price), price)
        if cut is None:
            return
        if cut >= held:
            self.close_trade(raw, "signal")
        else:
            self.trade_at(-side * cut, raw, market=True)

    def liquidation_level(self):
        if self.quantity > 0:
            return -self.cash / (self.quantity * 0.995) if self.cash < 0 else None
        return self.cash / (abs(self.quantity) * 1.005)

    def reached(self, price, level):
        """True when the price is at or beyond a losing level."""
        if level is None:
            return False
        return price <= level if self.quantity > 0 else price >= level

    def gained(self, price, level):
        if level is None:
            return False
        return price >= level if self.quantity > 0 else price <= level

    def open_of_bar(self):
        raw, pending = self.bar["open"], self.pending
        self.pending = None
        if self.trade and self.reached(raw, self.liquidation_level()):
            return self.close_trade(raw, "liquidation")
        if pending is None:
            return None
        if pending["kind"] == "resize":
            if not self.reached(raw, self.trade["stop"]):
                self.resize_trade(pending["target"], raw)
            return None
        if self.trade:
            self.close_trade(raw, "signal")
        if pending["kind"] == "enter":
            self.open_trade(pending["target"], raw)
        return None

    def inside_bar(self):
        if not self.trade:
            return
        fills, bar, goal = self.spec.fills, self.bar, self.trade["target"]
        levels = [("stop", self.trade["stop"]), ("liquidation", self.liquidation_level())]
        levels = [item for item in levels if item[1] is not None]
        pick = max if self.quantity > 0 else min
        reason, level = pick(levels, key=lambda item: item[1]) if levels else ("", None)
        bad, good = ("low", "high") if self.quantity > 0 else ("high", "low")
        if self.reached(bar["open"], level):
            return self.close_trade(bar["open"], reason)
        if self.gained(bar["open"], goal):
            price = bar["open"] if fills.take_profit_gap == "open" else goal
            return self.close_trade(price, "take_profit", market=False)
        self.at_open = False
        loses, wins = self.reached(bar[bad], level), self.gained(bar[good], goal)
        if loses and wins:
            self.counts["ambiguous"] += 1
            self.trade["ambiguous"] = True
            if fills.both_touched == "target_first":
                loses = False
            else:
                wins = False
        if loses:
            self.close_trade(level, reason)
        elif wins:
            self.close_trade(goal, "take_profit", market=False)
        return None

    def decide(self, opinion):
        has_opinion = not math.isnan(opinion)
        target = opinion if has_opinion else self.standing
        side = (target > 0) - (target < 0)
        if has_opinion and side != self.shut_side:
            self.shut_side = 0
        may_enter = not self.ruined and (side != self.shut_side or self.shut_side == 0)
        if self.trade:
            if side == self.trade["side"]:
                if target != self.standing:
                    self.pending = {"kind": "resize", "target": target}
            elif side == 0 or not may_enter:
                self.pending = {"kind": "exit"}
            else:
                self.pending = {"kind": "enter", "target": target}
        elif side != 0 and may_enter:
            self.pending = {"kind": "enter", "target": target}
        self.standing = target


def replay(candles, targets, spec):
    """The account of a run as plain lists and numbers."""
    time = [int(value) for value in candles["time"]]
    bar_ns = min(b - a for a, b in itertools.pairwise(time)) if len(time) > 1 else 0
    account = Account(spec)
    for index in range(len(time)):
        account.bar = {
            name: float(candles[name][index]) for name in ("open", "high", "low", "close", "volume")
        }
        account.bar["index"] = index
        account.bar["after_gap"] = index > 0 and time[index] - time[index - 1] != bar_ns
        account.at_open = True
        account.open_of_bar()
        account.inside_bar()
        account.equity.append(account.cash + account.quantity * account.bar["close"])
        account.positions.append(account.quantity)
        if account.equity[-1] <= 0:
            account.ruined = True
        account.decide(float(targets[index]))
        account.standings.append(account.standing)
    if account.trade:
        account.trade.update(
            reason="open", exit_bar=-1, pnl=account.equity[-1] - account.trade["equity_before"]
        )
        account.trade["exit_price"] = account.bar["close"]
        account.trades.append(account.trade)
    return account
