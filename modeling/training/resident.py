"""Windows as views on arrays that stay on the training device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeling.network.size import coarse_bars, token_count
from modeling.network.windows import WindowBatch

NS_PER_MINUTE = 60 * 10**9
MINUTES_PER_DAY = 1440
MINUTES_PER_SLOT = 5
NS_PER_DAY = MINUTES_PER_DAY * NS_PER_MINUTE
NS_PER_WEEK = 7 * NS_PER_DAY
FIRST_MONDAY_NS = 4 * NS_PER_DAY
SMALLEST_RETURN = 1e-6


@dataclass(frozen=True)
class ScaledBars:
    """What windows are cut from: N base bars, instruments one after the other.

    `scaled` {k: float32 [N_k,F]} row-major, 1 among the k; `last_closed` {k: int32 [N]} for k > 1,
    the row of the latest coarse bar closed by the close of a base bar (−1: none);
    `close_time_ns` int64 [N] UTC; `bar_ns` the length of a base bar; `log_volatility_z`
    float32 [N] of `window_log_volatility`, standardised. `starts` {k: int64 [I]} are the rows of each
    scale at which an instrument begins; without it there is one instrument.
    """

    scaled: Mapping[int, NDArray[np.float32]]
    last_closed: Mapping[int, NDArray[np.int32]]
    close_time_ns: NDArray[np.int64]
    bar_ns: int
    log_volatility_z: NDArray[np.float32]
    starts: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)


class ResidentWindows:
    """Cuts batches of windows; the arrays are held once and a window is an index into a view."""

    def __init__(
        self,
        bars: ScaledBars,
        *,
        context_bars: int,
        patch_bars: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.source = bars
        self.context_bars = context_bars
        self.patch_bars = patch_bars
        self.device = torch.device(device)
        self.scales = tuple(sorted(bars.scaled))
        self.features = bars.scaled[1].shape[1]
        self.bars = len(bars.close_time_ns)
        self._rows = {
            k: torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).to(self.device)
            for k, rows in bars.scaled.items()
        }
        self._last_closed = {
            k: torch.from_numpy(bars.last_closed[k]).to(self.device) for k in self.scales if k > 1
        }
        self._starts = {k: bars.starts.get(k, np.zeros(1, np.int64)) for k in self.scales}
        self._minutes_per_bar = bars.bar_ns // NS_PER_MINUTE
        # everything a close says, in one small number: the bar of the week, Monday's first being 0
        into_week = (bars.close_time_ns - FIRST_MONDAY_NS) % NS_PER_WEEK
        bar_of_week = (into_week // bars.bar_ns).astype(np.int16)
        self._bar_of_week = torch.from_numpy(bar_of_week).to(self.device)
        self._log_volatility_z = torch.from_numpy(bars.log_volatility_z).to(self.device)
        tokens = token_count(context_bars, patch_bars)
        self._token_ends = torch.arange(1 - tokens, 1, device=self.device) * patch_bars

    @property
    def resident_bytes(self) -> int:
        """Bytes held for all windows together."""
        tensors = [*self._rows.values(), *self._last_closed.values()]
        tensors += [self._bar_of_week, self._log_volatility_z]
        return sum(tensor.nbytes for tensor in tensors)

    def require(self, bars: NDArray[np.int64]) -> None:
        """Raise ValueError unless every bar ends a window that lies within the arrays of one instrument."""
        if not len(bars):
            raise ValueError("found no samples; expected at least one")
        instrument = np.searchsorted(self._starts[1], bars, side="right") - 1
        behind = bars - self._starts[1][instrument]
        if behind.min() < self.context_bars - 1 or bars.max() >= self.bars:
            raise ValueError(
                f"a window of {self.context_bars} bars leaves the {self.bars} bars held, or those of "
                "its instrument"
            )
        at = torch.from_numpy(bars).to(self.device)
        for k, last in self._last_closed.items():
            first = last[at].cpu().numpy() - (coarse_bars(self.context_bars, k) - 1)
            if (first < self._starts[k][instrument]).any():
                raise ValueError(f"a window begins before the first bar of scale {k}")

    def last_rows(self, bars: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scaled features [n,F] of base bars, base scale."""
        at = torch.from_numpy(bars).to(self.device)
        return np.asarray(self._rows[1][at].cpu().numpy())

    def batch(self, bars: Tensor) -> WindowBatch:
        """The windows that end at base bars [B], int64 on the device of the arrays."""
        coarse = {
            k: self._cut(k, last[bars].long(), coarse_bars(self.context_bars, k))
            for k, last in self._last_closed.items()
        }
        ends = self._bar_of_week[bars[:, None] + self._token_ends].long()  # [B,K]
        minute = ends * self._minutes_per_bar
        return WindowBatch(
            base=self._cut(1, bars, self.context_bars),
            coarse=coarse,
            # coarse bars divide the UTC day, so their phase can be counted from Monday
            phase={k: ends[:, -1] % k for k in coarse},
            slot=minute % MINUTES_PER_DAY // MINUTES_PER_SLOT,
            weekday=minute // MINUTES_PER_DAY,
            log_volatility_z=self._log_volatility_z[bars],
        )

    def _cut(self, scale: int, last: Tensor, length: int) -> Tensor:
        """Rows [B,length,F] that end at row `last` [B] of a scale."""
        rows = self._rows[scale]
        width = rows.shape[1]
        view = rows.as_strided((rows.shape[0] - length + 1, length * width), (width, 1))
        return view[last - (length - 1)].view(-1, length, width)


def window_log_volatility(returns: NDArray[np.float64], context_bars: int) -> NDArray[np.float64]:
    """ln √(mean r² over the last `context_bars` bars) of log returns [N]; floor 1e-6 inside the ln.

    NaN before a whole window of returns exists; a NaN return counts as 0. Uses no later bar.
    """
    squares = np.nan_to_num(returns, nan=0.0) ** 2
    running = np.concatenate(([0.0], np.cumsum(squares)))
    volatility = np.full(len(returns), np.nan)
    if len(returns) >= context_bars:
        mean = (running[context_bars:] - running[:-context_bars]) / context_bars
        volatility[context_bars - 1 :] = np.log(np.sqrt(np.maximum(mean, SMALLEST_RETURN**2)))
    return volatility


@dataclass(frozen=True)
class Standard:
    """Mean and spread of a column at the fit bars; the spread is above 0."""

    mean: float
    spread: float

    @classmethod
    def fitted(cls, values: NDArray[np.float64], fit_bars: NDArray[np.int64]) -> Self:
        """Mean and standard deviation (ddof 0, at least 1e-6) of values [N] at the bars, NaN left out."""
        at_fit = values[fit_bars]
        return cls(float(np.nanmean(at_fit)), max(float(np.nanstd(at_fit)), 1e-6))

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """z-scores of values [N]; NaN becomes 0."""
        return np.nan_to_num((values - self.mean) / self.spread, nan=0.0).astype(np.float32)

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data; `Standard(**data)` is equal, bit for bit."""
        return asdict(self)


@dataclass(frozen=True)
class Standards:
    """The standard of all instruments together and, of several, that of each."""

    pooled: Standard
    own: Mapping[str, Standard] = field(default_factory=dict)

    def of(self, instrument: str) -> Standard:
        """Its own; the pooled one for an instrument that was not in training."""
        return self.own.get(instrument, self.pooled)

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data, as the state of a finished fold carries it."""
        data: dict[str, Any] = {"window_volatility": self.pooled.to_json()}
        if self.own:
            data["window_volatilities"] = {name: own.to_json() for name, own in self.own.items()}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:  # Any: JSON has no narrower type
        """What `to_json` wrote, equal bit for bit; other keys are not looked at."""
        own = data.get("window_volatilities", {})
        return cls(
            Standard(**data["window_volatility"]),
            {name: Standard(**found) for name, found in own.items()},
        )


def standardised(values: NDArray[np.float64], fit_bars: NDArray[np.int64]) -> NDArray[np.float32]:
    """z-score of values [N] by mean and standard deviation (ddof 0) at the fit bars; NaN becomes 0.

    A spread below 1e-6 is taken as 1e-6.
    """
    return Standard.fitted(values, fit_bars).apply(values)
