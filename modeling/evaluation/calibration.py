"""The confidence calibrator of a fold: fitted with scikit-learn, stored and applied without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_ISOTONIC_SAMPLES = 1000
LOGIT_FLOOR = 1e-6
AUTO_THRESHOLD_QUANTILE = 0.90
MAX_CALIBRATED_ECE = 0.05


@dataclass(frozen=True)
class Calibrator:
    """A monotone map from raw to calibrated confidence.

    isotonic: linear between (`inputs`, `outputs`), flat outside. platt: sigmoid(slope·logit p +
    intercept) with `outputs` = (slope, intercept). constant: `outputs` = (rate,), used when the
    calibration slice has one class only.
    """

    kind: Literal["isotonic", "platt", "constant"]
    outputs: tuple[float, ...]
    inputs: tuple[float, ...] = ()
    samples: int = 0

    def apply(self, raw: Floats) -> Floats:
        """Calibrated probabilities [n] of raw confidences [n] in [0, 1]; NaN stays NaN."""
        raw = np.asarray(raw, dtype=float)
        if self.kind == "constant":
            return np.where(np.isnan(raw), np.nan, self.outputs[0])
        if self.kind == "platt":
            return 1.0 / (1.0 + np.exp(-(self.outputs[0] * _logit(raw) + self.outputs[1])))
        return np.interp(raw, self.inputs, self.outputs)

    def to_json(self) -> dict[str, object]:
        """Plain JSON data; from_json(to_json()) gives an equal calibrator."""
        return {
            "kind": self.kind,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "samples": self.samples,
        }

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Self:
        """Read `to_json()` back. Raises KeyError or ValueError on anything else."""
        kind, inputs, outputs = data["kind"], data["inputs"], data["outputs"]
        if kind not in ("isotonic", "platt", "constant"):
            raise ValueError(
                f"found calibrator kind {kind!r}; expected isotonic, platt or constant"
            )
        if not isinstance(inputs, list) or not isinstance(outputs, list):
            raise ValueError("expected lists of calibrator knots")
        return cls(
            kind=kind,
            outputs=tuple(float(value) for value in outputs),
            inputs=tuple(float(value) for value in inputs),
            samples=int(str(data.get("samples", 0))),
        )


def fit_calibrator(raw: Floats, outcome: NDArray[np.bool_]) -> Calibrator:
    """Fit on the calibration slice: raw confidence [n] against what came true [n], no NaN.

    Isotonic regression from 1000 samples on, Platt scaling (logistic regression on the logit,
    nearly unpenalised, never falling) below. One class only: the constant rate (k + 1)/(n + 2).
    Raises ValueError without samples.
    """
    samples = len(raw)
    if samples == 0:
        raise ValueError("found no calibration samples; expected at least one")
    hits = int(outcome.sum())
    if hits in (0, samples):
        return Calibrator("constant", ((hits + 1) / (samples + 2),), samples=samples)
    if samples < MIN_ISOTONIC_SAMPLES:
        return _fit_platt(raw, outcome)
    return _fit_isotonic(raw, outcome)


def auto_threshold(action: Floats) -> float:
    """The 0.90 quantile of |a| on the calibration slice (linear interpolation).

    Raises ValueError without samples.
    """
    if len(action) == 0:
        raise ValueError("found no calibration samples; expected at least one")
    return float(np.quantile(np.abs(action), AUTO_THRESHOLD_QUANTILE))


def is_calibrated(calibration_error: float | None, brier_skill: float | None) -> bool:
    """Whether "calibrated" may be written: test ECE ≤ .05 and Brier skill > 0, both defined."""
    if calibration_error is None or brier_skill is None:
        return False
    return calibration_error <= MAX_CALIBRATED_ECE and brier_skill > 0


def uncalibrated_reason(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Why "calibrated" may not be written of the stored scores of a confidence head; empty when it may.

    `scores` maps a metric to {"value": number or None, …}, as `score_heads` gives it for the head; it
    is empty for predictions without a confidence score.
    """
    error = scores.get("calibration_error", {}).get("value")
    skill = scores.get("brier_skill", {}).get("value")
    if is_calibrated(error, skill):
        return ""
    return (
        f"Confidence is uncalibrated: test calibration error {_figure(error)}, at most "
        f"{MAX_CALIBRATED_ECE:g} wanted; Brier skill {_figure(skill)}, above 0 wanted"
    )


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}".replace("-", "−")


def _fit_isotonic(raw: Floats, outcome: NDArray[np.bool_]) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
    model.fit(raw, outcome.astype(float))
    return Calibrator(
        "isotonic",
        outputs=tuple(float(value) for value in model.y_thresholds_),
        inputs=tuple(float(value) for value in model.X_thresholds_),
        samples=len(raw),
    )


def _fit_platt(raw: Floats, outcome: NDArray[np.bool_]) -> Calibrator:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e4, solver="lbfgs", max_iter=500)
    model.fit(_logit(raw)[:, None], outcome)
    slope = float(model.coef_[0, 0])
    if slope <= 0:
        rate = float(outcome.mean())
        return Calibrator("constant", (rate,), samples=len(raw))
    return Calibrator("platt", (slope, float(model.intercept_[0])), samples=len(raw))


def _logit(raw: Floats) -> Floats:
    clipped = np.clip(raw, LOGIT_FLOOR, 1.0 - LOGIT_FLOOR)
    return np.asarray(np.log(clipped / (1.0 - clipped)))
