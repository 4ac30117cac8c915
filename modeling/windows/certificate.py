"""Proof that selection, scalers and target thresholds know nothing behind the fit slice and of the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.features.certificate import altered_after
from markets.features.compute import compute_features
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import ModelSpec
from modeling.windows.make import FoldFit, FoldWindows, Windows, learn_from_fit
from modeling.windows.targets import RawTargets, raw_targets

LEARNED = ("selection", "scalers", "targets")
NO_LABELS = ("valid", "ambiguous_barriers")
Learn = Callable[..., FoldFit]
Bars = NDArray[np.int64]


def certify_fit(
    windows: Windows,
    fold: FoldWindows,
    spec: ModelSpec,
    *,
    seed: int = 0,
    learn: Learn = learn_from_fit,
) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Learn once more after altering all candles behind the fit slice, and every feature and label of
    the test blocks; all must be bit-equal.

    The slice ends with the last bar of its last label: t + max(horizon, regime). Test blocks of a
    combinatorial split lie before that end as well; candles there are the past of later features, so
    the rows themselves are altered. Returns plain JSON with a verdict for the selection, one for the
    scalers and one for the targets: their thresholds and every label of the slice, since one label
    that reads too far may move no threshold.
    """
    candles, fit_bars = windows.candles, windows.bars(fold.fold.fit)
    last = min(int(fit_bars.max()) + windows.samples.label_bars, len(candles) - 1)
    shaken = altered_after(candles, last, seed)
    table = compute_features(shaken, windows.table.names, tuple(windows.table.scales))
    raw = raw_targets(
        shaken,
        splice_prices(shaken),
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
        target=spec.target,
    )
    _alter_tested(table, raw, fit_bars, windows.bars(fold.fold.predicted), seed)
    again = learn(table, raw, fit_bars, spec)
    before, after = fold.learned.to_json(), again.to_json()
    verdicts = {name: after[name] == before[name] for name in LEARNED}
    verdicts["targets"] &= _equal_labels(windows.raw, raw, fit_bars)
    return {
        "fold": fold.fold.number,
        "passed": all(verdicts.values()),
        "altered_after_bar": last,
        "seed": seed,
        **{name: "passed" if passed else "failed" for name, passed in verdicts.items()},
    }


def _alter_tested(
    table: FeatureTable, raw: RawTargets, fit_bars: Bars, tested: Bars, seed: int
) -> None:
    """Put noise in place of the features and labels of the tested bars, within the arrays."""
    generator = np.random.default_rng(seed)
    for scale in table.scales.values():
        rows = np.setdiff1d(scale.last_closed[tested], scale.last_closed[fit_bars])
        rows = rows[rows >= 0]
        scale.values[:, rows] = generator.normal(10, 10, (len(table.names), rows.size))
    for field in dataclasses.fields(raw):
        if field.name not in NO_LABELS:
            getattr(raw, field.name)[tested] = generator.normal(10, 10, tested.size)


def _equal_labels(before: RawTargets, after: RawTargets, bars: Bars) -> bool:
    """Whether all label values of these bars are bit-equal, NaN where the other is NaN."""
    pairs = (
        (getattr(before, field.name), getattr(after, field.name))
        for field in dataclasses.fields(RawTargets)
        if field.name != "ambiguous_barriers"  # counts bars behind the slice too
    )
    return all(a[bars].tobytes() == b[bars].tobytes() for a, b in pairs)
