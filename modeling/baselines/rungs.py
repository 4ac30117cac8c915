"""What baseline rungs take and give, in the columns of a prediction table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REGIMES = 4
RISKS = 3


@dataclass(frozen=True)
class RungLabels:
    """Labels of n samples, no NaN: return over the horizon, class labels, ln of realised σ."""

    realised_return: Floats
    regime: Ints
    risk: Ints
    log_volatility: Floats

    def __len__(self) -> int:
        return len(self.realised_return)

    def every(self, step: int) -> RungLabels:
        """Every `step`-th sample, from the first on."""
        return RungLabels(
            self.realised_return[::step],
            self.regime[::step],
            self.risk[::step],
            self.log_volatility[::step],
        )


@dataclass(frozen=True)
class RungPredictions:
    """Predictions of a rung for n bars, shaped like the network's: action in [−1, 1], σ per bar."""

    action: Floats
    regime: Floats
    risk: Floats
    volatility: Floats
    confidence_raw: Floats

    def columns(self, confidence: Floats | None = None) -> dict[str, Floats]:
        """Columns of a prediction table; without calibrated `confidence` [n] the raw one stands."""
        return {
            "action": self.action,
            **{f"regime_{k}": self.regime[:, k] for k in range(self.regime.shape[1])},
            "confidence": self.confidence_raw if confidence is None else confidence,
            "confidence_raw": self.confidence_raw,
            "volatility": self.volatility,
            **{f"risk_{k}": self.risk[:, k] for k in range(self.risk.shape[1])},
        }


class RungFailed(ValueError):
    """A rung could not be fitted; the text is the reason shown in its row."""


def trade_pays(action: Floats, realised_return: Floats, cost_bps: float) -> NDArray[np.bool_]:
    """1[sign(a)·r > cost] for each row; a = 0 never pays."""
    return np.sign(action) * realised_return > cost_bps / 1e4
