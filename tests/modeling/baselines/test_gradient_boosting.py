"""The boosting rung: close to another library, repeats itself, stops when told to."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from modeling.baselines import rungs
from modeling.baselines.gradient_boosting import fit_gradient_boosting, run_gradient_boosting
from modeling.baselines.rungs import RungFailed, RungLabels
from modeling.evaluation.metrics import direction_auc, log_r2

HEADS = ("action", "regime", "risk", "volatility", "confidence_raw")


def market(rows, seed):
    """The product of two features moves the return, which no linear model can see; the third moves
    volatility and the classes."""
    rng = np.random.default_rng(seed)
    features, noise = rng.normal(size=(rows, 5)), rng.normal(size=(rows, 3))
    labels = RungLabels(
        realised_return=(features[:, 0] * features[:, 1] + noise[:, 0]) / 100,
        regime=np.digitize(features[:, 2] + noise[:, 1], [-1, 0, 1]),
        risk=np.digitize(features[:, 2] + noise[:, 1], [-0.5, 0.5]),
        log_volatility=-6 + 0.5 * features[:, 2] ** 2 + 0.3 * noise[:, 2],
    )
    return features, labels


def fitted(rows=4000, **changes):
    options = {"cost_bps": 10, "seed": 7} | changes
    return fit_gradient_boosting(market(rows, 1), market(1500, 2), **options)


def same(first, second, features):
    pair = first.predict(features), second.predict(features)
    return all(np.array_equal(*(getattr(found, name) for found in pair)) for name in HEADS)


def test_direction_is_found_about_as_well_as_by_another_library():
    features, labels = market(3000, 3)
    found = fitted(6000).predict(features)
    known, seen = market(6000, 1)
    other = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=31, min_samples_leaf=200, random_state=0
    ).fit(known, seen.realised_return > 0)
    ours = float(direction_auc(found.action, labels.realised_return))
    theirs = float(direction_auc(other.predict_proba(features)[:, 1], labels.realised_return))
    assert ours > 0.7 and ours == pytest.approx(theirs, abs=0.02)
    assert float(log_r2(found.volatility, np.exp(labels.log_volatility))) > 0.5
    assert (found.regime.argmax(axis=1) == labels.regime).mean() > 0.4


def test_probabilities_sum_to_one_and_actions_stay_inside_their_range():
    found = fitted().predict(market(500, 3)[0] * 100)
    assert found.regime.sum(axis=1) == pytest.approx(np.ones(500))
    assert found.risk.sum(axis=1) == pytest.approx(np.ones(500))
    assert np.abs(found.action).max() <= 1


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    features = market(300, 3)[0]
    assert same(fitted(), fitted(), features)
    assert not same(fitted(), fitted(seed=8), features)


def test_the_test_block_is_not_seen():
    features, labels = market(400, 3)
    slices = market(3000, 1), market(1500, 2), market(1200, 4)
    first, other = (
        run_gradient_boosting(*slices, rows, cost_bps=10, seed=7)
        for rows in (features, np.vstack((features[:200], features[200:] * 50)))
    )
    assert first.threshold == other.threshold
    assert all(
        np.array_equal(values[:200], other.columns[name][:200])
        for name, values in first.columns.items()
    )


def test_a_head_stops_where_the_validation_slice_is_best():
    features, labels = market(4000, 1)
    unrelated = RungLabels(
        np.random.default_rng(5).permutation(labels.realised_return),
        labels.regime,
        labels.risk,
        labels.log_volatility,
    )
    model = fit_gradient_boosting((features, unrelated), market(1500, 2), cost_bps=10, seed=7)
    assert model.direction.best_iteration < 20 < model.volatility.best_iteration


def test_many_rows_are_thinned_and_said_so(monkeypatch):
    monkeypatch.setattr(rungs, "MAX_TRAINING_ROWS", 2000)
    assert fitted().notes == ("Fitted on 1 of every 2 of 4000 samples.",)


def test_what_is_called_between_rounds_ends_the_growing():
    rounds = []

    def between():
        rounds.append(None)
        if len(rounds) == 12:
            raise RungFailed("the time is over")

    with pytest.raises(RungFailed, match="the time is over"):
        fitted(between=between)
    assert len(rounds) == 12


def without_value(rows):
    rows[0][3, 2] = np.nan
    return rows


def rising(rows):
    _, labels = rows
    gains = np.abs(labels.realised_return)
    return rows[0], RungLabels(gains, labels.regime, labels.risk, labels.log_volatility)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (market(199, 1), "found 199 training rows"),
        (without_value(market(400, 1)), "found NaN"),
        (rising(market(400, 1)), "training rows of one direction only"),
    ],
)
def test_what_cannot_be_fitted_fails_with_a_reason(rows, reason):
    with pytest.raises(RungFailed, match=reason):
        fit_gradient_boosting(rows, market(300, 2), cost_bps=10, seed=7)


def test_a_fold_has_calibrated_confidence_and_its_own_threshold():
    slices = market(3000, 1), market(1000, 2), market(1200, 4)
    fold = run_gradient_boosting(*slices, market(500, 3)[0], cost_bps=10, seed=7)
    raw = fold.columns["confidence_raw"]
    assert fold.calibrator.kind == "isotonic"
    assert np.array_equal(fold.columns["confidence"], fold.calibrator.apply(raw))
    assert (np.abs(fold.columns["action"]) > fold.threshold).mean() == pytest.approx(0.1, abs=0.05)
