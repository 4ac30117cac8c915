"""What baseline rungs take and give, in the columns of a prediction table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation.calibration import Calibrator, auto_threshold, fit_calibrator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REGIMES = 4
RISKS = 3
MIN_TRAINING_ROWS = 200
MAX_TRAINING_ROWS = 200_000
LADDER_S = 120.0
"""What the ladder of a whole run may take, however fast its network is."""

LAST_SIGN, PRIOR, PERSISTENCE, HAR = "last_sign", "prior", "persistence", "har"
LOGISTIC, GRADIENT_BOOSTING, DLINEAR = "logistic", "gradient_boosting", "dlinear"
WITH_ACTION = (LAST_SIGN, LOGISTIC, GRADIENT_BOOSTING, DLINEAR)


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


@dataclass(frozen=True)
class RungFold:
    """A rung on one test block: columns of a prediction table by name, [n] each, for the heads it
    has; its action [m] on the calibration slice where it has one; and sentences about what was
    simplified.
    """

    columns: dict[str, Floats]
    calibration_action: Floats | None = None
    calibrator: Calibrator | None = None
    notes: tuple[str, ...] = ()

    @property
    def threshold(self) -> float | None:
        """The 0.90 quantile of |a| on the calibration slice; None without an action."""
        seen = self.calibration_action
        return None if seen is None else auto_threshold(seen)


class RungFailed(ValueError):
    """A rung could not be fitted; the text is the reason shown in its row."""


Slice = tuple[Floats, RungLabels]
"""Scaled features [n, F] at the decision bars of a slice, base scale, and their labels."""


def thinned(rows: Slice) -> tuple[Slice, list[str]]:
    """At most 200 000 training rows, every k-th, and the sentence that says so.

    Raises RungFailed with the reason when there are fewer than 200 rows or a NaN.
    """
    features, labels = rows
    if len(labels) < MIN_TRAINING_ROWS:
        raise RungFailed(
            f"found {len(labels)} training rows; expected at least {MIN_TRAINING_ROWS}"
        )
    step = every(len(labels))
    notes = [thinning_note(step, len(labels))] if step > 1 else []
    return (finite(features[::step]), labels.every(step)), notes


def every(rows: int) -> int:
    """k, when every k-th of so many training rows is used."""
    return -(-rows // MAX_TRAINING_ROWS)


def thinning_note(step: int, rows: int) -> str:
    """What a row says when not all samples were fitted on."""
    return f"Fitted on 1 of every {step} of {rows} samples."


def calibrated_fold(
    seen: RungPredictions,
    labels: RungLabels,
    ahead: RungPredictions,
    *,
    cost_bps: float,
    notes: tuple[str, ...] = (),
) -> RungFold:
    """Calibrate and set the threshold on the calibration slice (`seen` with its labels), as the
    network does: isotonic or Platt confidence, threshold = 0.90 quantile of |a|. `ahead` are the
    predictions of the test block. Raises RungFailed without calibration samples.
    """
    if len(labels) == 0:
        raise RungFailed("found no calibration samples; expected at least one")
    pays = trade_pays(seen.action, labels.realised_return, cost_bps)
    calibrator = fit_calibrator(seen.confidence_raw, pays)
    return RungFold(
        columns=ahead.columns(calibrator.apply(ahead.confidence_raw)),
        calibration_action=seen.action,
        calibrator=calibrator,
        notes=notes,
    )


def finite(features: NDArray[np.floating]) -> Floats:
    """The features as float64. Raises RungFailed on NaN."""
    if not np.isfinite(features).all():
        raise RungFailed("found NaN among the features; expected complete samples only")
    return np.asarray(features, dtype=np.float64)


def trade_pays(action: Floats, realised_return: Floats, cost_bps: float) -> NDArray[np.bool_]:
    """1[sign(a)·r > cost] for each row; a = 0 never pays."""
    return np.sign(action) * realised_return > cost_bps / 1e4
