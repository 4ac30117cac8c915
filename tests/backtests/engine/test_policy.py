import numpy as np
import pytest

from backtests.engine.policy import targets_from_predictions
from backtests.specs import PolicySpec

NONE = np.nan


def targets(action, *, confidence=None, threshold=0.5, kind="perpetual", horizon=1, **policy):
    spec = PolicySpec.parse(policy)
    return targets_from_predictions(
        action, confidence, threshold, spec, horizon_bars=horizon, kind=kind
    ).tolist()


def test_a_score_at_the_threshold_sets_a_side():
    assert targets([0.5, 0.49, -0.5, -0.49]) == [1, 0, -1, 0]


def test_a_side_stands_for_the_horizon_and_is_then_judged_anew():
    assert targets([0.6, 0, -0.9, 0, 0.6], horizon=3) == [1, 1, 1, 0, 1]


def test_a_confirmed_side_begins_another_hold():
    assert targets([0.6, 0, 0.6, 0, 0], horizon=2) == [1, 1, 1, 1, 0]


def test_the_other_side_is_taken_when_the_hold_is_over():
    assert targets([0.6, -0.9, -0.9, 0], horizon=2) == [1, 1, -1, -1]


def test_hold_zero_judges_every_bar_and_keeps_a_side_down_to_the_exit_threshold():
    scores = [0.6, 0.3, 0.19, 0.3, -0.6, -0.3]
    assert targets(scores, hold_bars=0, exit_threshold=0.2) == [1, 1, 0, 0, -1, -1]


def test_a_missing_prediction_gives_flat_and_ends_the_hold():
    assert targets([0.6, NONE, 0, 0.6], horizon=4) == [1, 0, 0, 1]


def test_a_bar_without_a_threshold_counts_as_unpredicted():
    assert targets([0.6, 0.6], threshold=[0.5, NONE], horizon=4) == [1, 0]


def test_each_bar_is_judged_by_the_threshold_of_its_own_fold():
    assert targets([0.4, 0.4], threshold=[0.3, 0.5]) == [1, 0]


def test_a_threshold_of_the_policy_wins_over_the_automatic_one():
    spec = PolicySpec(threshold=0.35)
    given = targets_from_predictions([0.4], None, 0.9, spec, horizon_bars=1, kind="spot")
    assert given.tolist() == [1]


@pytest.mark.parametrize(
    ("kind", "side", "expected"),
    [
        ("spot", "auto", [1, 0]),
        ("perpetual", "auto", [1, -1]),
        ("spot", "long_short", [1, -1]),
        ("perpetual", "short_only", [0, -1]),
        ("perpetual", "long_only", [1, 0]),
    ],
)
def test_the_side_removes_what_it_forbids(kind, side, expected):
    assert targets([0.6, -0.6], kind=kind, side=side) == expected


def test_a_forbidden_side_is_not_held():
    assert targets([-0.6, 0.6], kind="spot", horizon=5) == [0, 1]


def test_a_new_side_needs_the_minimum_confidence_and_a_kept_one_does_not():
    sure = [0.5, 0.7, 0.1, NONE]
    scores = [0.6, 0.6, 0.6, -0.6]
    assert targets(scores, confidence=sure, minimum_confidence=0.6) == [0, 1, 1, 0]


def test_without_a_minimum_a_missing_confidence_stops_nothing():
    assert targets([0.6], confidence=[NONE]) == [1]


def test_a_later_score_changes_no_earlier_target():
    scores = np.random.default_rng(3).uniform(-1, 1, 300)
    changed = np.concatenate([scores[:200], -scores[200:]])
    assert targets(scores, horizon=7)[:200] == targets(changed, horizon=7)[:200]
