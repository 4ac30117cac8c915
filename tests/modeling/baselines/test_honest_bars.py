"""The rungs on real candles, against the figures known for this market and split."""

from pathlib import Path

import numpy as np
import pytest

from markets.candles.frame import read_candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS
from modeling.baselines.gradient_boosting import fit_gradient_boosting
from modeling.baselines.har import fit_har, har_volatility, realised_logs
from modeling.baselines.logistic import fit_logistic
from modeling.baselines.persistence import persistence_volatility
from modeling.baselines.rungs import RungLabels
from modeling.evaluation.metrics import accuracy, direction_auc, log_r2, rank_ic
from modeling.specs import ModelSpec
from modeling.windows.learned import prepare_fold
from modeling.windows.make import make_windows


@pytest.fixture(scope="module", params=["BTCUSDT", "ETHUSDT"])
def market(request, data_folder: Path):
    """The symbol, its windows, its one fold, and a function from a slice to features and labels."""
    candles = read_candles(data_folder / f"binance_{request.param}_5m.parquet", 5)
    table = compute_features(candles, FEATURE_SETS["basic-15"], (1, 3, 6, 12))
    spec = ModelSpec.parse(
        {
            "windows": {"context_bars": 64},
            "evaluation": {"scheme": "single", "holdout_fraction": 0},
        }
    )
    windows = make_windows(candles, table, spec, holdout_at=int(candles.close_time[-1]))
    fold = prepare_fold(windows, windows.folds[0], spec)
    features, known = fold.scaled[1].astype(float), fold.labels

    def part(name):
        bars = windows.bars(getattr(fold.fold, name))
        return features[bars], RungLabels(
            known.realised_return[bars],
            known.regime[bars].astype(np.int64),
            known.risk[bars].astype(np.int64),
            known.log_volatility[bars],
        )

    return request.param, windows, fold.fold, part


def expected(market, btc, eth, tolerance):
    return pytest.approx(btc if market[0] == "BTCUSDT" else eth, abs=tolerance)


@pytest.mark.slow
def test_linear_rungs_find_what_is_known_and_not_more(market):
    _, windows, cut, part = market
    (features, test), bars = part("test"), windows.bars(cut.test)
    found = fit_logistic(*part("fit"), cost_bps=10).predict(features)
    gain, volatility = test.realised_return, np.exp(test.log_volatility)
    lasting = persistence_volatility(windows.returns, bars, 12)
    assert float(direction_auc(found.action, gain)) == expected(market, 0.547, 0.544, 0.01)
    assert float(rank_ic(found.action, gain)) == expected(market, 0.060, 0.063, 0.015)
    assert float(accuracy(found.action, gain)) == pytest.approx(0.533, abs=0.01)
    assert float(log_r2(lasting, volatility)) == expected(market, 0.407, 0.285, 0.02)
    assert float(log_r2(found.volatility, volatility)) == expected(market, 0.557, 0.486, 0.03)


@pytest.mark.slow
def test_har_finds_what_is_known_and_not_more(market):
    """Fitted on 80 % of what the known figures, .530 and .448, were fitted on."""
    _, windows, cut, part = market
    _, known = part("fit")
    fitted = fit_har(realised_logs(windows.returns, windows.bars(cut.fit)), known.log_volatility)
    found = har_volatility(fitted, realised_logs(windows.returns, windows.bars(cut.test)))
    _, test = part("test")
    assert float(log_r2(found, np.exp(test.log_volatility))) == expected(market, 0.53, 0.448, 0.02)
    assert (fitted[1:] > 0.1).all() and fitted[1:].sum() < 1


@pytest.mark.slow
def test_gradient_boosting_finds_what_is_known_and_not_more(market):
    *_, part = market
    features, test = part("test")
    found = fit_gradient_boosting(part("fit"), part("validation"), cost_bps=10, seed=1)
    found = found.predict(features)
    gain, volatility = test.realised_return, np.exp(test.log_volatility)
    assert float(direction_auc(found.action, gain)) == expected(market, 0.556, 0.543, 0.015)
    assert float(rank_ic(found.action, gain)) == expected(market, 0.079, 0.058, 0.025)
    assert float(log_r2(found.volatility, volatility)) == expected(market, 0.57, 0.498, 0.02)
