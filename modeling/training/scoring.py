"""The validation score: what the network loses over what a constant loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeling.network.heads import FiveHeads
from modeling.training.losses import (
    ALL_HEADS,
    BALANCED_HEADS,
    ResidentLabels,
    constant_logits,
    head_losses,
)
from modeling.training.machine import Precision
from modeling.training.resident import ResidentWindows
from modeling.windows.targets import TargetScale

SCORING_BATCH = 1024
SMALLEST_LOSS = 1e-12


@dataclass(frozen=True)
class Score:
    """Mean losses of a slice by head, their ratios to the constant predictor's, and the mean ratio."""

    losses: dict[str, float]
    ratios: dict[str, float]
    ratio: float


@torch.no_grad()
def score_slice(
    network: FiveHeads,
    resident: ResidentWindows,
    labels: ResidentLabels,
    scale: TargetScale,
    *,
    bars: NDArray[np.int64],
    cost_bps: float,
    precision: Precision,
    between: Callable[[], None] = lambda: None,
) -> Score:
    """Score the samples at `bars`, every one, in evaluation mode; draws no random number.

    The constant predictor says the mean action, the mean log volatility and the class priors of the
    fit slice. `between` is called before each batch and may raise.
    """
    network.eval()
    device = resident.device
    at = torch.from_numpy(bars).to(device)
    means = MeanLosses(labels, cost_bps=cost_bps, device=device)
    for chunk in torch.split(at, SCORING_BATCH):
        between()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = network(resident.batch(chunk))
        means.take(logits, chunk)
    network.train()
    by_head = means.by_head()
    by_constant = constant_losses(labels, scale, bars=at, cost_bps=cost_bps)
    ratios = {
        head: by_head[head] / max(by_constant[head], SMALLEST_LOSS) for head in BALANCED_HEADS
    }
    return Score(losses=by_head, ratios=ratios, ratio=sum(ratios.values()) / len(ratios))


@torch.no_grad()
def constant_losses(
    labels: ResidentLabels, scale: TargetScale, *, bars: Tensor, cost_bps: float
) -> dict[str, float]:
    """Mean loss of the constant predictor by head over the samples at `bars`, on their device."""
    constant = {name: row.to(bars.device) for name, row in constant_logits(scale).items()}
    means = MeanLosses(labels, cost_bps=cost_bps, device=bars.device)
    for chunk in torch.split(bars, SCORING_BATCH):
        means.take({name: row.expand(len(chunk), -1) for name, row in constant.items()}, chunk)
    return means.by_head()


class MeanLosses:
    """Mean losses by head over chunks of bars, summed in float64."""

    def __init__(self, labels: ResidentLabels, *, cost_bps: float, device: torch.device) -> None:
        self.labels, self.cost_bps = labels, cost_bps
        self.sums = torch.zeros(len(ALL_HEADS), dtype=torch.float64, device=device)
        self.samples = 0

    def take(self, logits: Mapping[str, Tensor], bars: Tensor) -> None:
        """Add the losses of the logits of `bars`."""
        losses = head_losses(logits, self.labels.batch(bars), cost_bps=self.cost_bps)
        self.sums += torch.stack([losses[head] for head in ALL_HEADS]).double() * len(bars)
        self.samples += len(bars)

    def by_head(self) -> dict[str, float]:
        """The means, brought from the device at once."""
        return dict(zip(ALL_HEADS, (self.sums / self.samples).tolist(), strict=True))
