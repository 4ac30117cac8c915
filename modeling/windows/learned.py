"""What is learned from a fit slice before training, and what it makes of every bar."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from modeling.specs import ModelSpec
from modeling.windows.make import Bars, PoolPart, Windows
from modeling.windows.scaling import Scalers, fit_pooled_scalers, fit_scalers
from modeling.windows.selection import FitRows, Selection, fit_rows, select_features
from modeling.windows.splits import Fold
from modeling.windows.targets import (
    Labels,
    RawTargets,
    TargetScale,
    fit_targets,
    label,
    label_each,
    volatility_of,
)


@dataclass(frozen=True)
class InstrumentFit:
    """What is learned of one instrument apart: its scalers, and mean and spread of its log volatility."""

    scalers: Scalers
    volatility_mean: float
    volatility_std: float

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data in the shape of `FoldFit`."""
        targets = {"volatility_mean": self.volatility_mean, "volatility_std": self.volatility_std}
        return {"scalers": self.scalers.to_json(), "targets": targets}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """What `to_json` wrote, equal bit for bit."""
        return cls(Scalers.from_json(data["scalers"]), **data["targets"])


@dataclass(frozen=True)
class FoldFit:
    """All that is learned from a fit slice before training, and from nothing else.

    `scalers` and `scale` are those of all instruments together; with several, `own` holds what is
    learned of each apart.
    """

    selection: Selection
    scalers: Scalers
    scale: TargetScale
    own: dict[str, InstrumentFit] = field(default_factory=dict)

    def scalers_of(self, instrument: str) -> Scalers:
        """Its own scalers; the pooled ones for an instrument that was not in training."""
        return self.own[instrument].scalers if instrument in self.own else self.scalers

    def scale_of(self, instrument: str) -> TargetScale:
        """The thresholds of all with its own volatility; the pooled one for an unseen instrument."""
        if instrument not in self.own:
            return self.scale
        found = self.own[instrument]
        return dataclasses.replace(
            self.scale,
            volatility_mean=found.volatility_mean,
            volatility_std=found.volatility_std,
        )

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data: checkpoints and the finished fold carry it."""
        data: dict[str, Any] = {
            "selection": self.selection.to_json(),
            "scalers": self.scalers.to_json(),
            "targets": self.scale.to_json(),
        }
        if self.own:
            data["instruments"] = {name: own.to_json() for name, own in self.own.items()}
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """What `to_json` wrote, equal bit for bit; other keys are not looked at."""
        own = data.get("instruments", {})
        return cls(
            Selection.from_json(data["selection"]),
            Scalers.from_json(data["scalers"]),
            TargetScale.from_json(data["targets"]),
            {name: InstrumentFit.from_json(found) for name, found in own.items()},
        )


@dataclass(frozen=True)
class AppliedFit:
    """What a fold learned, applied to the bars of some windows, numbered through.

    `scaled` {k: float32 [N_k, F]} holds the F selected features; labels are by base bar;
    `volatility_mean` and `volatility_std` [N] undo the standardising of log volatility.
    """

    labels: Labels
    scaled: dict[int, NDArray[np.float32]]
    volatility_mean: NDArray[np.float64]
    volatility_std: NDArray[np.float64]


@dataclass(frozen=True)
class FoldWindows(AppliedFit):
    """One fold with what it learned from its fit slice, and its arrays scaled and labelled with that."""

    fold: Fold
    learned: FoldFit

    @property
    def scale(self) -> TargetScale:
        """Thresholds, means and priors of the labels, of all instruments together."""
        return self.learned.scale


def learn_from_fit(
    parts: Sequence[PoolPart],
    raw: RawTargets,
    fit_bars: Bars,
    spec: ModelSpec,
    *,
    selection: Selection | None = None,
) -> FoldFit:
    """Thresholds of the labels, the selected features and their scalers on all scales.

    `raw` and `fit_bars` number the bars of all parts through. Thresholds, priors and the selection
    are those of all instruments together; features are selected on the base scale, each instrument
    scaled by its own fit slice. `selection` takes the place of a new one. Raises NotEnoughHistory
    when the slice, or that of one of several instruments, has no sample or no bar of a scale.
    """
    scale = fit_targets(raw, fit_bars)
    if selection is None:
        selection = _selected(parts, raw, scale, fit_bars, spec)
    slices = [(part.table.only(selection.names), part.own(fit_bars)) for part in parts]
    own = {}
    if len(parts) > 1:
        own = {
            part.instrument: InstrumentFit(
                fit_scalers(*found), *volatility_of(raw.at(part.span), found[1])
            )
            for part, found in zip(parts, slices, strict=True)
        }
    return FoldFit(selection, fit_pooled_scalers(slices), scale, own)


def prepare_fold(
    windows: Windows, fold: Fold, spec: ModelSpec, *, selection: Selection | None = None
) -> FoldWindows:
    """Learn from the fit slice what `learn_from_fit` says, and apply it everywhere.

    `selection` is the one training began with, when it goes on.
    """
    learned = learn_from_fit(
        windows.parts, windows.raw, windows.bars(fold.fit), spec, selection=selection
    )
    applied = apply_fit(windows, learned)
    return FoldWindows(**vars(applied), fold=fold, learned=learned)


def apply_fit(windows: Windows, learned: FoldFit) -> AppliedFit:
    """Labels and scaled features of all bars; an instrument that was not in training is scaled by the
    statistics of all that were.
    """
    scales = [learned.scale_of(part.instrument) for part in windows.parts]
    sizes = [len(part.candles) for part in windows.parts]
    each = [
        learned.scalers_of(part.instrument).apply(part.table.only(learned.selection.names))
        for part in windows.parts
    ]
    spans = [part.span for part in windows.parts]
    return AppliedFit(
        labels=label_each(windows.raw, list(zip(spans, scales, strict=True))),
        scaled={k: _joined([scaled[k] for scaled in each]) for k in windows.scales},
        volatility_mean=np.repeat([scale.volatility_mean for scale in scales], sizes),
        volatility_std=np.repeat([scale.volatility_std for scale in scales], sizes),
    )


def _joined(arrays: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _selected(
    parts: Sequence[PoolPart], raw: RawTargets, scale: TargetScale, fit_bars: Bars, spec: ModelSpec
) -> Selection:
    names = parts[0].table.names
    if spec.features.count == len(names):
        return Selection(names, {}, {})
    return select_features(
        [_rows_to_select_from(part, raw, scale, part.own(fit_bars)) for part in parts],
        names,
        select_top=spec.features.most_kept,
        horizon_bars=spec.windows.horizon_bars,
    )


def _rows_to_select_from(
    part: PoolPart, raw: RawTargets, scale: TargetScale, bars: Bars
) -> FitRows:
    """Of the base scale, only the fit slice is scaled: choosing reads no other row."""
    base = dataclasses.replace(part.table, scales={1: part.table.base})
    at_fit = dataclasses.replace(part.table.base, values=part.table.base.values[:, bars])
    scaled = fit_scalers(base, bars).apply_scale(at_fit)
    return fit_rows(scaled, label(raw.at(part.span), scale), bars)
