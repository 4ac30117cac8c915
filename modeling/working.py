"""A fitted fold at work: the columns that it says for bars of any candles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from modeling.evaluation.calibration import Calibrator
from modeling.evaluation.table import Table
from modeling.fold_task import resident_windows
from modeling.folds import model_columns
from modeling.network.heads import FiveHeads
from modeling.specs import ModelSpec
from modeling.training.machine import Precision
from modeling.training.predict import predict
from modeling.training.resident import Standard
from modeling.windows.make import Windows
from modeling.windows.targets import TargetScale

Bars = NDArray[np.int64]


@dataclass(frozen=True)
class WorkingFold:
    """What a fold needs to predict; `volatility` is that of the windows of its fit slice."""

    spec: ModelSpec
    network: FiveHeads
    precision: Precision
    device: torch.device
    scale: TargetScale
    volatility: Standard
    calibrator: Calibrator

    def predict(
        self,
        windows: Windows,
        scaled: dict[int, NDArray[np.float32]],
        bars: Bars,
        between: Callable[[], None],
    ) -> Table:
        """The predicted columns of the windows that end at the bars."""
        outputs = predict(
            self.network,
            resident_windows(self.spec, windows, scaled, self.volatility, self.device),
            bars,
            volatility_mean=self.scale.volatility_mean,
            volatility_std=self.scale.volatility_std,
            precision=self.precision,
            between=between,
        )
        return model_columns(outputs, self.calibrator.apply(outputs.confidence_raw))
