"""The engine on Bitcoin's five-minute candles; skipped without the data folder."""

import numpy as np
import pyarrow.parquet
import pytest

from backtests.engine.rules import buy_and_hold, buy_and_hold_spec
from backtests.engine.simulate import simulate
from backtests.specs import BacktestSpec
from tests.oracles.engine import replay


@pytest.fixture(scope="module")
def bitcoin(data_folder):
    table = pyarrow.parquet.read_table(data_folder / "binance_BTCUSDT_5m.parquet").slice(0, 8000)
    columns = {name: table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    stamps = table["timestamp"].to_numpy().astype("datetime64[ns]")
    return {"time": stamps.astype(np.int64), **columns}


def test_buy_and_hold_is_the_price_less_one_entry(bitcoin):
    simulation = simulate(bitcoin, buy_and_hold(8000), buy_and_hold_spec(BacktestSpec()))
    bought_at = bitcoin["open"][1] * 1.0001 * 1.0004
    assert simulation.equity[-1] == pytest.approx(10_000 * bitcoin["close"][-1] / bought_at)


def test_stops_and_targets_give_the_plain_loop_its_account(bitcoin):
    rng = np.random.default_rng(4)
    targets = np.repeat(rng.choice([-1.0, 0.0, 1.0], 8000), rng.integers(4, 40))[:8000]
    spec = BacktestSpec.parse({"risk": {"stop_pct": 0.002, "take_profit_pct": 0.003}})
    ours, plain = simulate(bitcoin, targets, spec), replay(bitcoin, targets, spec)
    assert len(ours.trades) == len(plain.trades) > 100
    assert ours.equity == pytest.approx(np.array(plain.equity), rel=1e-9)
