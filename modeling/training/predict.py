"""Out-of-sample outputs of a trained network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from modeling.network.heads import FiveHeads
from modeling.training.machine import Precision
from modeling.training.resident import ResidentWindows

LARGEST_LOG_VOLATILITY = 10.0
BATCH = 1024

Series = NDArray[np.float64]


@dataclass(frozen=True)
class HeadOutputs:
    """Read-outs of the five heads, one row for each of N bars.

    `action` in (−1, 1); `market_regime` [N,4] (ranging, bull, bear, volatile) and `risk` [N,3] (low,
    medium, high) are probabilities that sum to 1; `confidence_raw` is not calibrated; `volatility` is
    σ per bar.
    """

    bars: NDArray[np.int64]
    action: Series
    market_regime: Series
    confidence_raw: Series
    volatility: Series
    risk: Series

    @classmethod
    def joined(cls, each: Sequence[Self]) -> Self:
        """Read-outs of several runs of bars, one after the other."""
        if len(each) == 1:
            return each[0]
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(of, name) for of in each]) for name in names})


@torch.no_grad()
def predict(
    network: FiveHeads,
    resident: ResidentWindows,
    bars: NDArray[np.int64],
    *,
    volatility_mean: float | Series,
    volatility_std: float | Series,
    precision: Precision = "fp32",
    batch: int = BATCH,
    between: Callable[[], None] = lambda: None,
) -> HeadOutputs:
    """Outputs for the windows that end at `bars`, every one exactly once, the last batch smaller.

    `volatility_mean` and `volatility_std` undo the standardising of log volatility: one number, or
    one for each of the bars. `between` is called before each batch and may raise. Raises ValueError when a window leaves the arrays.
    """
    resident.require(bars)
    was_training = network.training
    network.eval()
    device = resident.device
    chunks = []
    for chunk in torch.split(torch.from_numpy(bars).to(device), batch):
        between()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = network(resident.batch(chunk))
        chunks.append({name: out.double() for name, out in logits.items()})
    network.train(was_training)
    joined = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    logit = joined["volatility"][:, 0].cpu().numpy()
    log_volatility = np.minimum(volatility_mean + volatility_std * logit, LARGEST_LOG_VOLATILITY)
    return HeadOutputs(
        bars=bars,
        action=torch.tanh(joined["action"][:, 0]).cpu().numpy(),
        market_regime=torch.softmax(joined["market_regime"], dim=1).cpu().numpy(),
        confidence_raw=torch.sigmoid(joined["confidence"][:, 0]).cpu().numpy(),
        volatility=np.exp(log_volatility),
        risk=torch.softmax(joined["risk"], dim=1).cpu().numpy(),
    )
