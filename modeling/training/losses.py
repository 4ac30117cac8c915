"""The five losses, their balance, and what a constant would lose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from modeling.network.heads import FiveHeads
from modeling.network.windows import WindowBatch
from modeling.training.machine import Precision
from modeling.windows.targets import Labels, TargetScale

BALANCED_HEADS = ("action", "market_regime", "volatility", "risk")
ALL_HEADS = (*BALANCED_HEADS, "confidence")
LARGEST_BALANCE = 3.0
BPS = 1e-4


@dataclass(frozen=True)
class LabelBatch:
    """Labels [B] of a batch: action, regime class, standardised log volatility, risk class, and
    the log return over the horizon.
    """

    action: Tensor
    regime: Tensor
    log_volatility_z: Tensor
    risk: Tensor
    realised_return: Tensor


class ResidentLabels:
    """The labels of a fold on the training device, by base bar."""

    def __init__(self, labels: Labels, device: torch.device | str = "cpu") -> None:
        self._valid = labels.valid
        self._action = torch.from_numpy(labels.action).to(device)
        self._regime = torch.from_numpy(labels.regime).to(device)
        self._log_volatility_z = torch.from_numpy(labels.log_volatility_z).to(device)
        self._risk = torch.from_numpy(labels.risk).to(device)
        realised = torch.from_numpy(labels.realised_return)
        self._realised_return = realised.to(torch.float32).to(device)

    def require(self, bars: NDArray[np.int64]) -> None:
        """Raise ValueError unless each of the bars has labels."""
        missing = int((~self._valid[bars]).sum())
        if missing:
            raise ValueError(f"{missing} of {len(bars)} samples have no labels")

    def batch(self, bars: Tensor) -> LabelBatch:
        """Labels of base bars [B], int64 on the device."""
        return LabelBatch(
            action=self._action[bars],
            regime=self._regime[bars].long(),
            log_volatility_z=self._log_volatility_z[bars],
            risk=self._risk[bars].long(),
            realised_return=self._realised_return[bars],
        )


def head_losses(
    logits: Mapping[str, Tensor], labels: LabelBatch, *, cost_bps: float
) -> dict[str, Tensor]:
    """Mean loss of each head over the batch, in float32.

    Huber (δ 1) on the logits of action and volatility, cross-entropy on those of regime and risk,
    and for confidence the cross-entropy of whether the action of this very pass earned its costs.
    """
    action = logits["action"][:, 0]
    return {
        "action": functional.huber_loss(action, labels.action),
        "market_regime": functional.cross_entropy(logits["market_regime"], labels.regime),
        "volatility": functional.huber_loss(logits["volatility"][:, 0], labels.log_volatility_z),
        "risk": functional.cross_entropy(logits["risk"], labels.risk),
        "confidence": functional.binary_cross_entropy_with_logits(
            logits["confidence"][:, 0], earned_its_costs(action, labels, cost_bps=cost_bps)
        ),
    }


def earned_its_costs(action: Tensor, labels: LabelBatch, *, cost_bps: float) -> Tensor:
    """1 where the side of the action [B] earned more than the round-trip cost, else 0; no gradient."""
    side = torch.sign(action.detach())
    return (side * labels.realised_return > cost_bps * BPS).to(torch.float32)


class LossBalance(nn.Module):
    """One number v per balanced head: loss = Σ (e^{−v}·L + v) + L_confidence.

    Part of the training state, not of the network (Kendall, Gal and Cipolla 2018, with v = ln σ²
    and without their factor of one half).
    """

    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.zeros(len(BALANCED_HEADS)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The one loss [] to be minimised."""
        balanced = torch.stack([losses[head] for head in BALANCED_HEADS])
        return (torch.exp(-self.v) * balanced + self.v).sum() + losses["confidence"]

    @torch.no_grad()
    def restrain(self) -> None:
        """Set each v back to [−3, 3]."""
        self.v.clamp_(-LARGEST_BALANCE, LARGEST_BALANCE)


class Objective(nn.Module):
    """Network and balance as one module: windows and labels in, losses out."""

    def __init__(self, network: FiveHeads, balance: LossBalance, *, cost_bps: float) -> None:
        super().__init__()
        self.network = network
        self.balance = balance
        self.cost_bps = cost_bps

    def forward(
        self, windows: WindowBatch, labels: LabelBatch, *, precision: Precision
    ) -> tuple[Tensor, Tensor]:
        """Mean losses of the batch by head [5], in the order of ALL_HEADS, and the one loss []."""
        device = windows.base.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = self.network(windows)
        losses = head_losses(logits, labels, cost_bps=self.cost_bps)
        return torch.stack([losses[head] for head in ALL_HEADS]), self.balance(losses)


@torch.no_grad()
def start_at_the_constant(network: FiveHeads, scale: TargetScale) -> None:
    """Set the output biases to the best constants of the fit slice, before the first step."""
    network.start_at(constant_logits(scale))


def constant_logits(scale: TargetScale) -> dict[str, Tensor]:
    """Logits [1,o] of the constant predictor: mean action, log priors, mean volatility, even odds."""
    return {
        "action": torch.tensor([[scale.action_mean]]),
        "market_regime": _log_prior(scale.regime_prior),
        "volatility": torch.zeros(1, 1),
        "risk": _log_prior(scale.risk_prior),
        "confidence": torch.zeros(1, 1),
    }


def _log_prior(prior: tuple[float, ...]) -> Tensor:
    # a class that never occurred in the fit slice would start at −∞
    return torch.tensor([[math.log(max(share, 1e-4)) for share in prior]])
