import subprocess
import sys

import numpy as np

from markets.features.compute import compute_features
from markets.features.registry import CODE_VERSION, FEATURE_SETS, FEATURES, TIME_FEATURES
from tests.markets.features.market import quiet_market

# The last row of 2000 synthetic bars. When a formula changes these change: then raise CODE_VERSION,
# or features in old caches would be taken for new ones.
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


def test_names_are_their_own_keys_and_families_are_known():
    assert all(name == feature.name for name, feature in FEATURES.items())
    assert {"tod_sin", "tod_cos"} <= TIME_FEATURES
    assert len(FEATURE_SETS["basic-15"]) == 15
    assert set(FEATURE_SETS["basic-15"]) <= set(FEATURES)


def test_a_changed_formula_needs_a_new_code_version():
    values = compute_features(quiet_market(2000), tuple(LAST_ROW_OF_VERSION_1), (1,)).base.values
    assert CODE_VERSION == 1
    np.testing.assert_allclose(values[:, -1], list(LAST_ROW_OF_VERSION_1.values()), atol=2e-6)


def test_registry_and_table_load_no_heavy_library():
    code = (
        "import sys, markets.features.registry, markets.features.table, modeling.windows.splits\n"
        "heavy = {'pandas', 'numba', 'talib', 'torch', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
