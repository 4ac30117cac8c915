"""The ladder of one fold: all rungs, the same bars, blind to the test block, reasons and limits."""

import dataclasses
import itertools

import numpy as np
import pytest

from markets.features.compute import compute_features
from modeling.baselines import ladder as ladders
from modeling.baselines.ladder import LADDER, LadderCase, budget_of, climb, unspent_s
from modeling.baselines.rungs import RungFailed, RungFold
from modeling.specs import ModelSpec
from modeling.training.fit import FoldTask
from modeling.training.resident import (
    ResidentWindows,
    ScaledBars,
    standardised,
    window_log_volatility,
)
from modeling.windows.learned import prepare_fold
from modeling.windows.make import make_windows
from tests.markets.features.market import quiet_market

SPEC = ModelSpec.parse(
    {
        "features": {"feature_set": ["rsi_14", "rv_48", "ret_1", "ret_12"], "scales": [1, 3]},
        "windows": {"context_bars": 32},
        "training": {"batch": 64, "learning_rate": 1e-3, "epochs": 2},
        "evaluation": {"scheme": "single", "embargo_bars": 0, "holdout_fraction": 0},
    }
)
HEADS = {
    "prior": {"regime", "confidence", "risk"},
    "persistence": {"volatility"},
    "last_sign": {"action"},
    "har": {"volatility"},
    "logistic": {"action", "regime", "confidence", "volatility", "risk"},
    "gradient_boosting": {"action", "regime", "confidence", "volatility", "risk"},
    "dlinear": {"action", "regime", "confidence", "volatility", "risk"},
}


def case_on(candles):
    table = compute_features(candles, SPEC.features.names(), (1, 3))
    windows = make_windows(candles, table, SPEC, holdout_at=int(candles.close_time[-1]))
    fold = prepare_fold(windows, windows.folds[0], SPEC)
    cut = fold.fold
    volatility = window_log_volatility(windows.returns, 32)
    bars = ScaledBars(
        scaled=fold.scaled,
        last_closed={3: np.array(table.scales[3].last_closed)},
        close_time_ns=candles.close_time,
        bar_ns=candles.bar_ns,
        log_volatility_z=standardised(volatility, windows.bars(cut.fit)),
    )
    task = FoldTask(
        number=cut.number,
        resident=ResidentWindows(bars, context_bars=32, patch_bars=1),
        labels=fold.labels,
        scale=fold.scale,
        fit_bars=windows.bars(cut.fit),
        validation_bars=windows.bars(cut.validation),
    )
    return LadderCase(SPEC, windows, fold, task, base_rate=0.3, seed=5)


@pytest.fixture(scope="module")
def case():
    return case_on(quiet_market(6000))


@pytest.fixture(scope="module")
def climbed(case):
    return climb(case, budget_s=120)


def test_every_rung_predicts_every_bar_of_the_test_block_with_its_heads(case, climbed):
    assert list(climbed.rungs) == list(LADDER) == list(climbed.seconds)
    assert climbed.failed == {}
    for name, found in climbed.rungs.items():
        assert {column.split("_")[0] for column in found.columns} == HEADS[name]
        for column, values in found.columns.items():
            assert values.shape == case.tested.shape and np.isfinite(values).all(), (name, column)
        assert (found.threshold is not None) is ("action" in HEADS[name])


def test_the_ladder_gives_the_same_bits_again(case, climbed):
    again = climb(case, budget_s=120)
    for name, found in climbed.rungs.items():
        assert found.threshold == again.rungs[name].threshold
        for column, values in found.columns.items():
            assert np.array_equal(values, again.rungs[name].columns[column]), (name, column)


def test_candles_of_the_test_block_change_no_fit(case, climbed):
    """The first predicted bar is the last one that is equal in both markets."""
    first = int(case.tested[0])
    candles = quiet_market(6000)
    prices = {}
    for name in ("open", "high", "low", "close"):
        prices[name] = getattr(candles, name).copy()
        prices[name][first + 1 :] *= 1.3
    other = climb(case_on(dataclasses.replace(candles, **prices)), budget_s=120)
    for name, found in climbed.rungs.items():
        assert found.threshold == other.rungs[name].threshold
        for column, values in found.columns.items():
            assert values[0] == other.rungs[name].columns[column][0], (name, column)


def only(monkeypatch, **rungs):
    monkeypatch.setattr(ladders, "LADDER", rungs)


def test_a_rung_that_cannot_be_fitted_leaves_its_reason_and_the_others_go_on(case, monkeypatch):
    def failing(case, between):
        raise RungFailed("found no rows")

    only(monkeypatch, bad=failing, good=lambda case, between: RungFold({}))
    found = climb(case, budget_s=9)
    assert (found.failed, list(found.rungs)) == ({"bad": "found no rows"}, ["good"])


def test_a_rung_at_work_when_the_time_is_over_and_all_after_it_are_stopped(case, monkeypatch):
    def slow(case, between):
        while True:
            between()

    only(monkeypatch, quick=lambda case, between: RungFold({}), slow=slow, late=slow)
    ticks = itertools.count()
    found = climb(case, budget_s=20, clock=lambda: float(next(ticks)))
    assert list(found.rungs) == ["quick"]
    assert set(found.failed) == {"slow", "late"}
    assert found.failed["slow"].startswith("stopped: the baselines had 20 s on this fold")
    assert found.seconds["slow"] > found.seconds["late"]


def test_what_is_called_between_hears_the_name_of_the_rung_and_may_end_the_ladder(case):
    heard = []

    def between(rung):
        heard.append(rung)
        if heard.count("gradient_boosting") > 20:
            raise KeyboardInterrupt

    try:
        ladder = climb(case, budget_s=120, between=between)
    except KeyboardInterrupt:
        pass
    else:
        pytest.fail(f"the ladder ended by itself: {ladder.failed}")
    assert heard[:6] == list(LADDER)[:6]
    assert set(heard[6:]) == {"gradient_boosting"}


def test_a_fold_has_the_time_of_its_network_or_its_part_of_two_minutes():
    assert (budget_of(10, 4), budget_of(45, 4), budget_of(0, 28)) == (30, 45, 120 / 28)


def climbed_folds(monkeypatch, case, seconds):
    """The ladders of folds whose one rung asks the clock after every second of work."""
    now = 0.0
    found, left = [], 0.0
    for needed in seconds:

        def working(case, between, needed=needed):
            nonlocal now
            for _ in range(needed):
                now += 1
                between()
            return RungFold({})

        only(monkeypatch, working=working)
        budget_s = budget_of(0.0, len(seconds), left)
        found.append(climb(case, budget_s=budget_s, clock=lambda: now))
        left = unspent_s({"ladder_time": found[-1].time})
    return found


def test_later_folds_may_use_the_time_that_earlier_ones_have_left(case, monkeypatch):
    """Five folds have 24 s each; the busy third one takes what the first two did not need."""
    found = climbed_folds(monkeypatch, case, [4, 4, 60, 4, 4])
    assert [ladder.failed for ladder in found] == [{}] * 5
    assert [ladder.budget_s for ladder in found] == [24, 44, 64, 28, 48]


def test_a_fold_that_took_too_long_takes_nothing_of_the_next_one(case, monkeypatch):
    first, second = climbed_folds(monkeypatch, case, [100, 30])
    assert "the baselines had 60 s on this fold" in first.failed["working"]
    assert (second.budget_s, second.failed) == (60, {})


def test_a_fold_of_an_earlier_release_leaves_no_time():
    assert unspent_s({"failed": {}}) == 0.0
