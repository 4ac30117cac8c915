"""The plan of several instruments counts what their real windows are."""

import pytest

from modeling.windows.errors import NotEnoughHistory
from modeling.windows.make import pool_windows
from modeling.windows.planning import plan_experiment
from modeling.windows.pool_planning import plan_pool
from modeling.windows.splits import SLICES, holdout_instant
from tests.markets.features.market import quiet_market
from tests.modeling.windows.test_pool import SPEC, part

BARS = 9000
SCHEMES = {
    "single": {"scheme": "single"},
    "anchored": {"scheme": "anchored", "folds": 2, "embargo_bars": 12, "holdout_fraction": 0.1},
    "rolling": {"scheme": "rolling", "folds": 2, "holdout_fraction": 0.1},
    "cpcv": {"scheme": "cpcv", "embargo_bars": 12},
}


def spec_of(scheme):
    evaluation = SPEC.evaluation.model_copy(update=SCHEMES[scheme])
    return SPEC.model_copy(update={"evaluation": evaluation})


def span(found):
    return int(found.candles.time[0]), int(found.candles.close_time[-1])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_planned_samples_are_those_of_real_windows(scheme):
    spec = spec_of(scheme)
    parts = [part("CALM", quiet_market(BARS)), part("LATE", quiet_market(BARS).slice(480, BARS))]
    first, last = span(parts[0])
    plan = plan_pool(spec, {of.instrument: span(of) for of in parts}, timeframe_minutes=5)
    holdout_at = holdout_instant(first, last, spec.evaluation.holdout_fraction, bar_ns=300 * 10**9)
    assert plan.holdout_at == holdout_at
    windows = pool_windows(parts, spec, holdout_at=holdout_at)
    assert plan.windows == pytest.approx(len(windows.samples), rel=2e-3)
    assert len(plan.folds) == len(windows.folds)
    for planned, real in zip(plan.folds, windows.folds, strict=True):
        for name in SLICES:
            count = getattr(real, name).size
            assert planned.samples[name] == pytest.approx(count, rel=5e-3, abs=4), name
            assert planned.effective[name] == pytest.approx(real.effective[name], rel=2e-2), name
            assert planned.instants[name] == pytest.approx(
                real.instants[name], abs=12 * 300 * 10**9
            )


def test_the_plan_of_one_instrument_is_the_plan():
    first, last = span(part("CALM", quiet_market(BARS)))
    alone = plan_experiment(SPEC, first_open=first, last_close=last, timeframe_minutes=5)
    pool = plan_pool(SPEC, {"CALM": (first, last)}, timeframe_minutes=5)
    assert [fold.to_json() for fold in pool.folds] == [fold.to_json() for fold in alone.folds]
    assert (pool.windows, pool.holdout_at) == (alone.windows, alone.holdout_at)


def test_an_instrument_that_ends_before_the_test_block_is_named():
    calm, bar = part("CALM", quiet_market(BARS)), 300 * 10**9
    first, last = span(calm)
    spans = {"CALM": (first, last), "GONE": (first, last - 2600 * bar)}
    with pytest.raises(NotEnoughHistory, match="test samples of GONE, expected at least 200"):
        plan_pool(SPEC, spans, timeframe_minutes=5)
