"""The validation score: what the network loses over what a constant loses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

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
    constant = {name: row.to(device) for name, row in constant_logits(scale).items()}
    found = torch.zeros(2, len(ALL_HEADS), dtype=torch.float64, device=device)
    at = torch.from_numpy(bars).to(device)
    for chunk in torch.split(at, SCORING_BATCH):
        between()
        batch = labels.batch(chunk)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = network(resident.batch(chunk))
        repeated = {name: row.expand(len(chunk), -1) for name, row in constant.items()}
        for place, outputs in enumerate((logits, repeated)):
            losses = head_losses(outputs, batch, cost_bps=cost_bps)
            row = torch.stack([losses[head] for head in ALL_HEADS])
            found[place] += row.double() * len(chunk)
    network.train()
    own, constants = (found / len(bars)).tolist()
    by_head = dict(zip(ALL_HEADS, own, strict=True))
    by_constant = dict(zip(ALL_HEADS, constants, strict=True))
    ratios = {
        head: by_head[head] / max(by_constant[head], SMALLEST_LOSS) for head in BALANCED_HEADS
    }
    return Score(losses=by_head, ratios=ratios, ratio=sum(ratios.values()) / len(ratios))
