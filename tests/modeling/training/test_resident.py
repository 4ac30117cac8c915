from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pytest
import torch

from modeling.network.size import coarse_bars
from modeling.training.resident import (
    ResidentWindows,
    ScaledBars,
    standardised,
    window_log_volatility,
)
from tests.modeling.training.markets import CONTEXT, FEATURES, bars_of_noise


def windows(
    bars: ScaledBars, *, context_bars: int = CONTEXT, patch_bars: int = 4
) -> ResidentWindows:
    return ResidentWindows(bars, context_bars=context_bars, patch_bars=patch_bars)


def test_window_is_the_bars_up_to_its_own() -> None:
    bars = bars_of_noise()
    at = np.array([50, 300, 399])
    batch = windows(bars).batch(torch.from_numpy(at))
    for row, t in enumerate(at):
        expected = bars.scaled[1][t - CONTEXT + 1 : t + 1]
        assert np.array_equal(batch.base[row].numpy(), expected)
        assert batch.log_volatility_z[row] == bars.log_volatility_z[t]


@pytest.mark.parametrize("k", [3, 6])
def test_coarse_window_holds_the_last_closed_bars_inside_the_window(k: int) -> None:
    bars = bars_of_noise()
    at = np.arange(60, 72)
    batch = windows(bars).batch(torch.from_numpy(at))
    length = coarse_bars(CONTEXT, k)
    for row, t in enumerate(at):
        last = (t + 1) // k - 1
        assert np.array_equal(
            batch.coarse[k][row].numpy(), bars.scaled[k][last - length + 1 : last + 1]
        )
        closes_at = last * k + k - 1
        assert int(batch.phase[k][row]) == t - closes_at
        first_base_bar = (last - length + 1) * k
        assert first_base_bar > t - CONTEXT


@pytest.mark.parametrize("patch_bars", [1, 4, 7])
def test_tokens_carry_the_clock_of_their_last_close(patch_bars: int) -> None:
    bars = bars_of_noise()
    batch = windows(bars, patch_bars=patch_bars).batch(torch.tensor([320]))
    tokens = -(-CONTEXT // patch_bars)
    for token in range(tokens):
        t = 320 - (tokens - 1 - token) * patch_bars
        close = datetime.datetime.fromtimestamp(
            bars.close_time_ns[t] // 10**9, tz=datetime.timezone.utc
        )
        assert int(batch.slot[0, token]) == (close.hour * 60 + close.minute) // 5
        assert int(batch.weekday[0, token]) == close.weekday()


def test_close_at_midnight_belongs_to_the_day_that_begins() -> None:
    batch = windows(bars_of_noise()).batch(torch.tensor([287]))
    assert (int(batch.slot[0, -1]), int(batch.weekday[0, -1])) == (0, 1)


def test_later_bars_change_no_window() -> None:
    bars, t = bars_of_noise(), 200
    before = windows(bars).batch(torch.tensor([t]))
    altered = dataclasses.replace(
        bars,
        scaled={
            k: np.where((np.arange(len(rows)) * k + k - 1 > t)[:, None], np.float32(99), rows)
            for k, rows in bars.scaled.items()
        },
    )
    after = windows(altered).batch(torch.tensor([t]))
    assert torch.equal(after.base, before.base)
    assert all(torch.equal(after.coarse[k], before.coarse[k]) for k in before.coarse)


def test_resident_data_is_little_more_than_the_raw_arrays() -> None:
    bars = bars_of_noise(3000, features=40)
    raw = sum(rows.nbytes for rows in bars.scaled.values())
    assert windows(bars).resident_bytes <= 1.1 * raw


@pytest.mark.parametrize("t", [30, 400])
def test_window_that_leaves_the_arrays_is_refused(t: int) -> None:
    with pytest.raises(ValueError, match="leaves the 400 bars"):
        windows(bars_of_noise()).require(np.array([100, t]))


def test_window_before_the_first_coarse_bars_is_refused() -> None:
    bars = bars_of_noise()
    bars.last_closed[6][:] -= 3
    with pytest.raises(ValueError, match="scale 6"):
        windows(bars).require(np.array([CONTEXT - 1]))


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        windows(bars_of_noise()).require(np.array([], dtype=np.int64))


def test_window_volatility_is_the_root_mean_square_of_its_returns() -> None:
    returns = np.array([np.nan, 0.01, -0.02, 0.02, 0.0, 0.0, 0.0])
    found = window_log_volatility(returns, 3)
    assert np.isnan(found[:2]).all()
    assert found[3] == pytest.approx(np.log(np.sqrt((0.01**2 + 0.02**2 + 0.02**2) / 3)))
    assert found[6] == pytest.approx(np.log(1e-6), abs=1e-3)


def test_window_volatility_knows_no_later_bar() -> None:
    returns = np.random.default_rng(0).standard_normal(500) * 0.002
    altered = returns.copy()
    altered[300:] = 0.5
    assert np.array_equal(
        window_log_volatility(returns, 64)[:300],
        window_log_volatility(altered, 64)[:300],
        equal_nan=True,
    )


def test_standardising_uses_the_fit_bars_only() -> None:
    values = np.array([np.nan, 1.0, 3.0, 100.0])
    assert standardised(values, np.array([1, 2])).tolist() == [0.0, -1.0, 1.0, 98.0]


def test_features_are_counted() -> None:
    assert windows(bars_of_noise()).features == FEATURES
