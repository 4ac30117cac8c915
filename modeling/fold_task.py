"""What one fold is fitted on: its windows on the device, its labels and its bars."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modeling.folds import window_volatility
from modeling.specs import ModelSpec
from modeling.training.fit import FoldTask
from modeling.training.resident import (
    ResidentWindows,
    ScaledBars,
    Standard,
    window_log_volatility,
)
from modeling.windows.make import FoldWindows, Windows


def fold_task(
    spec: ModelSpec, windows: Windows, fold: FoldWindows, device: torch.device
) -> FoldTask:
    cut = fold.fold
    return FoldTask(
        number=cut.number,
        resident=resident_windows(
            spec,
            windows,
            fold.scaled,
            window_volatility(spec, windows, windows.bars(cut.fit)),
            device,
        ),
        labels=fold.labels,
        scale=fold.scale,
        fit_bars=windows.bars(cut.fit)[:: spec.windows.stride],
        validation_bars=windows.bars(cut.validation),
        notes=fold.learned.to_json(),
    )


def resident_windows(
    spec: ModelSpec,
    windows: Windows,
    scaled: dict[int, NDArray[np.float32]],
    volatility_of_fit: Standard,
    device: torch.device,
) -> ResidentWindows:
    volatility = window_log_volatility(windows.returns, spec.windows.context_bars)
    scales = windows.table.scales
    bars = ScaledBars(
        scaled=scaled,
        last_closed={k: np.array(scale.last_closed) for k, scale in scales.items() if k > 1},
        close_time_ns=windows.candles.close_time,
        bar_ns=windows.candles.bar_ns,
        log_volatility_z=volatility_of_fit.apply(volatility),
    )
    return ResidentWindows(
        bars,
        context_bars=spec.windows.context_bars,
        patch_bars=spec.network.patch_bars,
        device=device,
    )
