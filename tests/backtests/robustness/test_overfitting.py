import numpy as np
import pytest

from backtests.robustness.overfitting import overfitting_probability
from tests.oracles.overfitting import plain_overfitting


def noise(seed, days=1000, columns=50):
    return np.random.default_rng(seed).normal(0, 0.01, (days, columns))


def test_noise_panels_give_about_one_half_on_average():
    found = [overfitting_probability(noise(seed), 10).value for seed in range(20)]
    assert 0.35 <= np.mean(found) <= 0.65


def test_a_column_of_skill_is_chosen_rightly_on_average():
    found = []
    for seed in range(20):
        panel = noise(seed)
        panel[:, 17] += 0.2 * 0.01
        found.append(overfitting_probability(panel, 10).value)
    assert np.mean(found) < 0.05


@pytest.mark.parametrize(("days", "columns", "blocks"), [(83, 2, 8), (97, 5, 8), (160, 4, 10)])
def test_block_sums_agree_with_the_plain_loop(days, columns, blocks):
    for seed in range(4):
        panel = noise(seed, days, columns)
        assert overfitting_probability(panel, blocks).value == plain_overfitting(panel, blocks)


def test_ties_and_columns_that_stand_still_agree_with_the_plain_loop():
    panel = noise(3, 96, 5)
    panel[:, 1] = panel[:, 0]
    panel[:, 2] = 0.001
    panel[:48, 3] = 0.0
    found = overfitting_probability(panel)
    assert found.value == plain_overfitting(panel, 8)
    swapped = overfitting_probability(panel[:, [2, 3, 0, 1, 4]])
    assert swapped.value == plain_overfitting(panel[:, [2, 3, 0, 1, 4]], 8)


def test_sixteen_blocks_from_160_days_on_and_eight_before():
    assert overfitting_probability(noise(0, 160, 3)).blocks == 16
    assert overfitting_probability(noise(0, 159, 3)).blocks == 8


def test_leftover_days_at_the_end_do_not_count():
    panel = noise(1, 87, 4)
    shorter = overfitting_probability(panel[:80]).value
    panel[80:] *= 100
    assert overfitting_probability(panel).value == shorter


@pytest.mark.parametrize(
    ("days", "columns", "reason"), [(79, 5, "too_few_days"), (500, 1, "too_few_trials")]
)
def test_too_little_gives_nothing_and_the_reason(days, columns, reason):
    found = overfitting_probability(noise(0, days, columns))
    assert (found.value, found.reason) == (None, reason)


def test_columns_that_all_stand_still_are_all_equal():
    # The first is chosen and nothing is worse than it: rank 1 in every half.
    assert overfitting_probability(np.zeros((100, 3))).value == 1.0


def test_returns_that_are_not_finite_are_refused():
    panel = noise(0, 100, 2)
    panel[5, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        overfitting_probability(panel)


def test_an_odd_number_of_blocks_is_refused():
    with pytest.raises(ValueError, match="even"):
        overfitting_probability(noise(0, 100, 2), 7)
