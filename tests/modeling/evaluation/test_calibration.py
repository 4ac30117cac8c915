"""Confidence calibration: isotonic, Platt, constant; stored as JSON, applied without scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from modeling.evaluation.calibration import (
    Calibrator,
    auto_threshold,
    fit_calibrator,
    is_calibrated,
)
from modeling.evaluation.metrics import calibration_error


def overconfident(rows, seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.2, 0.8, rows)
    raw = np.clip((truth - 0.5) * 1.6 + 0.5, 0.01, 0.99)
    return raw, rng.uniform(size=rows) < truth


def test_isotonic_equals_scikit_learn_on_new_values():
    raw, outcome = overconfident(1500, 1)
    new = np.linspace(0, 1, 333)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw, outcome)
    calibrator = fit_calibrator(raw, outcome)
    assert calibrator.kind == "isotonic"
    assert calibrator.apply(new) == pytest.approx(model.predict(new))


@pytest.mark.parametrize("rows", [600, 4000])
def test_calibration_brings_the_error_down_on_unseen_rows(rows):
    calibrator = fit_calibrator(*overconfident(rows, 1))
    raw, outcome = overconfident(4000, 2)
    before = float(calibration_error(raw, outcome))
    assert float(calibration_error(calibrator.apply(raw), outcome)) < before / 2


def test_below_a_thousand_samples_platt_is_taken_and_recovers_a_known_curve():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 999)
    outcome = rng.uniform(size=999) < 1 / (1 + np.exp(-(0.5 * logit - 0.3)))
    calibrator = fit_calibrator(1 / (1 + np.exp(-logit)), outcome)
    assert calibrator.kind == "platt"
    assert calibrator.outputs == pytest.approx((0.5, -0.3), abs=0.2)


@pytest.mark.parametrize("rows", [900, 1200])
def test_json_gives_the_same_calibrator_back(rows):
    calibrator = fit_calibrator(*overconfident(rows, 3))
    again = Calibrator.from_json(json.loads(json.dumps(calibrator.to_json())))
    assert again == calibrator


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="isotonic, platt or constant"):
        Calibrator.from_json({"kind": "pickle", "inputs": [], "outputs": []})


def test_one_class_gives_a_constant_inside_the_open_interval():
    calibrator = fit_calibrator(np.linspace(0, 1, 8), np.zeros(8, dtype=bool))
    assert calibrator.apply(np.array([0.0, 1.0])).tolist() == [0.1, 0.1]


def test_a_confidence_that_points_the_wrong_way_becomes_the_base_rate():
    raw, outcome = overconfident(800, 4)
    calibrator = fit_calibrator(1 - raw, outcome)
    assert calibrator.apply(raw[:3]) == pytest.approx([outcome.mean()] * 3)


def test_calibrated_confidence_never_falls_when_the_raw_one_rises():
    for rows in (500, 2000):
        curve = fit_calibrator(*overconfident(rows, 5)).apply(np.linspace(0, 1, 500))
        assert (np.diff(curve) >= 0).all()
        assert ((curve >= 0) & (curve <= 1)).all()


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="no calibration samples"):
        fit_calibrator(np.zeros(0), np.zeros(0, dtype=bool))


def test_auto_threshold_is_the_ninetieth_percentile_of_the_score_size():
    assert auto_threshold(np.array([0.0, -1.0, 0.5, -0.5, 0.25])) == pytest.approx(0.8)


def test_calibrated_needs_a_small_error_and_skill():
    assert is_calibrated(0.05, 0.001)
    assert not is_calibrated(0.051, 0.1)
    assert not is_calibrated(0.01, 0.0)
    assert not is_calibrated(None, 0.1)
