"""The bars that a refusal names are those from which on the real windows and folds can be made."""

from __future__ import annotations

from typing import Any

import pytest

from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles
from markets.features.compute import compute_features
from modeling.presets import PRESETS
from modeling.specs import ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.planning import least_bars
from modeling.windows.samples import eligible_samples, first_window
from modeling.windows.splits import holdout_instant, make_folds

SPECS: dict[str, tuple[int, dict[str, Any]]] = {
    "as it is": (5, {}),
    "one cut of few features": (
        5,
        {
            "features": {"feature_set": ("body",), "scales": (1,), "select_top": None},
            "evaluation": {"scheme": "single", "embargo_bars": 0},
        },
    ),
    "rolling, without a hold-out": (
        60,
        {
            "evaluation": {"scheme": "rolling", "embargo_bars": 24, "holdout_fraction": 0.0},
            "target": {"regime_bars": 5},
        },
    ),
    "every split of eight groups": (15, {"evaluation": {"scheme": "cpcv", "embargo_bars": 96}}),
}


def spec_of(parts: dict[str, Any]) -> ModelSpec:
    whole = PRESETS["tiny"].to_json()
    return ModelSpec.parse(whole | {name: whole[name] | part for name, part in parts.items()})


def candles_of(bars: int, minutes: int, begins_at: int) -> Candles:
    """So many candles without a gap, the first of them that many bars into a day."""
    days = (bars + begins_at) * minutes // 1440 + 1
    return synthetic_candles(days=days, timeframe_minutes=minutes).slice(
        begins_at, begins_at + bars
    )


def can_be_cut(spec: ModelSpec, candles: Candles) -> bool:
    """Whether the folds of these candles can be made, feature by feature and sample by sample."""
    scales = spec.features.scales_for(candles.timeframe_minutes)
    context_bars = spec.windows.context_bars
    try:
        samples = eligible_samples(
            candles,
            compute_features(candles, spec.features.names(), scales),
            context_bars=context_bars,
            horizon_bars=spec.windows.horizon_bars,
            regime_bars=spec.target.regime_bars,
        )
        sealed = holdout_instant(
            int(candles.time[0]),
            int(candles.close_time[-1]),
            spec.evaluation.holdout_fraction,
            bar_ns=candles.bar_ns,
        )
        make_folds(
            samples,
            spec.evaluation,
            context_bars=context_bars,
            bar_ns=candles.bar_ns,
            holdout_at=sealed,
        )
    except NotEnoughHistory:
        return False
    return True


@pytest.mark.parametrize("begins_at", [0, 7])
@pytest.mark.parametrize("name", SPECS)
def test_least_bars_are_enough_and_one_less_is_not(name: str, begins_at: int) -> None:
    minutes, parts = SPECS[name]
    spec = spec_of(parts)
    first_open = int(candles_of(1, minutes, begins_at).time[0])
    least = least_bars(spec, minutes, first_open=first_open)
    assert least is not None
    assert can_be_cut(spec, candles_of(least, minutes, begins_at))
    assert not can_be_cut(spec, candles_of(least - 1, minutes, begins_at))


@pytest.mark.parametrize("begins_at", range(0, 13, 4))
def test_first_window_is_where_features_and_coarse_bars_begin(begins_at: int) -> None:
    spec = PRESETS["tiny"]
    scales, names = spec.features.scales_for(5), spec.features.names()
    candles = candles_of(4_200, 5, begins_at)
    samples = eligible_samples(
        candles,
        compute_features(candles, names, scales),
        context_bars=spec.windows.context_bars,
        horizon_bars=1,
        regime_bars=1,
    )
    assert samples.bar[0] == first_window(
        names,
        scales,
        spec.windows.context_bars,
        first_open=int(candles.time[0]),
        timeframe_minutes=5,
    )
