"""What the five heads learn: everything looks forward, thresholds come from the fit slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.rolling import (
    Series,
    rolling_highest,
    rolling_lowest,
    rolling_scale,
    rolling_sum,
)
from modeling.specs import TargetSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import SCALE_BARS, labelled_bars

BPS = 1e-4
ACTION_LIMIT = 3.0
VOLATILITY_FLOOR = 1e-5
RANGING, BULL, BEAR, VOLATILE = range(4)
LOW, MEDIUM, HIGH = range(3)
NO_CLASS = -1
_COLUMNS = (
    "action",
    "realised_return",
    "log_volatility",
    "regime_volatility",
    "regime_return",
    "risk_range",
    "valid",
)


@dataclass(frozen=True)
class RawTargets:
    """Label values before any threshold, one per base bar, NaN where `valid` is False.

    The entry is the open of bar t+1; s is s_288 at t, N the horizon and M the regime length.
    `realised_return` R_N = ln(C_{t+N}/O_{t+1}); `action` clip(R_N/(s·√N), ±3) or the barrier
    touched; `log_volatility` ln max(√mean r², 1e-5) over t+1..t+N; `regime_volatility`
    √mean r² over t+1..t+M, in s; `regime_return` R_M/(s·√M); `risk_range` the farther of fall and
    rise from the entry over t+1..t+M, in s·√M. `ambiguous_barriers` counts bars that touch both.
    """

    action: Series
    realised_return: Series
    log_volatility: Series
    regime_volatility: Series
    regime_return: Series
    risk_range: Series
    valid: NDArray[np.bool_]
    ambiguous_barriers: int

    def at(self, span: slice) -> RawTargets:
        """The values of some bars as views; the count of ambiguous barriers stays that of all."""
        columns = {name: getattr(self, name)[span] for name in _COLUMNS}
        return dataclasses.replace(self, **columns)


@dataclass(frozen=True)
class TargetScale:
    """Thresholds, means and priors of the labels in a fit slice."""

    bear_below: float
    bull_above: float
    volatile_above: float
    medium_above: float
    high_above: float
    volatility_mean: float
    volatility_std: float
    action_mean: float
    regime_prior: tuple[float, ...]
    risk_prior: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data; `from_json` gives an equal scale."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """The scale that `to_json` wrote."""
        priors = {name: tuple(data[name]) for name in ("regime_prior", "risk_prior")}
        return cls(**{**data, **priors})


@dataclass(frozen=True)
class Labels:
    """Labels of one fold, one per base bar; classes −1 and numbers NaN where `valid` is False.

    Regime 0 ranging, 1 bull, 2 bear, 3 volatile; risk 0 low, 1 medium, 2 high. `log_volatility_z`
    is standardised with the fit slice, `log_volatility` is not.
    """

    action: NDArray[np.float32]
    regime: NDArray[np.int8]
    log_volatility: Series
    log_volatility_z: NDArray[np.float32]
    risk: NDArray[np.int8]
    realised_return: Series
    valid: NDArray[np.bool_]


def raw_targets(
    candles: Candles,
    spliced: Candles,
    *,
    horizon_bars: int,
    regime_bars: int,
    target: TargetSpec,
) -> RawTargets:
    """Label values of every base bar from the spliced prices of these candles.

    A bar is valid when bars t+1 .. t+max(horizon, regime) exist without a gap and s_288 is known;
    nothing later is read. `horizon_bars` ≥ 1, `regime_bars` ≥ 2.
    """
    valid = labelled_bars(candles, max(horizon_bars, regime_bars))
    returns = np.full(len(spliced), np.nan)
    returns[1:] = np.log(spliced.close[1:] / spliced.close[:-1])
    scale = rolling_scale(returns, SCALE_BARS)
    entry = _ahead(spliced.open, 1)
    realised = np.log(_ahead(spliced.close, horizon_bars) / entry)
    spread = scale * np.sqrt(horizon_bars)
    action, ambiguous = np.clip(realised / spread, -ACTION_LIMIT, ACTION_LIMIT), 0
    if target.action_target == "triple_barrier":
        width = np.maximum(1.5 * target.cost_bps * BPS, spread)
        action, ambiguous = _first_barrier(spliced, width, horizon_bars, valid)
    regime_spread = scale * np.sqrt(regime_bars)
    fall = np.log(entry / _ahead(rolling_lowest(spliced.low, regime_bars), regime_bars))
    rise = np.log(_ahead(rolling_highest(spliced.high, regime_bars), regime_bars) / entry)
    numbers = {
        "action": action,
        "realised_return": realised,
        "log_volatility": np.log(
            np.maximum(_root_mean_square_ahead(returns, horizon_bars), VOLATILITY_FLOOR)
        ),
        "regime_volatility": _root_mean_square_ahead(returns, regime_bars) / scale,
        "regime_return": np.log(_ahead(spliced.close, regime_bars) / entry) / regime_spread,
        "risk_range": np.maximum(fall, rise) / regime_spread,
    }
    for values in numbers.values():
        values[~valid] = np.nan
    return RawTargets(**numbers, valid=valid, ambiguous_barriers=ambiguous)


def join_raw(series: Sequence[RawTargets]) -> RawTargets:
    """Label values of several candle series, one after the other."""
    if len(series) == 1:
        return series[0]
    columns = {name: np.concatenate([getattr(of, name) for of in series]) for name in _COLUMNS}
    return RawTargets(**columns, ambiguous_barriers=sum(of.ambiguous_barriers for of in series))


def fit_targets(raw: RawTargets, fit_bars: NDArray[np.int64]) -> TargetScale:
    """Thresholds, means and priors from the valid bars among `fit_bars`; no other bar is read.

    Quantiles interpolate linearly; the standard deviation has ddof 0 and is at least 1e-6. Raises
    NotEnoughHistory when no bar is valid.
    """
    bars = fit_bars[raw.valid[fit_bars]]
    if not bars.size:
        raise NotEnoughHistory("The fit slice has no labelled bar.", found=0, needed=1)
    bear, bull = np.quantile(raw.regime_return[bars], (0.33, 0.67))
    medium, high = np.quantile(raw.risk_range[bars], (0.50, 0.85))
    mean, deviation = volatility_of(raw, bars)
    scale = TargetScale(
        bear_below=float(bear),
        bull_above=float(bull),
        volatile_above=float(np.quantile(raw.regime_volatility[bars], 0.80)),
        medium_above=float(medium),
        high_above=float(high),
        volatility_mean=mean,
        volatility_std=deviation,
        action_mean=float(raw.action[bars].mean()),
        regime_prior=(),
        risk_prior=(),
    )
    return dataclasses.replace(
        scale,
        regime_prior=_shares(_regime(raw, scale)[bars], 4),
        risk_prior=_shares(_risk(raw, scale)[bars], 3),
    )


def volatility_of(raw: RawTargets, fit_bars: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0, at least 1e-6) of log volatility at the valid fit bars."""
    at_fit = raw.log_volatility[fit_bars[raw.valid[fit_bars]]]
    return float(at_fit.mean()), max(float(at_fit.std()), 1e-6)


def label_each(raw: RawTargets, scales: Sequence[tuple[slice, TargetScale]]) -> Labels:
    """Labels of every base bar of several series, each span of bars with thresholds of its own."""
    each = [label(raw.at(span), scale) for span, scale in scales]
    if len(each) == 1:
        return each[0]
    names = [field.name for field in dataclasses.fields(Labels)]
    return Labels(**{name: np.concatenate([getattr(of, name) for of in each]) for name in names})


def label(raw: RawTargets, scale: TargetScale) -> Labels:
    """Labels of every base bar with the thresholds of one fit slice."""
    z_score = (raw.log_volatility - scale.volatility_mean) / scale.volatility_std
    return Labels(
        action=raw.action.astype(np.float32),
        regime=_regime(raw, scale),
        log_volatility=raw.log_volatility,
        log_volatility_z=z_score.astype(np.float32),
        risk=_risk(raw, scale),
        realised_return=raw.realised_return,
        valid=raw.valid,
    )


def _regime(raw: RawTargets, scale: TargetScale) -> NDArray[np.int8]:
    classes = np.full(raw.valid.size, RANGING, dtype=np.int8)
    classes[raw.regime_return > scale.bull_above] = BULL
    classes[raw.regime_return < scale.bear_below] = BEAR
    classes[raw.regime_volatility > scale.volatile_above] = VOLATILE
    classes[~raw.valid] = NO_CLASS
    return classes


def _risk(raw: RawTargets, scale: TargetScale) -> NDArray[np.int8]:
    classes = np.full(raw.valid.size, LOW, dtype=np.int8)
    classes[raw.risk_range > scale.medium_above] = MEDIUM
    classes[raw.risk_range > scale.high_above] = HIGH
    classes[~raw.valid] = NO_CLASS
    return classes


def _shares(classes: NDArray[np.int8], count: int) -> tuple[float, ...]:
    return tuple(float(share) for share in np.bincount(classes, minlength=count) / classes.size)


def _ahead(values: Series, bars: int) -> Series:
    """Value `bars` later at each bar, NaN where there is none."""
    later = np.full(values.size, np.nan)
    later[: max(values.size - bars, 0)] = values[bars:]
    return later


def _root_mean_square_ahead(returns: Series, bars: int) -> Series:
    return np.sqrt(_ahead(rolling_sum(returns * returns, bars), bars) / bars)


def _first_barrier(
    candles: Candles, width: Series, horizon_bars: int, valid: NDArray[np.bool_]
) -> tuple[Series, int]:
    """+1 or −1 for the barrier touched first, 0 for none or both in one bar, and how many of those."""
    entry = _ahead(candles.open, 1)
    return _walk_barriers(
        candles.high,
        candles.low,
        entry * np.exp(width),
        entry * np.exp(-width),
        horizon_bars,
        valid,
    )


@njit(cache=True)
def _walk_barriers(
    high: Series,
    low: Series,
    upper: Series,
    lower: Series,
    horizon_bars: int,
    valid: NDArray[np.bool_],
) -> tuple[Series, int]:
    # Order matters: the first bar that touches a barrier decides.
    touched = np.zeros(high.size)
    ambiguous = 0
    for t in range(high.size):
        if not valid[t]:
            continue
        for i in range(t + 1, t + horizon_bars + 1):
            above = high[i] >= upper[t]
            below = low[i] <= lower[t]
            if above and below:
                ambiguous += 1
            elif above:
                touched[t] = 1.0
            elif below:
                touched[t] = -1.0
            if above or below:
                break
    return touched, ambiguous
