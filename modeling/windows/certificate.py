"""Proof that scalers and target thresholds know nothing behind the fit slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import Candles
from markets.features.certificate import altered_after
from markets.features.compute import compute_features
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import TargetSpec
from modeling.windows.scaling import Scalers, fit_scalers
from modeling.windows.targets import TargetScale, fit_targets, raw_targets

FitScalers = Callable[[FeatureTable, NDArray[np.int64]], Scalers]


def certify_fit(
    candles: Candles,
    fit_bars: NDArray[np.int64],
    scalers: Scalers,
    target_scale: TargetScale,
    *,
    horizon_bars: int,
    regime_bars: int,
    target: TargetSpec,
    seed: int = 0,
    fit: FitScalers = fit_scalers,
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Refit after altering all candles behind the fit slice; everything must be bit-equal.

    The slice ends with the last bar of its last label: t + max(horizon, regime). Returns plain JSON
    with a verdict for the scalers and one for the target thresholds.
    """
    last = min(int(fit_bars.max()) + max(horizon_bars, regime_bars), len(candles) - 1)
    shaken = altered_after(candles, last, seed)
    table = compute_features(shaken, scalers.names, tuple(scalers.centre))
    raw = raw_targets(
        shaken,
        splice_prices(shaken),
        horizon_bars=horizon_bars,
        regime_bars=regime_bars,
        target=target,
    )
    verdicts = {
        "scalers": fit(table, fit_bars).to_json() == scalers.to_json(),
        "targets": fit_targets(raw, fit_bars) == target_scale,
    }
    return {
        "passed": all(verdicts.values()),
        "altered_after_bar": last,
        "seed": seed,
        **{name: "passed" if passed else "failed" for name, passed in verdicts.items()},
    }
