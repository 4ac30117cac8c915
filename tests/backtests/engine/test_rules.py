"""The rule strategies against plain loops, and what they do before their history is long enough."""

import numpy as np
import pytest

from backtests.engine import rules
from tests.oracles import rules as plain


def closes_of(bars, seed=0, step=0.01):
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, step, bars)))


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("name", ["ma_cross", "macd", "rsi"])
def test_rules_agree_with_plain_loops(name, short):
    close = closes_of(3000)
    found = rules.RULES[name](close, short=short)
    expected = getattr(plain, name)(close.tolist(), short=short)
    assert found.tolist() == expected
    assert {0.0, 1.0} <= set(found.tolist()) and (-1.0 in found) is short


@pytest.mark.parametrize(("name", "warm_up"), [("ma_cross", 99), ("macd", 33), ("rsi", 14)])
def test_rules_hold_nothing_before_their_history_is_long_enough(name, warm_up):
    close = np.linspace(200, 100, 300)
    found = rules.RULES[name](close, short=True)
    assert not found[:warm_up].any()
    assert found[warm_up] == -1.0
    assert not rules.RULES[name](close[:5]).any()


@pytest.mark.parametrize("name", list(rules.RULES))
def test_rules_use_nothing_after_the_bar(name):
    close = closes_of(600)
    altered = close.copy()
    altered[400:] *= 3.0
    rule = rules.RULES[name]
    assert np.array_equal(rule(close)[:400], rule(altered)[:400])
    assert np.array_equal(rule(close)[:400], rule(close[:400]))


def test_a_moving_average_cross_by_hand():
    close = np.array([1.0, 2.0, 3.0, 2.0, 1.0, 1.0])
    # Means of the last two: 1.5, 2.5, 2.5, 1.5, 1; of the last three: 2, 7/3, 2, 4/3.
    assert rules.ma_cross(close, fast=2, slow=3).tolist() == [0, 0, 1, 1, 0, 0]
    assert rules.ma_cross(close, fast=2, slow=3, short=True).tolist() == [0, 0, 1, 1, -1, -1]


def test_a_relative_strength_between_the_levels_keeps_what_was_held():
    rising, easing = np.arange(100.0, 130.0), np.array([129.0, 128.0, 129.0, 128.5])
    held = rules.rsi(np.concatenate((rising, easing)))
    assert held[14:].tolist() == [1.0] * (len(held) - 14)
    assert rules.rsi(np.concatenate((rising, np.arange(130.0, 80.0, -2.0))))[-1] == 0.0


def test_flat_holds_nothing_and_buy_and_hold_holds_always():
    assert rules.flat(4).tolist() == [0, 0, 0, 0]
    assert rules.buy_and_hold(4).tolist() == [1, 1, 1, 1]
