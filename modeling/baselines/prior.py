"""The prior rung: what somebody would say who knows only the training frequencies."""

from __future__ import annotations

import numpy as np

from modeling.baselines.rungs import REGIMES, RISKS, Floats, Ints, RungFailed


def class_prior(labels: Ints, classes: int) -> Floats:
    """Share of each class [classes] among training labels; unknown ones (−1) do not count.

    Raises RungFailed without a known label.
    """
    known = labels[labels >= 0]
    if len(known) == 0:
        raise RungFailed("found no labelled training sample; expected at least one")
    return np.bincount(known, minlength=classes)[:classes] / len(known)


def prior_columns(regime: Floats, risk: Floats, confidence: float, rows: int) -> dict[str, Floats]:
    """Prediction columns that repeat the training priors for `rows` bars; no action, no volatility."""
    return {
        **{f"regime_{k}": np.full(rows, regime[k]) for k in range(REGIMES)},
        "confidence": np.full(rows, confidence),
        **{f"risk_{k}": np.full(rows, risk[k]) for k in range(RISKS)},
    }
