"""The logistic rung: learns what is linear, repeats itself, fails with a reason."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from modeling.baselines import rungs
from modeling.baselines.logistic import fit_logistic, run_logistic
from modeling.baselines.rungs import RungFailed, RungLabels
from modeling.evaluation.metrics import direction_auc, log_r2


def market(rows, seed, skill=1.0):
    """Features of which the first moves the return, the second volatility and the classes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 5))
    noise = rng.normal(size=(rows, 3))
    labels = RungLabels(
        realised_return=(skill * features[:, 0] + noise[:, 0]) / 100,
        regime=np.digitize(features[:, 1] + noise[:, 1], [-1, 0, 1]),
        risk=np.digitize(features[:, 1] + noise[:, 1], [-0.5, 0.5]),
        log_volatility=-6 + 0.5 * features[:, 1] + 0.3 * noise[:, 2],
    )
    return features, labels


def test_what_is_linear_is_learned():
    model = fit_logistic(*market(3000, 1), cost_bps=10)
    features, labels = market(3000, 2)
    found = model.predict(features)
    assert float(direction_auc(found.action, labels.realised_return)) > 0.8
    assert float(log_r2(found.volatility, np.exp(labels.log_volatility))) > 0.6
    assert (found.regime.argmax(axis=1) == labels.regime).mean() > 0.4


def test_a_random_walk_is_not_predicted():
    model = fit_logistic(*market(3000, 1, skill=0.0), cost_bps=10)
    features, labels = market(3000, 2, skill=0.0)
    auc = float(direction_auc(model.predict(features).action, labels.realised_return))
    assert 0.45 < auc < 0.55


def test_scores_are_twice_the_probability_less_one_as_scikit_learn_gives_it():
    features, labels = market(1000, 1)
    reference = LogisticRegression(C=1.0, max_iter=500).fit(features, labels.realised_return > 0)
    ridge = Ridge(alpha=1.0).fit(features, labels.log_volatility)
    regimes = LogisticRegression(C=1.0, max_iter=500).fit(features, labels.regime)
    found = fit_logistic(features, labels, cost_bps=10).predict(features)
    assert found.action == pytest.approx(2 * reference.predict_proba(features)[:, 1] - 1)
    assert found.volatility == pytest.approx(np.exp(ridge.predict(features)))
    assert found.regime == pytest.approx(regimes.predict_proba(features))


def test_probabilities_sum_to_one_and_actions_stay_inside_their_range():
    found = fit_logistic(*market(1000, 1), cost_bps=10).predict(market(500, 2)[0] * 100)
    assert found.regime.sum(axis=1) == pytest.approx(np.ones(500))
    assert found.risk.sum(axis=1) == pytest.approx(np.ones(500))
    assert np.abs(found.action).max() <= 1


def test_the_same_rows_give_the_same_bits():
    first, again = (fit_logistic(*market(800, 1), cost_bps=10) for _ in range(2))
    features = market(300, 2)[0]
    for name in ("action", "regime", "risk", "volatility", "confidence_raw"):
        assert np.array_equal(
            getattr(first.predict(features), name), getattr(again.predict(features), name)
        )


def test_a_class_that_training_never_showed_gets_probability_zero():
    features, labels = market(1000, 1)
    labels = RungLabels(
        labels.realised_return, np.minimum(labels.regime, 1), labels.risk, labels.log_volatility
    )
    found = fit_logistic(features, labels, cost_bps=10).predict(features)
    assert found.regime[:, 2:].max() == 0.0
    assert found.regime[:, :2].sum(axis=1) == pytest.approx(np.ones(1000))


def test_one_class_is_predicted_with_certainty_and_said_so():
    features, labels = market(400, 1)
    labels = RungLabels(
        labels.realised_return, labels.regime, np.zeros(400, int), labels.log_volatility
    )
    model = fit_logistic(features, labels, cost_bps=10)
    assert model.predict(features).risk[:, 0].min() == 1.0
    assert model.notes == ("The training labels for risk have one class only.",)


def test_many_rows_are_thinned_and_said_so(monkeypatch):
    monkeypatch.setattr(rungs, "MAX_TRAINING_ROWS", 400)
    model = fit_logistic(*market(1000, 1), cost_bps=10)
    assert model.rows == 334
    assert model.notes[0] == "Fitted on 1 of every 3 of 1000 samples."


def test_too_few_rows_fail_with_a_reason():
    with pytest.raises(RungFailed, match="found 199 training rows"):
        fit_logistic(*market(199, 1), cost_bps=10)


def test_a_feature_without_value_fails_with_a_reason():
    features, labels = market(400, 1)
    features[3, 2] = np.nan
    with pytest.raises(RungFailed, match="found NaN"):
        fit_logistic(features, labels, cost_bps=10)


def test_a_fold_has_calibrated_confidence_and_its_own_threshold():
    test_features, _ = market(500, 3)
    fold = run_logistic(market(2000, 1), market(1200, 2), test_features, cost_bps=10)
    assert fold.calibrator.kind == "isotonic"
    assert np.array_equal(
        fold.columns["confidence"], fold.calibrator.apply(fold.columns["confidence_raw"])
    )
    assert (np.abs(fold.columns["action"]) > fold.threshold).mean() == pytest.approx(0.1, abs=0.05)
    assert len(fold.columns["regime_3"]) == 500


def test_a_fold_without_calibration_samples_fails_with_a_reason():
    features, labels = market(400, 1)
    nothing = features[:0], RungLabels(np.zeros(0), *(np.zeros(0, int),) * 2, np.zeros(0))
    with pytest.raises(RungFailed, match="no calibration samples"):
        run_logistic((features, labels), nothing, features, cost_bps=1)
