"""The prior rung: what somebody would say who knows only the training frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modeling.baselines.rungs import Floats


def prior_columns(
    regime: Sequence[float], risk: Sequence[float], confidence: float, rows: int
) -> dict[str, Floats]:
    """Prediction columns that repeat the training frequencies for `rows` bars.

    `confidence` is the share of training trades that paid. No action and no volatility: this rung
    has no opinion on them.
    """
    return {
        **{f"regime_{k}": np.full(rows, share) for k, share in enumerate(regime)},
        "confidence": np.full(rows, confidence),
        **{f"risk_{k}": np.full(rows, share) for k, share in enumerate(risk)},
    }
