"""The two rungs without a fit."""

import numpy as np
import pytest

from modeling.baselines.persistence import persistence_volatility
from modeling.baselines.prior import prior_columns
from modeling.baselines.rungs import trade_pays


def test_persistence_is_the_root_mean_square_of_the_last_bars():
    returns = np.array([np.nan, 0.03, 0.04, 0.0])
    found = persistence_volatility(returns, np.array([2, 3]), 2)
    assert found == pytest.approx([np.sqrt(0.00125), np.sqrt(0.0008)])


def test_persistence_is_nan_without_enough_history():
    returns = np.array([np.nan, 0.03, 0.04, 0.0])
    assert np.isnan(persistence_volatility(returns, np.array([0, 1]), 2)).all()
    assert np.isnan(persistence_volatility(returns, np.array([0]), 9)).all()


def test_persistence_of_a_flat_market_is_floored():
    assert persistence_volatility(np.zeros(20), np.array([19]), 12).tolist() == [1e-5]


def test_persistence_uses_nothing_after_the_bar():
    returns = np.random.default_rng(0).normal(size=60) / 100
    bars = np.arange(11, 40)
    altered = returns.copy()
    altered[40:] = 9.0
    assert np.array_equal(
        persistence_volatility(returns, bars, 12), persistence_volatility(altered, bars, 12)
    )


def test_prior_columns_repeat_the_frequencies_and_claim_no_action():
    columns = prior_columns((0.1, 0.2, 0.3, 0.4), (0.5, 0.3, 0.2), 0.25, 2)
    assert columns["regime_3"].tolist() == [0.4, 0.4]
    assert columns["confidence"].tolist() == [0.25, 0.25]
    assert "action" not in columns and "volatility" not in columns


def test_a_trade_pays_only_above_its_costs_and_never_without_a_side():
    action, gain = np.array([1.0, -1.0, 1.0, 0.0]), np.array([0.002, -0.002, 0.001, 0.5])
    assert trade_pays(action, gain, 10.0).tolist() == [True, True, False, False]
