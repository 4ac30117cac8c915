import json

import numpy as np

from markets.features.compute import compute_features
from markets.features.splice import splice_prices
from modeling.specs import TargetSpec
from modeling.windows.certificate import certify_fit
from modeling.windows.scaling import fit_scalers
from modeling.windows.targets import fit_targets, raw_targets
from tests.markets.features.market import quiet_market

NAMES = ("rsi_14", "rv_48", "tod_sin")
LENGTHS = {"horizon_bars": 12, "regime_bars": 48}
FIT = np.arange(1000, 2000)


def certified(*, fit=fit_scalers, thresholds_from=FIT):
    candles = quiet_market(3000)
    target = TargetSpec()
    table = compute_features(candles, NAMES, (1, 3))
    raw = raw_targets(candles, splice_prices(candles), target=target, **LENGTHS)
    return certify_fit(
        candles,
        FIT,
        fit(table, FIT),
        fit_targets(raw, thresholds_from),
        target=target,
        fit=fit,
        **LENGTHS,
    )


def test_scalers_and_thresholds_of_the_fit_slice_pass():
    report = certified()
    assert report["passed"]
    assert report["altered_after_bar"] == 1999 + 48
    assert json.loads(json.dumps(report)) == report


def test_a_scaler_fitted_on_everything_is_caught():
    report = certified(fit=lambda table, _: fit_scalers(table, np.arange(3000)))
    assert (report["scalers"], report["targets"]) == ("failed", "passed")


def test_thresholds_fitted_on_everything_are_caught():
    report = certified(thresholds_from=np.arange(3000))
    assert (report["scalers"], report["targets"]) == ("passed", "failed")
