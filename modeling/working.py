"""A fitted fold at work: the columns that it says for bars of any candles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from modeling.evaluation.calibration import Calibrator
from modeling.evaluation.table import Table
from modeling.fold_task import resident_windows
from modeling.folds import head_outputs, model_columns
from modeling.network.heads import FiveHeads
from modeling.specs import ModelSpec
from modeling.training.machine import Precision
from modeling.training.resident import Standards
from modeling.windows.learned import AppliedFit
from modeling.windows.make import Bars, Windows


@dataclass(frozen=True)
class WorkingFold:
    """What a fold needs to predict; `standards` are those of the windows of its fit slice."""

    spec: ModelSpec
    network: FiveHeads
    precision: Precision
    device: torch.device
    standards: Standards
    calibrator: Calibrator

    def predict(
        self, windows: Windows, applied: AppliedFit, bars: Bars, between: Callable[[], None]
    ) -> Table:
        """The predicted columns of the windows that end at the rising bars."""
        outputs = head_outputs(
            self.network,
            resident_windows(self.spec, windows, applied.scaled, self.standards, self.device),
            windows.each(bars),
            applied,
            precision=self.precision,
            between=between,
        )
        return model_columns(outputs, self.calibrator.apply(outputs.confidence_raw))
