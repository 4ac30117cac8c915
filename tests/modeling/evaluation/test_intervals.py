"""Block bootstrap: reproducible, paired, wide enough for dependent rows."""

import numpy as np
import pytest

from modeling.evaluation.intervals import (
    Resampling,
    auc_interval,
    draw_values,
    interval,
    interval_of,
    mean_block_length,
    verdict_word,
)
from modeling.evaluation.metrics import rank_ic, weighted_mean


def overlapping_returns(rows, horizon, seed):
    steps = np.random.default_rng(seed).standard_normal(rows + horizon) / 100
    path = np.concatenate([[0.0], np.cumsum(steps)])
    return path[horizon : horizon + rows] - path[:rows]


def test_every_draw_has_as_many_rows_as_the_series():
    counts = np.concatenate(list(Resampling(50, 5, 20, 1).weights()))
    assert counts.shape == (20, 50)
    assert set(counts.sum(axis=1)) == {50.0}


def test_same_seed_same_draws_and_another_seed_others():
    first, again, other = (
        np.concatenate(list(Resampling(300, 12, 30, seed).weights())) for seed in (4, 4, 5)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_draws_follow_the_library_block_by_block():
    from arch.bootstrap import StationaryBootstrap

    expected = [
        np.bincount(drawn, minlength=80)
        for (drawn,), _ in StationaryBootstrap(8.0, np.arange(80), seed=9).bootstrap(5)
    ]
    assert np.array_equal(np.concatenate(list(Resampling(80, 8, 5, 9).weights())), expected)


def test_rows_of_one_time_share_their_draw():
    positions = np.array([0, 1, 2, 0, 1, 2])
    counts = np.concatenate(list(Resampling(3, 1, 10, 0, positions).weights()))
    assert np.array_equal(counts[:, :3], counts[:, 3:])


def test_the_mean_of_independent_rows_gets_the_textbook_interval():
    values = np.random.default_rng(3).standard_normal(2000)
    low, high = interval(lambda w: weighted_mean(values, w), Resampling(2000, 1, 600, 0))
    error = values.std() / np.sqrt(2000)
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_blocks_widen_the_interval_of_overlapping_labels():
    gain = overlapping_returns(2500, 12, seed=8)
    single, blocks = (
        interval(lambda w: weighted_mean(gain, w), Resampling(2500, length, 300, 0))
        for length in (1, 60)
    )
    assert blocks[1] - blocks[0] > 2 * (single[1] - single[0])


def test_a_paired_difference_of_twins_is_exactly_zero():
    gain = overlapping_returns(400, 5, seed=1)
    score = gain + np.random.default_rng(0).standard_normal(400)
    metric = lambda w: rank_ic(score, gain, w)  # noqa: E731
    drawn = draw_values({"ours": metric, "theirs": metric}, Resampling(400, 10, 100, 0))
    assert interval_of(drawn["ours"] - drawn["theirs"]) == (0.0, 0.0)


def test_metrics_of_one_call_share_their_draws():
    values = np.random.default_rng(0).standard_normal(200)
    mean = lambda w: weighted_mean(values, w)  # noqa: E731
    found = draw_values({"a": mean, "b": mean}, Resampling(200, 5, 50, 0))
    assert np.array_equal(found["a"], found["b"])


def test_whoever_waits_is_told_the_share_of_draws_and_may_stop_them():
    values, told = np.ones(60_000), []

    def stop_at_half(share):
        told.append(share)
        if share >= 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        mean = lambda w: weighted_mean(values, w)  # noqa: E731
        draw_values({"mean": mean}, Resampling(60_000, 300, 8, 0), between=stop_at_half)
    assert told == [0.25, 0.5]


def test_a_metric_undefined_in_most_draws_has_no_interval():
    rare = np.zeros(100)
    rare[0] = 1.0
    undefined = lambda w: np.where(w @ rare > 0, 1.0, np.nan)  # noqa: E731
    assert interval(undefined, Resampling(100, 1, 100, 0)) is None


def test_block_length_is_at_least_the_horizon_and_at_most_a_quarter():
    noise = np.random.default_rng(0).standard_normal(2000)
    assert mean_block_length(noise, 48) == 48
    assert mean_block_length(noise[:100], 48) == 25
    assert mean_block_length(np.ones(50), 12) == 12


def test_long_bar_series_never_get_blocks_below_288_bars():
    noise = np.random.default_rng(0).standard_normal(2880)
    assert mean_block_length(noise, 12) == 288


@pytest.mark.parametrize(
    ("difference", "word"),
    [((0.01, 0.2), "beats"), ((-0.2, -0.1), "loses"), ((-0.1, 0.1), "ties"), (None, "undecided")],
)
def test_verdict_words(difference, word):
    assert verdict_word(difference) == word


def test_auc_interval_lies_above_half_for_a_signal_and_holds_half_for_noise():
    gain = overlapping_returns(6000, 12, seed=4)
    noise = np.random.default_rng(1).standard_normal(6000)
    signal = gain / gain.std() + 2 * noise
    value, (low, high) = auc_interval(signal, gain, horizon_bars=12, draws=200, seed=0)
    assert low > 0.5
    assert low < value < high
    _, (low, high) = auc_interval(noise, gain, horizon_bars=12, draws=200, seed=0)
    assert low < 0.5 < high
