import dataclasses

import numpy as np
import pytest

from markets.features.certificate import altered_after
from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS
from markets.features.splice import splice_prices
from modeling.specs import TargetSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.samples import eligible_samples
from modeling.windows.scaling import fit_scalers
from modeling.windows.selection import (
    FitRows,
    Selection,
    fit_rows,
    kuncheva_index,
    mutual_information,
    select_features,
    selection_shares,
)
from modeling.windows.targets import fit_targets, label, raw_targets
from tests.markets.features.market import quiet_market
from tests.oracles.selection import plain_selection

NAMES = tuple("abcdefgh")
ALL = FEATURE_SETS["all-67"]


def rows(count=3000, *, seed=0, copies=()):
    """a tells the action, b the volatility, c the regime; the others are noise or copies of a."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(count, len(NAMES))).astype(np.float32)
    for name in copies:
        values[:, NAMES.index(name)] = values[:, 0]
    noise = generator.normal(size=(3, count))
    regime = np.digitize(values[:, 2] + 0.3 * noise[2], [-1.0, 0.0, 1.0])
    return FitRows(
        values=values,
        action=(values[:, 0] + 0.5 * noise[0]).astype(np.float32),
        log_volatility=values[:, 1] + 0.5 * noise[1],
        regime=regime.astype(np.int8),
    )


def select(*datasets, top=3, horizon=1):
    return select_features(datasets, NAMES, select_top=top, horizon_bars=horizon)


def as_tuples(data):
    columns = (data.action.tolist(), data.log_volatility.tolist(), data.regime.tolist())
    return list(zip(data.values.tolist(), *columns, strict=True))


def test_what_tells_about_the_targets_is_chosen():
    selection = select(rows())
    assert selection.names == ("a", "b", "c")
    assert set(selection.relevance) == set(NAMES)
    assert set(selection.redundancy) == {"a", "b", "c"}


@pytest.mark.parametrize("top", [1, 4, 7])
def test_the_choice_equals_the_plain_version(top):
    data = rows(1500, copies=("e",))
    data.values[:, 6] = np.round(data.values[:, 0] + data.values[:, 6])
    selection = select(data, top=top, horizon=2)
    chosen, relevance = plain_selection(as_tuples(data), NAMES, top, 2)
    assert set(selection.names) == set(chosen)
    assert list(selection.redundancy) == chosen
    for name in NAMES:
        assert selection.relevance[name] == pytest.approx(relevance[name], abs=1e-9)


def test_an_exact_copy_loses_to_anything_independent_with_a_tenth_of_its_relevance():
    data = rows(copies=("d", "e"))
    selection = select(data)
    assert selection.relevance["d"] == selection.relevance["a"]
    assert min(selection.relevance["b"], selection.relevance["c"]) > 0.1 * selection.relevance["a"]
    assert selection.names == ("a", "b", "c")


def test_of_equals_the_earlier_name_is_chosen():
    data = rows(copies=("b", "c"))
    assert select(data, top=1).names == ("a",)


def test_without_information_the_order_of_names_decides():
    still = FitRows(
        np.ones((400, 8), dtype=np.float32),
        np.ones(400, dtype=np.float32),
        np.ones(400),
        np.zeros(400, dtype=np.int8),
    )
    selection = select(still)
    assert selection.names == ("a", "b", "c")
    assert set(selection.relevance.values()) == {0.0}
    assert set(selection.redundancy.values()) == {0.0}


@pytest.mark.parametrize("top", [None, 8, 40])
def test_all_are_kept_when_there_are_no_more(top):
    assert select(rows(), top=top) == Selection(NAMES, {}, {})


def test_names_keep_the_order_of_the_registry():
    data = rows()
    turned = dataclasses.replace(data, values=data.values[:, ::-1].copy())
    assert select(turned).names == ("f", "g", "h")


def test_rows_are_a_horizon_apart_over_all_datasets():
    first, second = rows(1001, seed=1), rows(999, seed=2)
    kept = dataclasses.replace(
        first,
        values=np.concatenate([first.values, second.values])[::10],
        action=np.concatenate([first.action, second.action])[::10],
        log_volatility=np.concatenate([first.log_volatility, second.log_volatility])[::10],
        regime=np.concatenate([first.regime, second.regime])[::10],
    )
    assert select(first, second, horizon=10) == select(kept, horizon=1)


def test_no_more_than_twenty_thousand_rows_are_used():
    data = rows(40_001)
    thin = FitRows(*(getattr(data, f.name)[::3] for f in dataclasses.fields(data)))
    assert select(data) == select(thin)


def test_without_a_row_nothing_can_be_chosen():
    with pytest.raises(NotEnoughHistory):
        select(rows(0))


def test_information_by_hand():
    coin = np.array([0, 0, 1, 1] * 250)
    assert mutual_information(coin, coin) == pytest.approx(np.log(2) - 1 / 2000)
    assert mutual_information(coin, np.array([0, 1, 0, 1] * 250)) == 0.0


def test_noise_has_no_information():
    generator = np.random.default_rng(5)
    target = generator.integers(0, 8, size=10_000)
    found = [mutual_information(generator.integers(0, 16, size=10_000), target) for _ in range(20)]
    assert np.mean(found) < 0.001
    assert max(found) < 0.003


def test_a_selection_survives_json():
    selection = select(rows())
    assert Selection.from_json(selection.to_json()) == selection


def test_stability_by_hand():
    folds = [Selection(tuple(names), {}, {}) for names in ("ab", "ab", "ac")]
    assert selection_shares(folds, NAMES)["a"] == 1.0
    assert selection_shares(folds, NAMES)["b"] == pytest.approx(2 / 3)
    assert selection_shares(folds, NAMES)["h"] == 0.0
    # Pairs overlap in 2, 1 and 1 of 2; with 8 features (8·overlap − 4)/12.
    assert kuncheva_index(folds, 8) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert kuncheva_index(folds[:1], 8) is None
    assert kuncheva_index([Selection(NAMES, {}, {})] * 2, 8) is None


def selection_of(candles, fit_bars, *, top=20):
    table = compute_features(candles, ALL, (1,))
    raw = raw_targets(
        candles, splice_prices(candles), horizon_bars=3, regime_bars=12, target=TargetSpec()
    )
    labels = label(raw, fit_targets(raw, fit_bars))
    scaled = fit_scalers(table, fit_bars).apply(table)[1]
    return select_features(
        [fit_rows(scaled[fit_bars], labels, fit_bars)], ALL, select_top=top, horizon_bars=3
    )


def test_what_comes_after_the_fit_slice_changes_nothing():
    candles = quiet_market(6000)
    fit_bars = np.arange(2100, 4500, dtype=np.int64)
    before = selection_of(candles, fit_bars)
    assert len(before.names) == 20
    assert selection_of(altered_after(candles, 4499 + 12, 1), fit_bars) == before
    assert selection_of(altered_after(candles, 4000, 1), fit_bars) != before


def test_two_thousand_bars_are_too_few_for_all_features_and_timescales():
    candles = quiet_market(2000)
    table = compute_features(candles, ALL, (1, 3, 6, 12))
    with pytest.raises(NotEnoughHistory) as refused:
        eligible_samples(candles, table, context_bars=96, horizon_bars=3, regime_bars=12)
    needed = 600 * 12 + 12 + 96 + 12
    assert (refused.value.found, refused.value.needed) == (2000, needed)
    assert refused.value.code == "not_enough_history"
    assert f"about {needed} bars" in str(refused.value)
