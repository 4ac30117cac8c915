"""What the network sees of a sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class WindowBatch:
    """B windows that end at the close of a bar. K tokens, T base bars, S_k coarse bars, F features.

    `base` [B,T,F]; `coarse` {k: [B,S_k,F]}; `phase` {k: [B]} base bars closed since the latest coarse
    bar; `slot` [B,K] minute of the UTC day // 5 and `weekday` [B,K] (Monday 0) of the close of each
    token's last bar; `log_volatility_z` [B] standardised log volatility of the window.
    """

    base: Tensor
    coarse: dict[int, Tensor]
    phase: dict[int, Tensor]
    slot: Tensor
    weekday: Tensor
    log_volatility_z: Tensor
