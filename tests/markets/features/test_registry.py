import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from markets.features.catalogue import HEADINGS, catalogue_markdown
from markets.features.compute import compute_features
from markets.features.registry import (
    CODE_VERSION,
    FAMILIES,
    FEATURE_SETS,
    FEATURES,
    TIME_FEATURES,
)
from tests.markets.features.market import quiet_market
from tests.oracles.features import NAMES, warm_ups

# The last rows of 2000 and of 2600 synthetic bars. When a formula changes these change: then raise
# CODE_VERSION, or features in old caches would be taken for new ones.
LAST_ROW_OF_VERSION_1 = {
    "rsi_14": -0.2395696,
    "macd_line": -0.7106681,
    "macd_hist": 0.1963021,
    "bb_pctb_20": -0.2750052,
    "bb_width_20": -3.993192,
    "stoch_k_14": -0.1109711,
    "adx_14": 0.3193319,
    "volume_z_48": -0.9292778,
    "rv_48": -5.710492,
    "natr_14": -5.235582,
    "ret_1": -1.40371,
    "ret_12": 0.5976026,
    "ret_48": -0.5562321,
    "tod_sin": -0.3420202,
    "tod_cos": 0.9396926,
}
LAST_ROW_OF_THE_OTHERS = {
    "rsi_42": -0.03728123,
    "macd_signal": 0.05169068,
    "stoch_d_14": 0.3687449,
    "cci_20": 0.4988207,
    "di_diff_14": 0.06890169,
    "vwap_dev_12": -0.09524625,
    "vwap_dev_48": 0.06141645,
    "vwap_dev_288": -0.2400357,
    "vwap_twap_48": -0.04309031,
    "mfi_14": -0.154019,
    "signed_volume_24": 0.1007029,
    "cmf_20": -0.02402171,
    "volume_tod": 0.4114646,
    "dollar_volume_z_288": -0.09930774,
    "spread_roll_48": 0,
    "spread_cs_48": 0.5387784,
    "spread_ar_48": 0.3997592,
    "amihud_48": 1.113124,
    "kyle_corr_48": 0.8044485,
    "clv": -0.9381219,
    "body": -0.7966385,
    "wick_asym_12": -0.05001814,
    "spread_pressure_12": 0.1320519,
    "order_imbalance_12": 0.2197733,
    "vpin_48": 0.5739519,
    "rv_12": -6.147544,
    "rv_288": -5.807955,
    "parkinson_12": -5.930336,
    "parkinson_rel_48": 0.1382161,
    "garman_klass_48": -6.212546,
    "rogers_satchell_rel_48": 0.1972896,
    "yang_zhang_288": -5.733073,
    "jump_share_48": 0.01815165,
    "vol_of_vol_48": 0.3449714,
    "semivar_asym_48": -0.1268721,
    "donch_pos_48": 0.1391829,
    "donch_pos_288": -0.5836557,
    "dist_high_288": -0.8283541,
    "dist_low_288": 0.2237085,
    "pivot_dev": -0.1841893,
    "swing_res": 0.7048556,
    "swing_sup": 3.007265,
    "bars_since_high_288": 0.4703833,
    "ret_3": -0.9930266,
    "ret_288": 0.03312173,
    "ema_slope_48": 0.006855437,
    "efficiency_48": 0.02786316,
    "autocorr1_48": 0.04103937,
    "dow_sin": -0.7660444,
    "dow_cos": 0.6427876,
    "funding_clock": 0.9166667,
    "weekend": 1,
}


def test_names_are_their_own_keys_and_families_are_counted():
    assert all(name == feature.name for name, feature in FEATURES.items())
    assert [len(features) for features in FAMILIES.values()] == [12, 10, 11, 12, 8, 8, 6]
    assert all(f.family == family for family, members in FAMILIES.items() for f in members)
    assert len(TIME_FEATURES) == 6 and {"tod_sin", "weekend"} <= TIME_FEATURES


def test_names_and_warm_ups_are_those_of_the_specification():
    assert tuple(FEATURES) == NAMES
    for minutes in (5, 15, 60, 720, 1440):
        declared = {name: f.warm_up_bars(minutes) for name, f in FEATURES.items()}
        assert declared == warm_ups(1440 // minutes), minutes


def test_sets_are_registered_and_in_registry_order():
    assert {name: len(members) for name, members in FEATURE_SETS.items()} == {
        "basic-15": 15,
        "all-67": 67,
    }
    for members in FEATURE_SETS.values():
        assert members == tuple(name for name in FEATURES if name in members)


@pytest.mark.parametrize(
    ("bars", "expected"), [(2000, LAST_ROW_OF_VERSION_1), (2600, LAST_ROW_OF_THE_OTHERS)]
)
def test_a_changed_formula_needs_a_new_code_version(bars, expected):
    values = compute_features(quiet_market(bars), tuple(expected), (1,)).base.values
    assert CODE_VERSION == 1
    np.testing.assert_allclose(values[:, -1], list(expected.values()), atol=2e-6)


def test_every_feature_has_a_golden_value():
    assert {*LAST_ROW_OF_VERSION_1, *LAST_ROW_OF_THE_OTHERS} == set(FEATURES)


def test_the_page_about_features_is_what_the_registry_says():
    page = Path(__file__).parents[3] / "docs" / "features.md"
    assert page.read_text() == catalogue_markdown()
    assert set(HEADINGS) == set(FAMILIES)


def test_warm_ups_are_told_in_bars_and_days():
    assert FEATURES["rsi_42"].warm_up_text == "600 bars"
    assert FEATURES["pivot_dev"].warm_up_text == "2 days"
    assert FEATURES["volume_tod"].warm_up_text == "7 days, at least 287 bars"


def test_registry_and_table_load_no_heavy_library():
    code = (
        "import sys, markets.features.registry, markets.features.table, modeling.windows.splits\n"
        "heavy = {'pandas', 'numba', 'talib', 'torch', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
