"""DLinear: one linear map of the trend of a window, and one of what is left of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeling.network.heads import FiveHeads
from modeling.network.size import HEAD_OUTPUTS
from modeling.network.windows import WindowBatch

TREND_BARS = 25


class DLinear(FiveHeads):
    """The decomposition of Zeng et al. (2023) on the T × F window of the base scale.

    The trend is the mean over 25 bars around each bar of the window, its first and last bar repeated
    beyond its ends. Weights start at zero, so nothing is drawn. Windows are divided by √(T·F): the
    learning rate that suits the network then suits a map of thousands of inputs.
    """

    moving_mean: Tensor

    def __init__(self, *, features: int, context_bars: int) -> None:
        super().__init__()
        outputs = sum(HEAD_OUTPUTS.values())
        self.shape = (outputs, context_bars, features)
        self.trend = nn.Linear(context_bars * features, outputs)
        self.remainder = nn.Linear(context_bars * features, outputs, bias=False)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("moving_mean", moving_mean(context_bars), persistent=False)

    def forward(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Logits of the five heads, float32, each of its own rows of the two maps."""
        with torch.autocast(batch.base.device.type, enabled=False):
            window = batch.base.float().flatten(1) / math.sqrt(self.trend.in_features)
            logits = functional.linear(window, self._weights(), self.trend.bias)
        parts = torch.split(logits, list(HEAD_OUTPUTS.values()), dim=1)
        return dict(zip(HEAD_OUTPUTS, parts, strict=True))

    def start_at(self, constants: Mapping[str, Tensor]) -> None:
        """Set the bias of each head."""
        rows = torch.cat([constants[name][0] for name in HEAD_OUTPUTS])
        self.trend.bias.copy_(rows.to(self.trend.bias.device))

    def _weights(self) -> Tensor:
        """Both maps as one, [10,T·F]: U·Mx + V·(x − Mx) = (V + (U − V)·M)·x saves the mean of x."""
        difference = (self.trend.weight - self.remainder.weight).view(self.shape)
        on_the_mean = torch.einsum("ouf,us->osf", difference, self.moving_mean)
        return self.remainder.weight + on_the_mean.reshape(self.remainder.weight.shape)


def moving_mean(bars: int) -> Tensor:
    """The matrix [T,T] that takes a window to its trend."""
    around = torch.arange(TREND_BARS) - TREND_BARS // 2
    sources = (torch.arange(bars)[:, None] + around).clamp(0, bars - 1)
    return functional.one_hot(sources, bars).float().mean(dim=1)
