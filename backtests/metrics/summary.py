"""All measures of one run, each a finite number or null with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backtests.engine.ledger import Simulation
from backtests.metrics import measures, series

Number = float | int | None
Measured = tuple[float | int, str]

SHORTEST_TRACK_DAYS = 30
FEWEST_TRADES_FOR_WIN_RATE = 30


@dataclass(frozen=True)
class Summary:
    """Measures by key. Where `numbers[key]` is None, `reasons[key]` says why in one word."""

    numbers: dict[str, Number]
    reasons: dict[str, str]


def summarize(simulation: Simulation, benchmark: Simulation | None = None) -> Summary:
    """Every measure of a run against its benchmark (buy and hold on the same bars).

    Daily measures use UTC days and 365 days a year. Those that say little on a short track are null
    below 30 daily returns (`track_too_short`), the win rate below 30 closed trades. Nothing that is
    not finite leaves here.

    Raises ValueError when the benchmark covers other bars.
    """
    if benchmark is not None and not np.array_equal(benchmark.time, simulation.time):
        raise ValueError("expected a benchmark on the same bars as the run")
    account = _Account(simulation)
    measured: dict[str, Measured] = {
        **_size(simulation, account),
        **_growth(simulation, account),
        **_risk(simulation, account),
        **_against(account, _Account(benchmark) if benchmark else None),
        **_activity(simulation),
        **_trades(simulation),
        **_costs(simulation),
    }
    numbers: dict[str, Number] = {}
    reasons: dict[str, str] = {}
    for key, (value, reason) in measured.items():
        numbers[key] = value if math.isfinite(value) else None
        if numbers[key] is None:
            reasons[key] = reason or "not_finite"
    return Summary(numbers, reasons)


class _Account:
    """The series of a run that several measures share, each made once."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    @cached_property
    def values(self) -> NDArray[np.float64]:
        return series.values_with_capital(self.simulation)

    @cached_property
    def daily_returns(self) -> NDArray[np.float64]:
        return measures.returns_of(series.daily_values(self.simulation))

    @property
    def is_short(self) -> bool:
        return len(self.daily_returns) < SHORTEST_TRACK_DAYS

    def on_track(self, value: float, reason: str = "zero_variance") -> Measured:
        """A measure of daily returns, null on a short track."""
        return (math.nan, "track_too_short") if self.is_short else (value, reason)


def _size(simulation: Simulation, account: _Account) -> dict[str, Measured]:
    return {
        "bars": (len(simulation.equity), ""),
        "days": (len(account.daily_returns), ""),
        "capital": (simulation.capital, ""),
        "final_equity": (float(simulation.equity[-1]), ""),
    }


def _growth(simulation: Simulation, account: _Account) -> dict[str, Measured]:
    elapsed, daily = simulation.elapsed_s, account.daily_returns
    is_long = elapsed >= SHORTEST_TRACK_DAYS * 86_400
    cagr = measures.cagr(account.values, elapsed) if is_long else math.nan
    depth = measures.max_drawdown(account.values)
    calmar = cagr / abs(depth) if depth else math.nan
    periods = measures.YEAR_S / (simulation.bar_ns / 1e9)
    sharpe_bar = measures.sharpe(measures.returns_of(account.values), periods)
    no_loss = "no_losing_day" if not np.any(daily < 0) else ""
    return {
        "total_return": (measures.total_return(account.values), ""),
        "cagr": (cagr, "" if is_long else "track_too_short"),
        "volatility": (measures.volatility(daily), "track_too_short"),
        "sharpe": account.on_track(measures.sharpe(daily)),
        "sharpe_bar": (sharpe_bar, "zero_variance" if len(account.values) > 2 else "too_few_bars"),
        "sortino": account.on_track(measures.sortino(daily), no_loss),
        "calmar": (calmar, "no_drawdown" if is_long else "track_too_short"),
    }


def _risk(simulation: Simulation, account: _Account) -> dict[str, Measured]:
    daily, instants = account.daily_returns, series.instants_with_start(simulation)
    return {
        "max_drawdown": (measures.max_drawdown(account.values), ""),
        "drawdown_days": (measures.longest_drawdown_s(account.values, instants) / 86_400, ""),
        "ulcer": (measures.ulcer(account.values), ""),
        "var_95": account.on_track(measures.value_at_risk(daily)),
        "cvar_95": account.on_track(measures.conditional_value_at_risk(daily)),
        "skew": (measures.skew(daily), "zero_variance"),
        "kurtosis": (measures.kurtosis(daily), "zero_variance"),
    }


def _against(account: _Account, benchmark: _Account | None) -> dict[str, Measured]:
    keys = ("beta", "alpha", "correlation", "benchmark_return", "excess_return")
    if benchmark is None:
        return dict.fromkeys(keys, (math.nan, "no_benchmark"))
    ours, theirs = account.daily_returns, benchmark.daily_returns
    benchmark_return = measures.total_return(benchmark.values)
    return {
        "beta": account.on_track(measures.beta(ours, theirs)),
        "alpha": account.on_track(measures.alpha(ours, theirs)),
        "correlation": account.on_track(measures.correlation(ours, theirs)),
        "benchmark_return": (benchmark_return, ""),
        "excess_return": (measures.total_return(account.values) - benchmark_return, ""),
    }


def _activity(simulation: Simulation) -> dict[str, Measured]:
    mean_equity = float(np.mean(simulation.equity))
    years = simulation.elapsed_s / measures.YEAR_S
    standing = np.concatenate([[0.0], simulation.standing, [0.0]])
    turnover = simulation.traded_notional / mean_equity / years if mean_equity > 0 else math.nan
    return {
        "exposure": (float(np.mean(simulation.position != 0)), ""),
        "long_share": (float(np.mean(simulation.position > 0)), ""),
        "short_share": (float(np.mean(simulation.position < 0)), ""),
        "turnover": (turnover, "no_equity"),
        "position_changes": (float(np.sum(np.abs(np.diff(standing)))), ""),
    }


def _trades(simulation: Simulation) -> dict[str, Measured]:
    closed = ~simulation.trades.is_open
    pnl = simulation.trades.pnl[closed]
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    notional = (simulation.trades.quantity * simulation.trades.entry_price)[closed]
    has_both = len(wins) > 0 and len(losses) > 0
    mean_win = float(np.mean(wins)) if has_both else math.nan
    mean_loss = abs(float(np.mean(losses))) if has_both else math.nan
    gains, lost = float(np.sum(wins)), abs(float(np.sum(losses)))
    is_rated = len(pnl) >= FEWEST_TRADES_FOR_WIN_RATE
    none, one_sided = ("" if len(pnl) else "no_trades"), ("one_sided" if len(pnl) else "no_trades")
    few = "too_few_trades" if len(pnl) else "no_trades"
    return {
        "trades": (len(pnl), ""),
        "open_trades": (len(simulation.trades) - len(pnl), ""),
        "win_rate": (len(wins) / len(pnl) if is_rated else math.nan, few),
        "break_even_win_rate": (mean_loss / (mean_win + mean_loss), one_sided),
        "profit_factor": (gains / lost if lost else math.nan, none or "no_losing_trade"),
        "payoff": (mean_win / mean_loss, one_sided),
        "expectancy": (float(np.mean(pnl)) if len(pnl) else math.nan, none),
        "expectancy_bps": (
            float(np.mean(pnl / notional) * 1e4) if len(pnl) else math.nan,
            none,
        ),
        "ambiguous_trades": (int(np.sum(simulation.trades.ambiguous)), ""),
    }


def _costs(simulation: Simulation) -> dict[str, Measured]:
    trades = simulation.trades
    before_costs = trades.pnl + trades.fees + trades.slippage
    gross = float(np.sum(before_costs[before_costs > 0]))
    counters = (
        "ambiguous_bars",
        "rejected_min_notional",
        "liquidations",
        "shortfall",
        "gap_fills",
        "zero_volume_fills",
    )
    return {
        "fees": (simulation.fees, ""),
        "slippage_cost": (simulation.slippage_cost, ""),
        "funding": (math.nan, "not_modelled"),
        "fees_share": (simulation.fees / gross if gross > 0 else math.nan, "no_gross_profit"),
        "slippage_share": (
            simulation.slippage_cost / gross if gross > 0 else math.nan,
            "no_gross_profit",
        ),
        **{name: (getattr(simulation, name), "") for name in counters},
    }
