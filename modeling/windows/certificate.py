"""Proof that selection, scalers and target thresholds know nothing behind the fit slice and of the test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from markets.features.certificate import altered_after
from markets.features.compute import compute_features
from markets.features.splice import splice_prices
from markets.features.table import FeatureTable
from modeling.specs import ModelSpec
from modeling.windows.learned import FoldFit, FoldWindows, learn_from_fit
from modeling.windows.make import Bars, PoolPart, Windows
from modeling.windows.targets import RawTargets, join_raw, raw_targets

LEARNED = ("selection", "scalers", "targets")
NO_LABELS = ("valid", "ambiguous_barriers")
Learn = Callable[..., FoldFit]


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

    The slice of an instrument ends with the last bar of its last label: t + max(horizon, regime);
    `altered_after_bar` numbers the bars of all instruments through and is that of the last one. Test
    blocks of a combinatorial split lie before that end as well; candles there are the past of later
    features, so the rows themselves are altered. Returns plain JSON with a verdict for the selection,
    one for the scalers and one for the targets: their thresholds and every label of the slice, since
    one label that reads too far may move no threshold.
    """
    fit_bars, tested = windows.bars(fold.fold.fit), windows.bars(fold.fold.predicted)
    shaken = [_shaken(part, fit_bars, windows.samples.label_bars, seed) for part in windows.parts]
    raw = join_raw([_raw_targets(part, spec) for part, _ in shaken])
    for part, _ in shaken:
        _alter_features(part.table, part.own(fit_bars), part.own(tested), seed)
    _alter_labels(raw, tested, seed)
    again = learn([part for part, _ in shaken], raw, fit_bars, spec)
    before, after = fold.learned.to_json(), again.to_json()
    verdicts = {name: _part_of(after, name) == _part_of(before, name) for name in LEARNED}
    verdicts["targets"] &= _equal_labels(windows.raw, raw, fit_bars)
    return {
        "fold": fold.fold.number,
        "passed": all(verdicts.values()),
        "altered_after_bar": shaken[-1][1],
        "seed": seed,
        **{name: "passed" if passed else "failed" for name, passed in verdicts.items()},
    }


def _alter_features(table: FeatureTable, fit_bars: Bars, tested: Bars, seed: int) -> None:
    """Put noise in place of the features of the tested bars, within the arrays."""
    generator = np.random.default_rng(seed)
    for scale in table.scales.values():
        rows = np.setdiff1d(scale.last_closed[tested], scale.last_closed[fit_bars])
        rows = rows[rows >= 0]
        scale.values[:, rows] = generator.normal(10, 10, (len(table.names), rows.size))


def _alter_labels(raw: RawTargets, tested: Bars, seed: int) -> None:
    """Put noise in place of the labels of the tested bars, within the arrays."""
    generator = np.random.default_rng(seed)
    for field in dataclasses.fields(raw):
        if field.name not in NO_LABELS:
            getattr(raw, field.name)[tested] = generator.normal(10, 10, tested.size)


def _shaken(part: PoolPart, fit_bars: Bars, label_bars: int, seed: int) -> tuple[PoolPart, int]:
    """The instrument with other candles behind its fit slice, and the last bar that is left alone."""
    last = min(int(part.own(fit_bars).max()) + label_bars, len(part.candles) - 1)
    candles = altered_after(part.candles, last, seed)
    table = compute_features(candles, part.table.names, tuple(part.table.scales))
    return dataclasses.replace(part, candles=candles, table=table), part.first_bar + last


def _raw_targets(part: PoolPart, spec: ModelSpec) -> RawTargets:
    return raw_targets(
        part.candles,
        splice_prices(part.candles),
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
        target=spec.target,
    )


def _part_of(learned: dict[str, Any], name: str) -> list[Any]:  # Any: JSON has no narrower type
    """What was learned of one kind, of all instruments together and of each apart."""
    own = learned.get("instruments", {})
    return [learned[name], {of: found.get(name) for of, found in own.items()}]


def _equal_labels(before: RawTargets, after: RawTargets, bars: Bars) -> bool:
    """Whether all label values of these bars are bit-equal, NaN where the other is NaN."""
    pairs = (
        (getattr(before, field.name), getattr(after, field.name))
        for field in dataclasses.fields(RawTargets)
        if field.name != "ambiguous_barriers"  # counts bars behind the slice too
    )
    return all(a[bars].tobytes() == b[bars].tobytes() for a, b in pairs)
