"""What a simulation leaves behind: the account at each close, and the trades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REASONS = ("open", "signal", "stop", "take_profit", "liquidation")
OPEN, SIGNAL, STOP, TAKE_PROFIT, LIQUIDATION = range(len(REASONS))

# One trade as the compiled loop writes it, from flat to flat.
TRADE = np.dtype(
    [
        ("side", np.int64),
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("quantity", np.float64),
        ("fees", np.float64),
        ("slippage", np.float64),
        ("pnl", np.float64),
        ("equity_before", np.float64),
        ("lowest", np.float64),
        ("highest", np.float64),
        ("reason", np.int64),
        ("ambiguous", np.int64),
    ]
)


class LedgerBroken(ArithmeticError):
    """The books of a simulation do not balance; always a fault of the engine, never of the input."""


@dataclass(frozen=True)
class Trades:
    """Trades as equally long arrays, in order of entry; only the last one can still be open.

    `entry_bar` and `exit_bar` count from the first simulated bar; `exit_bar` is −1 and `exit_price`
    the last close while a trade is open. `entry_price` is the average of all additions, `quantity`
    the largest held (base units). `pnl` is net of fees and slippage; `fees` and `slippage` are money.
    `return_` is pnl over equity before the entry. `adverse` (≤ 0) and `favourable` (≥ 0) are the worst
    and best price while held, as fractions of the entry price: lows and highs of the bars held,
    a bar left inside included, a bar left at its open only with that open.
    """

    side: NDArray[np.int64]
    entry_bar: NDArray[np.int64]
    exit_bar: NDArray[np.int64]
    entry_time: NDArray[np.int64]
    exit_time: NDArray[np.int64]
    entry_price: NDArray[np.float64]
    exit_price: NDArray[np.float64]
    quantity: NDArray[np.float64]
    fees: NDArray[np.float64]
    slippage: NDArray[np.float64]
    pnl: NDArray[np.float64]
    return_: NDArray[np.float64]
    bars_held: NDArray[np.int64]
    reason: NDArray[np.int64]
    ambiguous: NDArray[np.bool_]
    adverse: NDArray[np.float64]
    favourable: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.side)

    @property
    def is_open(self) -> NDArray[np.bool_]:
        """True where a trade is marked, not closed."""
        return self.reason == OPEN

    @property
    def reason_names(self) -> list[str]:
        """The exit reason of each trade in words; `open` for a marked one."""
        return [REASONS[code] for code in self.reason]


@dataclass(frozen=True)
class Simulation:
    """The account of one run.

    `time` (int64 ns UTC, bar open), `equity` (mark at the close), `position` (signed quantity at the
    close) and `standing` (target that stands after the close) have one entry per simulated bar;
    `first_bar` is the index of the first of them in the candles given. Money is in quote units.
    `halted` is empty, or `ruin` when equity reached 0.
    """

    first_bar: int
    bar_ns: int
    capital: float
    time: NDArray[np.int64]
    equity: NDArray[np.float64]
    position: NDArray[np.float64]
    standing: NDArray[np.float64]
    trades: Trades
    cash: float
    fees: float
    slippage_cost: float
    traded_notional: float
    shortfall: float
    halted: str
    ambiguous_bars: int
    rejected_min_notional: int
    liquidations: int
    gap_fills: int
    zero_volume_fills: int

    @property
    def elapsed_s(self) -> float:
        """Seconds from the open of the first simulated bar to the close of the last; 0 without bars."""
        if not len(self.time):
            return 0.0
        return float(self.time[-1] + self.bar_ns - self.time[0]) / 1e9


def trades_from_rows(rows: NDArray[np.void], time: NDArray[np.int64], bars: int) -> Trades:
    """Turn the rows of the compiled loop (dtype TRADE) into Trades.

    `time` are the opens of the simulated bars (int64 ns UTC) and `bars` their number; an open trade is
    held to the last of them and its exit time is that of the last bar.
    """
    is_open = rows["reason"] == OPEN
    last = np.where(is_open, bars - 1, rows["exit_bar"])
    entry_price, side = rows["entry_price"], rows["side"]
    fall = np.minimum(rows["lowest"] / entry_price - 1, 0.0)
    rise = np.maximum(rows["highest"] / entry_price - 1, 0.0)
    return Trades(
        side=side.copy(),
        entry_bar=rows["entry_bar"].copy(),
        exit_bar=np.where(is_open, -1, rows["exit_bar"]),
        entry_time=time[rows["entry_bar"]],
        exit_time=time[last],
        entry_price=entry_price.copy(),
        exit_price=rows["exit_price"].copy(),
        quantity=rows["quantity"].copy(),
        fees=rows["fees"].copy(),
        slippage=rows["slippage"].copy(),
        pnl=rows["pnl"].copy(),
        return_=rows["pnl"] / rows["equity_before"],
        bars_held=last - rows["entry_bar"],
        reason=rows["reason"].copy(),
        ambiguous=rows["ambiguous"] > 0,
        adverse=np.where(side > 0, fall, -rise),
        favourable=np.where(side > 0, rise, -fall),
    )
