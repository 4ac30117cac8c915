"""The threshold of a mean over seeds comes from the mean of its parts' calibration actions."""

import numpy as np
import pytest

from modeling.evaluation.calibration import auto_threshold
from modeling.evaluation.thresholds import CalibrationActions, mean_actions, read_actions

BAR = 300_000_000_000
BARS = np.arange(1000) * BAR


def actions(seed, *rungs):
    rng = np.random.default_rng(seed)
    return CalibrationActions(BARS, {rung: np.tanh(rng.normal(0, 1, 1000)) for rung in rungs})


def test_the_threshold_of_a_mean_is_that_of_the_mean_action():
    seeds = [actions(seed, "model") for seed in (1, 2, 3)]
    found = mean_actions(seeds).thresholds()["model"]
    by_hand = np.mean([seed.of["model"] for seed in seeds], axis=0)
    assert found == auto_threshold(by_hand)
    # Means are smaller in size: at the mean of the parts' thresholds far fewer bars would pass.
    parts = np.mean([seed.thresholds()["model"] for seed in seeds])
    passed = [np.mean(np.abs(by_hand) >= line) for line in (found, parts)]
    assert passed[0] == pytest.approx(0.10, abs=0.001) and passed[1] < 0.05


def test_the_mean_of_one_seed_has_its_own_threshold():
    one = actions(1, "model", "logistic")
    assert mean_actions([one]).thresholds() == one.thresholds()


def test_a_rung_that_one_seed_lacks_has_no_threshold():
    found = mean_actions([actions(1, "model", "dlinear"), actions(2, "model")])
    assert set(found.thresholds()) == {"model"}


def test_seeds_of_other_bars_are_refused():
    other = CalibrationActions(BARS[1:], {"model": np.zeros(999)})
    with pytest.raises(ValueError, match="1000 and 999 bars"):
        mean_actions([actions(1, "model"), other])


def test_what_was_written_is_read_back_bit_for_bit(tmp_path):
    one = actions(4, "model", "last_sign")
    one.write(tmp_path / "calibration.parquet")
    again = read_actions(tmp_path / "calibration.parquet")
    np.testing.assert_array_equal(again.open_at, one.open_at)
    assert list(again.of) == ["model", "last_sign"]
    for rung, values in one.of.items():
        np.testing.assert_array_equal(again.of[rung], values)
