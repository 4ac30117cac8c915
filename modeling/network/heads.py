"""What training and prediction know of a network: five heads of logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from modeling.network.windows import WindowBatch


class FiveHeads(nn.Module, ABC):
    """Windows of candles in; action, market regime, confidence, volatility and risk out."""

    @abstractmethod
    def forward(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Logits, float32: action [B,1], market_regime [B,4], confidence [B,1], volatility [B,1],
        risk [B,3].
        """

    @abstractmethod
    def start_at(self, constants: Mapping[str, Tensor]) -> None:
        """Set the output biases to one row of logits [1,o] for each head."""

    def mean_dropout(self, batch: WindowBatch) -> Tensor:
        """Mean share of values dropped in training on the batch, []: none, unless it says so."""
        return torch.zeros((), device=batch.base.device)

    def half_lives(self) -> dict[str, list[float]]:
        """Half-life in bars of each attention head, by layer; empty without attention."""
        return {}
