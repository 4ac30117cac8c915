"""What one fold is fitted on: its windows on the device, its labels and its bars."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modeling.folds import log_volatility_of, window_volatility
from modeling.specs import ModelSpec
from modeling.training.fit import FoldTask
from modeling.training.resident import ResidentWindows, ScaledBars, Standards
from modeling.windows.learned import FoldWindows
from modeling.windows.make import Windows


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
    standards: Standards,
    device: torch.device,
) -> ResidentWindows:
    volatility = log_volatility_of(windows, spec.windows.context_bars)
    bars = ScaledBars(
        scaled=scaled,
        last_closed={k: windows.last_closed(k) for k in windows.scales if k > 1},
        close_time_ns=windows.close_time,
        bar_ns=windows.bar_ns,
        log_volatility_z=np.concatenate(
            [standards.of(part.instrument).apply(volatility[part.span]) for part in windows.parts]
        ),
        starts={k: windows.starts(k) for k in windows.scales},
    )
    return ResidentWindows(
        bars,
        context_bars=spec.windows.context_bars,
        patch_bars=spec.network.patch_bars,
        device=device,
    )
