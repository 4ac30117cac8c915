"""The logistic rung: linear models on the scaled features of the last bar."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from modeling.baselines.rungs import (
    REGIMES,
    RISKS,
    Floats,
    Ints,
    RungFailed,
    RungFold,
    RungLabels,
    RungPredictions,
    Slice,
    calibrated_fold,
    finite,
    thinned,
    trade_pays,
)

MAX_ITERATIONS = 500


@dataclass(frozen=True)
class LinearClasses:
    """Softmax of linear scores: `weights` [classes, F], `offsets` [classes]; a class that training
    never showed has offset −∞ and so probability 0."""

    weights: Floats
    offsets: Floats

    def probabilities(self, features: Floats) -> Floats:
        """Class probabilities [n, classes] for features [n, F]; each row sums to 1."""
        scores = features @ self.weights.T + self.offsets
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class LogisticModel:
    """The fitted rung of one fold; `notes` are sentences about what was left out or simplified."""

    direction: LinearClasses
    regime: LinearClasses
    risk: LinearClasses
    confidence: LinearClasses
    volatility_weights: Floats
    volatility_offset: float
    rows: int
    notes: tuple[str, ...]

    def predict(self, features: Floats) -> RungPredictions:
        """Predictions for scaled features [n, F] of the decision bars; raises RungFailed on NaN."""
        features = finite(features)
        return RungPredictions(
            action=2.0 * self.direction.probabilities(features)[:, 1] - 1.0,
            regime=self.regime.probabilities(features),
            risk=self.risk.probabilities(features),
            volatility=np.exp(features @ self.volatility_weights + self.volatility_offset),
            confidence_raw=self.confidence.probabilities(features)[:, 1],
        )


def fit_logistic(features: Floats, labels: RungLabels, *, cost_bps: float) -> LogisticModel:
    """Fit the rung on the fit slice: scaled features [n, F] at the decision bar, base scale.

    scikit-learn LogisticRegression (C = 1, lbfgs, max_iter 500) for direction (returns of 0 left
    out), regime, risk and confidence (1[sign(a)·r > cost] of its own action), Ridge (alpha 1) for
    ln σ. At most 200 000 rows, every k-th, said in `notes`. Deterministic: one thread, no random
    start. Raises RungFailed with the reason when there are fewer than 200 rows or a NaN.
    """
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    (features, labels), notes = thinned((features, labels))
    with threadpool_limits(limits=1, user_api="blas"):
        moved = labels.realised_return != 0
        up = (labels.realised_return > 0).astype(np.int64)
        direction = _fit_classes(features[moved], up[moved], 2, "direction", notes)
        action = 2.0 * direction.probabilities(features)[:, 1] - 1.0
        pays = trade_pays(action, labels.realised_return, cost_bps).astype(np.int64)
        ridge = Ridge(alpha=1.0).fit(features, labels.log_volatility)
        return LogisticModel(
            direction=direction,
            regime=_fit_classes(features, labels.regime, REGIMES, "regime", notes),
            risk=_fit_classes(features, labels.risk, RISKS, "risk", notes),
            confidence=_fit_classes(features, pays, 2, "confidence", notes),
            volatility_weights=np.asarray(ridge.coef_, dtype=float),
            volatility_offset=float(ridge.intercept_),
            rows=len(labels),
            notes=tuple(notes),
        )


def run_logistic(
    fit: Slice, calibration: Slice, test_features: Floats, *, cost_bps: float
) -> RungFold:
    """Fit on the fit slice, calibrate and set the threshold on the calibration slice, predict the test.

    Raises RungFailed with the reason.
    """
    model = fit_logistic(*fit, cost_bps=cost_bps)
    features, labels = calibration
    return calibrated_fold(
        model.predict(features),
        labels,
        model.predict(test_features),
        cost_bps=cost_bps,
        notes=model.notes,
    )


def _fit_classes(
    features: Floats, labels: Ints, classes: int, what: str, notes: list[str]
) -> LinearClasses:
    """Weights for all classes; classes without a training label get probability 0."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weights = np.zeros((classes, features.shape[1]))
    offsets = np.full(classes, -np.inf)
    seen = np.unique(labels)
    if len(seen) == 0:
        raise RungFailed(f"found no training label for {what}; expected at least two classes")
    if len(seen) == 1:
        notes.append(f"The training labels for {what} have one class only.")
        offsets[seen[0]] = 0.0
        return LinearClasses(weights, offsets)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(C=1.0, solver="lbfgs", max_iter=MAX_ITERATIONS)
        model.fit(features, labels)
    if any(issubclass(item.category, ConvergenceWarning) for item in caught):
        notes.append(f"The fit for {what} stopped after {MAX_ITERATIONS} iterations.")
    # Two classes: scikit-learn keeps the difference only, which belongs to the second one.
    rows = seen if len(seen) > 2 else seen[1:]
    weights[rows], offsets[seen] = model.coef_, 0.0
    offsets[rows] = model.intercept_
    return LinearClasses(weights, offsets)
