"""No network: one linear map of the newest bar to the five heads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeling.network.heads import FiveHeads
from modeling.network.size import HEAD_OUTPUTS
from modeling.network.windows import WindowBatch


class LinearHeads(FiveHeads):
    """A row of weights and a bias for each output of the heads; nothing but the last bar is read.

    It is fitted in closed form or by a convex solver, so nothing is drawn: weights start at zero.
    """

    def __init__(self, *, features: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, sum(HEAD_OUTPUTS.values()))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Logits of the five heads, float32, from the F features of the last bar."""
        with torch.autocast(batch.base.device.type, enabled=False):
            last = batch.base[:, -1].float()
            logits = functional.linear(last, self.output.weight, self.output.bias)
        parts = torch.split(logits, list(HEAD_OUTPUTS.values()), dim=1)
        return dict(zip(HEAD_OUTPUTS, parts, strict=True))

    @torch.no_grad()
    def set_rows(self, rows: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Weights [o,F] and biases [o] of each head by its name."""
        for part, place in ((self.output.weight, 0), (self.output.bias, 1)):
            part.copy_(torch.cat([rows[name][place] for name in HEAD_OUTPUTS]))

    def start_at(self, constants: Mapping[str, Tensor]) -> None:
        """Set the bias of each head."""
        rows = torch.cat([constants[name][0] for name in HEAD_OUTPUTS])
        self.output.bias.copy_(rows.to(self.output.bias.device))
