import json

import numpy as np
import pytest

from backtests.robustness.bootstrap import block_length, mean_interval, resampled, sharpe_interval
from backtests.robustness.verdict import equity_verdict

DAYS = 200


@pytest.fixture
def market():
    return np.random.default_rng(21).normal(0, 0.02, DAYS)


def against(found, rung):
    return next(item for item in found.comparisons if item.rung == rung)


def verdict(ours, rungs, *, closed_trades=100, seed=1):
    return equity_verdict(ours, rungs, closed_trades=closed_trades, draws=300, seed=seed)


def noise(seed, scale=0.001):
    return np.random.default_rng(seed).normal(0, scale, DAYS)


def test_a_steady_lead_over_every_rung_beats(market):
    found = verdict(market + 0.002 + noise(1), {"buy_and_hold": market, "logistic": market - 0.001})
    assert found.word == "beats"
    assert found.best_rung == "buy_and_hold"
    assert "best of 2 rungs" in found.sentence


def test_a_steady_lag_loses(market):
    found = verdict(market - 0.002 + noise(1), {"buy_and_hold": market})
    assert found.word == "loses"
    assert found.sentence.startswith("Loses to buy and hold")


def test_chance_is_worded_not_better_than(market):
    found = verdict(noise(2, 0.02), {"buy_and_hold": market})
    assert found.word == "ties"
    assert found.sentence.startswith("Not better than buy and hold")


def test_the_worse_of_best_rung_and_buy_and_hold_is_printed(market):
    falling = market - 0.01
    found = verdict(
        market + noise(3, 0.02), {"buy_and_hold": falling, "logistic": market + noise(4, 0.02)}
    )
    assert against(found, "buy_and_hold").word == "beats"
    assert found.deciding.rung == found.best_rung == "logistic"
    assert found.word == found.deciding.word == "ties"


def test_buy_and_hold_counts_although_another_rung_is_best(market):
    calm = np.full(DAYS, 0.001)
    wild = (market - market.mean()) * 2
    found = verdict(calm + 0.001, {"buy_and_hold": wild, "logistic": calm})
    assert found.best_rung == "logistic"
    assert against(found, "logistic").word == "beats"
    assert found.deciding == against(found, "buy_and_hold")
    assert found.word == found.deciding.word == "ties"
    assert "(the benchmark)" in found.sentence


def test_the_same_account_ties_with_itself(market):
    found = verdict(market, {"buy_and_hold": market})
    assert found.word == "ties"
    assert (found.deciding.low, found.deciding.high) == (0, 0)


@pytest.mark.parametrize(("days", "trades"), [(29, 100), (200, 29)])
def test_a_short_track_or_few_trades_leave_it_undecided(market, days, trades):
    ours, rung = market[:days] + 0.01, market[:days]
    found = verdict(ours, {"buy_and_hold": rung}, closed_trades=trades)
    assert found.word == "undecided"
    assert str(trades) in found.sentence


def test_thirty_days_and_thirty_trades_are_enough(market):
    found = verdict(market[:30] + 0.01, {"buy_and_hold": market[:30]}, closed_trades=30)
    assert found.word == "beats"


def test_the_interval_is_paired_not_that_of_the_market(market):
    found = verdict(market + noise(5), {"buy_and_hold": market}).deciding
    assert found.low is not None and found.high is not None
    assert found.high - found.low < 0.0006
    assert found.low < found.difference < found.high


def test_an_equal_seed_gives_an_equal_verdict(market):
    rungs = {"buy_and_hold": market}
    assert verdict(noise(7, 0.02), rungs) == verdict(noise(7, 0.02), rungs)
    other = verdict(noise(7, 0.02), rungs, seed=2)
    assert other.deciding.low != verdict(noise(7, 0.02), rungs).deciding.low


def test_a_verdict_is_plain_json(market):
    text = json.dumps(verdict(market, {"buy_and_hold": market}).to_json(), allow_nan=False)
    assert json.loads(text)["rungs"] == 1


@pytest.mark.parametrize(
    ("rungs", "message"),
    [
        ({}, "expected the rung buy_and_hold"),
        ({"buy_and_hold": np.zeros(3)}, "daily returns"),
        ({"buy_and_hold": np.full(DAYS, np.nan)}, "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(market, rungs, message):
    with pytest.raises(ValueError, match=message):
        verdict(market, rungs)


def test_one_draw_of_days_serves_all_columns(market):
    drawn = resampled(np.column_stack([market, -market]), 5.0, draws=20, seed=3)
    assert drawn.shape == (20, DAYS, 2)
    assert (drawn[..., 0] == -drawn[..., 1]).all()


def test_blocks_keep_neighbouring_days_together():
    drawn = resampled(np.arange(DAYS, dtype=float), 20.0, draws=50, seed=3)
    follows = (np.diff(drawn, axis=1) == 1).mean()
    assert 0.92 < follows < 0.97


def test_the_block_length_stays_between_one_and_a_quarter_of_the_track(market):
    trending = np.cumsum(market)
    assert 1 <= block_length(market) < 10 < block_length(trending) <= DAYS / 4
    assert block_length(trending[:12]) == 3
    assert block_length(np.zeros(DAYS)) == 1


def test_the_sharpe_interval_holds_the_sharpe_and_has_the_known_width(market):
    interval = sharpe_interval(market, seed=1)
    ratio = market.mean() / market.std(ddof=1) * np.sqrt(365)
    assert interval is not None
    assert interval.low < ratio < interval.high
    expected = 2 * 1.96 * np.sqrt(365 / (DAYS - 1))
    assert interval.high - interval.low == pytest.approx(expected, rel=0.3)


def test_a_short_or_still_track_has_no_interval(market):
    assert sharpe_interval(market[:29], seed=1) is None
    assert sharpe_interval(np.zeros(100), seed=1) is None
    assert mean_interval(market[:29], seed=1) is None


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        drawn = mean_interval(np.random.default_rng(seed).normal(0, 1, 120), draws=200, seed=seed)
        assert drawn is not None
        covered += drawn.low < 0 < drawn.high
    assert covered >= 50
