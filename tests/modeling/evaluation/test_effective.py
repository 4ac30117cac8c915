"""Effective samples of overlapping labels, and the band of no skill."""

import numpy as np
import pytest

from modeling.evaluation.effective import effective_samples, label_uniqueness, no_skill_band
from tests.oracles import metrics as plain


def test_labels_that_do_not_overlap_count_in_full():
    first = np.array([0, 5, 10])
    assert effective_samples(first, first + 4) == pytest.approx(3.0)


def test_two_labels_that_share_half_their_bars_by_hand():
    uniqueness = label_uniqueness(np.array([0, 1]), np.array([1, 2]))
    assert uniqueness.tolist() == [0.75, 0.75]


def test_labels_of_twelve_bars_are_worth_about_a_twelfth():
    first = np.arange(1200)
    assert effective_samples(first, first + 11) == pytest.approx(100, rel=0.02)


def test_uniqueness_agrees_with_counting_bar_by_bar():
    rng = np.random.default_rng(2)
    first = np.sort(rng.integers(50, 150, 60))
    last = first + rng.integers(0, 15, 60)
    assert label_uniqueness(first, last) == pytest.approx(plain.label_uniqueness(first, last))


def test_a_label_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="ends before"):
        label_uniqueness(np.array([3]), np.array([2]))


def test_no_labels_are_worth_nothing():
    assert effective_samples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)) == 0.0


def test_no_skill_band_is_three_standard_errors_wide():
    assert no_skill_band(100.0) == pytest.approx((0.35, 0.65))
    assert no_skill_band(0.0) is None
