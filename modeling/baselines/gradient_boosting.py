"""The gradient boosting rung: LightGBM on the scaled features of the last bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

ROUNDS = 300
EARLY_STOP = 30
PARAMETERS = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 200,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    # Without it LightGBM picks by timing how to add up, and the last bits change.
    "force_row_wise": True,
    # More finish no sooner on a busy machine: they wait for each other at every split (85 000 rows on
    # 2 busy cores: 5 s with one thread, 29 s with two).
    "num_threads": 1,
    "verbosity": -1,
}
LARGEST_SEED = 2**31 - 1

Booster = Any  # Any: lightgbm ships no types


@dataclass(frozen=True)
class BoostingModel:
    """The fitted trees of one fold, one model a head, each up to its best round."""

    direction: Booster
    regime: Booster
    risk: Booster
    confidence: Booster
    volatility: Booster
    notes: tuple[str, ...]

    def predict(self, features: Floats) -> RungPredictions:
        """Predictions for scaled features [n, F] of the decision bars; raises RungFailed on NaN."""
        features = finite(features)
        return RungPredictions(
            action=_action(self.direction, features),
            regime=np.asarray(self.regime.predict(features)),
            risk=np.asarray(self.risk.predict(features)),
            volatility=np.exp(self.volatility.predict(features)),
            confidence_raw=np.asarray(self.confidence.predict(features)),
        )


@dataclass(frozen=True)
class _Growing:
    """How every model of a fold is grown, and what is called after each round."""

    seed: int
    between: Callable[[], None]

    def grow(
        self,
        fit: tuple[Floats, Any],
        validation: tuple[Floats, Any],
        objective: str,
        classes: int = 1,
    ) -> Booster:
        """Trees for targets of the fit slice, as many as the validation slice likes best."""
        import lightgbm

        options = PARAMETERS | {
            "objective": objective,
            "num_class": classes,
            "seed": self.seed % LARGEST_SEED,
        }
        known = lightgbm.Dataset(*fit, params=options, free_raw_data=True)
        judge = lightgbm.Dataset(*validation, reference=known, params=options)

        def after_round(_: Any) -> None:  # Any: lightgbm's own environment of a callback
            self.between()

        try:
            return lightgbm.train(
                options,
                known,
                num_boost_round=ROUNDS,
                valid_sets=[judge],
                callbacks=[lightgbm.early_stopping(EARLY_STOP, verbose=False), after_round],
            )
        except lightgbm.basic.LightGBMError as error:
            raise RungFailed(f"LightGBM stopped: {error}") from error


def fit_gradient_boosting(
    fit: Slice,
    validation: Slice,
    *,
    cost_bps: float,
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> BoostingModel:
    """Grow trees on the fit slice, and stop each head where the validation slice is best.

    LightGBM with 300 rounds of 31 leaves, learning rate .05, at least 200 rows a leaf, 80 % of the
    features a tree and 80 % of the rows a round, early stop 30. Direction (returns of 0 left out) and
    confidence (1[sign(a)·r > cost] of its own action) are binary, regime and risk multi-class,
    volatility least squares on ln σ. At most 200 000 rows, every k-th, said in `notes`. One thread;
    equal rows and seed give equal bits. `between` is called after each round and may raise. Raises
    RungFailed with the reason when a slice has too few rows or one side only, or holds a NaN.
    """
    (features, labels), notes = thinned(fit)
    known, judged = finite(validation[0]), validation[1]
    growing = _Growing(seed, between)
    moved, judged_moved = labels.realised_return != 0, judged.realised_return != 0
    direction = growing.grow(
        (features[moved], _sides(labels, moved, "training")),
        (known[judged_moved], _sides(judged, judged_moved, "validation")),
        "binary",
    )

    def pays(rows: Floats, outcome: RungLabels) -> Ints:
        won = trade_pays(_action(direction, rows), outcome.realised_return, cost_bps)
        return won.astype(np.int64)

    return BoostingModel(
        direction=direction,
        regime=growing.grow(
            (features, labels.regime), (known, judged.regime), "multiclass", REGIMES
        ),
        risk=growing.grow((features, labels.risk), (known, judged.risk), "multiclass", RISKS),
        confidence=growing.grow(
            (features, pays(features, labels)), (known, pays(known, judged)), "binary"
        ),
        volatility=growing.grow(
            (features, labels.log_volatility), (known, judged.log_volatility), "regression"
        ),
        notes=tuple(notes),
    )


def run_gradient_boosting(
    fit: Slice,
    validation: Slice,
    calibration: Slice,
    test_features: Floats,
    *,
    cost_bps: float,
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> RungFold:
    """Fit, calibrate and set the threshold on the calibration slice, predict the test block.

    Raises RungFailed with the reason, and whatever `between` raises.
    """
    model = fit_gradient_boosting(fit, validation, cost_bps=cost_bps, seed=seed, between=between)
    features, labels = calibration
    return calibrated_fold(
        model.predict(features),
        labels,
        model.predict(test_features),
        cost_bps=cost_bps,
        notes=model.notes,
    )


def _action(direction: Booster, features: Floats) -> Floats:
    return np.asarray(2.0 * direction.predict(features) - 1.0)


def _sides(labels: RungLabels, moved: Any, what: str) -> Ints:  # Any: a mask
    up = (labels.realised_return[moved] > 0).astype(np.int64)
    if len(np.unique(up)) < 2:
        raise RungFailed(f"found {what} rows of one direction only; expected both")
    return up
