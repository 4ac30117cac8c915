"""Several instruments, one after the other: one cut in time for all, scalers of each."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from markets.candles.frame import Candles
from markets.features.compute import compute_features
from markets.features.registry import TIME_FEATURES
from modeling.fold_task import fold_task
from modeling.specs import ModelSpec
from modeling.windows.certificate import certify_fit
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.learned import FoldFit, apply_fit, learn_from_fit, prepare_fold
from modeling.windows.make import PoolPart, cut_pool, make_windows, pool_windows
from modeling.windows.scaling import fit_scalers
from modeling.windows.splits import SLICES
from tests.markets.features.market import quiet_market

SPEC = ModelSpec.parse(
    {
        "features": {
            "feature_set": ["rsi_14", "vwap_dev_12", "rv_48", "ret_1", "ret_12", "tod_sin"],
            "select_top": 4,
            "scales": [1, 3],
        },
        "windows": {"context_bars": 32},
        "evaluation": {"scheme": "single", "embargo_bars": 0, "holdout_fraction": 0},
    }
)
CPU = torch.device("cpu")
LATER = 480


def louder(candles: Candles) -> Candles:
    """Three times the returns at a thousandth of the price."""
    prices = {
        name: (getattr(candles, name) / candles.close[0]) ** 3 / 1000
        for name in ("open", "high", "low", "close")
    }
    return dataclasses.replace(candles, **prices)


def part(name: str, candles: Candles) -> PoolPart:
    return PoolPart(name, candles, compute_features(candles, SPEC.features.names(), (1, 3)))


@pytest.fixture(scope="module")
def calm():
    return part("CALM", quiet_market(6000))


@pytest.fixture(scope="module")
def loud():
    """It begins later than the calm one."""
    return part("LOUD", louder(quiet_market(6000, seed=8)).slice(LATER, 6000))


@pytest.fixture(scope="module")
def windows(calm, loud):
    return pool_windows([calm, loud], SPEC, holdout_at=int(calm.candles.close_time[-1]))


@pytest.fixture(scope="module")
def fold(windows):
    return prepare_fold(windows, windows.folds[0], SPEC)


def test_one_instrument_is_a_pool_of_one(calm):
    holdout_at = int(calm.candles.close_time[-1])
    alone = make_windows(calm.candles, calm.table, SPEC, holdout_at=holdout_at)
    pooled = pool_windows([calm], SPEC, holdout_at=holdout_at)
    assert not pooled.is_pooled and alone.samples.instrument is None
    first, second = (prepare_fold(found, found.folds[0], SPEC) for found in (alone, pooled))
    assert first.learned.to_json() == second.learned.to_json()
    assert "instruments" not in first.learned.to_json()
    for k in (1, 3):
        np.testing.assert_array_equal(first.scaled[k], second.scaled[k])


def test_one_instrument_learns_what_it_learned_before_there_were_pools(calm):
    """Stored from the release before; the last bits may differ between machines."""
    windows = pool_windows([calm], SPEC, holdout_at=int(calm.candles.close_time[-1]))
    fold = prepare_fold(windows, windows.folds[0], SPEC)
    bars = windows.bars(fold.fold.fit)
    assert (bars[0], bars[-1], bars.size) == (629, 3518, 2890)
    assert fold.learned.selection.names == ("rsi_14", "rv_48", "ret_1", "ret_12")
    centre = [0.0522431880235672, -6.106563568115234, 0.038879768922924995, 0.09124896675348282]
    assert fold.learned.scalers.centre[3] == pytest.approx(centre, rel=1e-9)
    scale = fold.scale
    assert scale.bear_below == pytest.approx(-0.3611414599828953, rel=1e-9)
    assert scale.volatility_mean == pytest.approx(-6.70890037457465, rel=1e-9)
    assert scale.volatility_std == pytest.approx(0.47560745814770733, rel=1e-9)
    assert fold.fold.effective["fit"] == pytest.approx(241.75)
    assert fold.scaled[3][1000:].astype(np.float64).sum() == pytest.approx(1333.7694066539989)


def test_all_instruments_are_cut_at_the_same_instants(windows):
    cut, samples = windows.folds[0], windows.samples
    for name in SLICES[1:]:
        calm, loud = samples.by_instrument(getattr(cut, name))
        assert samples.known_at[calm[0]] == samples.known_at[loud[0]]
        assert samples.known_at[calm[-1]] == samples.known_at[loud[-1]]
    calm, loud = samples.by_instrument(cut.fit)
    assert loud.size == calm.size - LATER
    assert samples.label_end_at[calm].max() == samples.label_end_at[loud].max()


def test_bars_of_the_second_instrument_are_numbered_on(windows, calm, loud):
    first, second = windows.parts
    assert (first.first_bar, second.first_bar) == (0, 6000)
    assert windows.open_time[6000] == loud.candles.time[0]
    assert list(windows.instruments_of(np.array([5999, 6000]))) == ["CALM", "LOUD"]
    last = windows.last_closed(3)
    assert last[5999] == calm.table.scales[3].last_closed[-1]
    assert last[6000] == -1
    assert last[-1] == calm.table.scales[3].open_time.size + loud.table.scales[3].last_closed[-1]


def test_each_instrument_is_scaled_by_its_own_fit_slice(windows, fold):
    fit_bars = windows.bars(fold.fold.fit)
    names = fold.learned.selection.names
    for found in windows.parts:
        own = fit_scalers(found.table.only(names), found.own(fit_bars))
        assert fold.learned.scalers_of(found.instrument).to_json() == own.to_json()
        np.testing.assert_array_equal(
            fold.scaled[1][found.span], own.apply(found.table.only(names))[1]
        )
        at_fit = fold.scaled[1][found.span][found.own(fit_bars)]
        is_scaled = [name not in TIME_FEATURES for name in names]
        assert np.abs(np.median(at_fit, axis=0)[is_scaled]).max() < 1e-6
    assert fold.learned.scalers.to_json() != fold.learned.scalers_of("CALM").to_json()


def test_volatility_is_standardised_for_each_and_thresholds_for_all(windows, fold):
    fit_bars = windows.bars(fold.fold.fit)
    calm, loud = (fold.learned.scale_of(name) for name in ("CALM", "LOUD"))
    assert loud.volatility_mean - calm.volatility_mean == pytest.approx(np.log(3), abs=0.4)
    assert calm.bull_above == loud.bull_above == fold.scale.bull_above
    for bars in windows.each(fit_bars):
        z_score = fold.labels.log_volatility_z[bars]
        assert abs(z_score.mean()) < 1e-4 and z_score.std() == pytest.approx(1, abs=1e-4)
        mean, std = fold.volatility_mean[bars[0]], fold.volatility_std[bars[0]]
        expected = np.exp(mean + std * z_score)
        np.testing.assert_allclose(expected, np.exp(fold.labels.log_volatility[bars]), rtol=1e-5)


def test_an_instrument_that_was_not_in_training_takes_the_pooled_statistics(fold):
    other = part("OTHER", quiet_market(4000, seed=21))
    learned = FoldFit.from_json(json.loads(json.dumps(fold.learned.to_json())))
    assert learned.to_json() == fold.learned.to_json() and list(learned.own) == ["CALM", "LOUD"]
    applied = apply_fit(cut_pool([other], SPEC), learned)
    expected = fold.learned.scalers.apply(other.table.only(fold.learned.selection.names))
    np.testing.assert_array_equal(applied.scaled[1], expected[1])
    assert set(applied.volatility_mean) == {fold.scale.volatility_mean}


def test_a_window_is_cut_from_its_own_instrument_alone(windows, fold, loud):
    task = fold_task(SPEC, windows, fold, CPU)
    with pytest.raises(ValueError, match="of its instrument"):
        task.resident.require(np.array([6000 + 30]))
    alone = cut_pool([loud], SPEC)
    bars = alone.samples.bar[[0, 700]]
    assert windows.bars(windows.samples.by_instrument(np.arange(len(windows.samples)))[1])[0] == (
        6000 + bars[0]
    )
    names = fold.learned.selection.names
    scaled = fold.learned.scalers_of("LOUD").apply(loud.table.only(names))
    batch = task.resident.batch(torch.from_numpy(bars + 6000))
    for row, bar in enumerate(bars):
        np.testing.assert_array_equal(batch.base[row].numpy(), scaled[1][bar - 31 : bar + 1])
        closed = loud.table.scales[3].last_closed[bar]
        np.testing.assert_array_equal(
            batch.coarse[3][row].numpy(), scaled[3][closed - 9 : closed + 1]
        )


def test_the_order_in_which_instruments_are_given_changes_nothing(windows, fold, calm, loud):
    other = pool_windows([loud, calm], SPEC, holdout_at=int(calm.candles.close_time[-1]))
    again = prepare_fold(other, other.folds[0], SPEC)
    assert again.learned.to_json() == fold.learned.to_json()
    np.testing.assert_array_equal(other.bars(again.fold.fit), windows.bars(fold.fold.fit))
    np.testing.assert_array_equal(again.scaled[3], fold.scaled[3])


def test_effective_samples_of_several_instruments_are_those_of_the_largest(windows, calm):
    cut = windows.folds[0]
    first, second = windows.samples.by_instrument(cut.fit)
    assert cut.effective["fit"] == windows.samples.effective(first)
    assert windows.samples.effective(second) < cut.effective["fit"]


def test_an_instrument_with_too_few_samples_of_a_slice_is_named(calm, loud):
    late = part("LATE", quiet_market(6000, seed=8).slice(3000, 6000))
    with pytest.raises(NotEnoughHistory, match="fit samples of LATE, expected at least 200"):
        pool_windows([calm, late], SPEC, holdout_at=int(calm.candles.close_time[-1]))
    short = part("SHORT", quiet_market(200))
    with pytest.raises(NotEnoughHistory, match="SHORT: No complete window"):
        pool_windows([calm, short], SPEC, holdout_at=int(calm.candles.close_time[-1]))


def test_an_instrument_given_twice_is_refused(calm):
    with pytest.raises(ValueError, match="twice"):
        cut_pool([calm, calm], SPEC)


def test_what_is_learned_of_several_passes_the_certificate(windows, fold):
    report = certify_fit(windows, fold, SPEC)
    assert report["passed"]
    last = windows.bars(fold.fold.fit).max() + 48
    assert report["altered_after_bar"] == last


@pytest.mark.parametrize("name", ["CALM", "LOUD"])
def test_the_scaler_of_one_instrument_that_knows_later_bars_is_caught(windows, fold, name):
    def learn(parts, raw, fit_bars, spec):
        honest = learn_from_fit(parts, raw, fit_bars, spec)
        everything = np.concatenate(
            [np.arange(of.first_bar + 2500, of.span.stop - 48) for of in parts]
        )
        seen = learn_from_fit(parts, raw, everything, spec, selection=honest.selection)
        return dataclasses.replace(honest, own=honest.own | {name: seen.own[name]})

    mutant = dataclasses.replace(
        fold, learned=learn(windows.parts, windows.raw, windows.bars(fold.fold.fit), SPEC)
    )
    report = certify_fit(windows, mutant, SPEC, learn=learn)
    assert (report["selection"], report["scalers"]) == ("passed", "failed")
