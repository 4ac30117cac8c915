"""The linear rungs on real candles, against the figures known for this market and split."""

from pathlib import Path

import numpy as np
import pytest

from markets.candles.frame import read_candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS
from modeling.baselines.logistic import fit_logistic
from modeling.baselines.persistence import persistence_volatility
from modeling.baselines.rungs import RungLabels
from modeling.evaluation.metrics import accuracy, direction_auc, log_r2, rank_ic
from modeling.specs import ModelSpec
from modeling.windows.make import make_windows, prepare_fold


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symbol", "auc", "ic", "persistence_r2", "ridge_r2"),
    [("BTCUSDT", 0.547, 0.060, 0.407, 0.557), ("ETHUSDT", 0.544, 0.063, 0.285, 0.486)],
)
def test_linear_rungs_find_what_is_known_and_not_more(
    data_folder: Path, symbol, auc, ic, persistence_r2, ridge_r2
):
    candles = read_candles(data_folder / f"binance_{symbol}_5m.parquet", 5)
    table = compute_features(candles, FEATURE_SETS["basic-15"], (1, 3, 6, 12))
    spec = ModelSpec.parse(
        {
            "windows": {"context_bars": 64},
            "evaluation": {"scheme": "single", "holdout_fraction": 0},
        }
    )
    windows = make_windows(candles, table, spec, holdout_at=int(candles.close_time[-1]))
    fold = prepare_fold(windows, windows.folds[0], spec)
    fit, test = windows.bars(fold.fold.fit), windows.bars(fold.fold.test)
    features, labels = fold.scaled[1].astype(float), fold.labels
    known = RungLabels(
        labels.realised_return[fit],
        labels.regime[fit].astype(np.int64),
        labels.risk[fit].astype(np.int64),
        labels.log_volatility[fit],
    )
    found = fit_logistic(features[fit], known, cost_bps=10).predict(features[test])
    gain, volatility = labels.realised_return[test], np.exp(labels.log_volatility[test])
    lasting = persistence_volatility(windows.returns, test, 12)
    assert float(direction_auc(found.action, gain)) == pytest.approx(auc, abs=0.01)
    assert float(rank_ic(found.action, gain)) == pytest.approx(ic, abs=0.015)
    assert float(accuracy(found.action, gain)) == pytest.approx(0.533, abs=0.01)
    assert float(log_r2(lasting, volatility)) == pytest.approx(persistence_r2, abs=0.02)
    assert float(log_r2(found.volatility, volatility)) == pytest.approx(ridge_r2, abs=0.03)
