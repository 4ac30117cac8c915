"""Dropout that follows the volatility of the window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_RATE = 0.05
LARGEST_RATE = 0.30
SWING = 0.1


class AdaptiveDropout(nn.Module):
    """Dropout with one rate per sample; no parameters."""

    def __init__(self, base_rate: float, *, adaptive: bool) -> None:
        super().__init__()
        self.base_rate = base_rate
        self.adaptive = adaptive

    def rate(self, log_volatility_z: Tensor) -> Tensor:
        """Rate p_b [B] from the window's standardised log volatility u [B].

        p_b = clip(p0 + 0.1·tanh(u), .05, .30), or p0 for all when not adaptive or p0 is 0.
        """
        if not self.adaptive or self.base_rate == 0:
            return torch.full_like(log_volatility_z, self.base_rate)
        swung = self.base_rate + SWING * torch.tanh(log_volatility_z.detach())
        return swung.clamp(SMALLEST_RATE, LARGEST_RATE)

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        """x [B,K,D] with each value kept with chance 1 − p_b and then divided by it.

        The identity in evaluation and for a base rate of 0.
        """
        if not self.training or self.base_rate == 0:
            return x
        rate = rate[:, None, None]
        kept = torch.rand(x.shape, device=x.device) >= rate
        return x * (kept / (1.0 - rate)).to(x.dtype)
