import numpy as np
import pytest

from markets.candles.aggregate import aggregate_candles
from markets.candles.frame import VALUE_COLUMNS, Candles
from markets.candles.synthetic import synthetic_candles


def without(candles, missing):
    keep = np.setdiff1d(np.arange(len(candles)), missing)
    return Candles(5, candles.time[keep], *(getattr(candles, name)[keep] for name in VALUE_COLUMNS))


def test_few_candles_stay_as_they_are():
    candles = synthetic_candles(days=1)
    bars, aggregated = aggregate_candles(candles, 288)
    assert not aggregated
    assert np.array_equal(bars.close, candles.close)
    assert bars.bars.tolist() == [1] * 288


def test_joined_bars_hold_first_max_min_last_and_sum():
    candles = synthetic_candles(days=1)
    bars, aggregated = aggregate_candles(candles, 96)
    assert aggregated
    assert len(bars) == 96
    assert bars.open[1] == candles.open[3]
    assert bars.high[1] == candles.high[3:6].max()
    assert bars.low[1] == candles.low[3:6].min()
    assert bars.close[1] == candles.close[5]
    assert bars.volume[1] == pytest.approx(candles.volume[3:6].sum())


@pytest.mark.parametrize("max_bars", [10, 37, 100, 287])
def test_no_bar_spans_a_gap_and_the_limit_holds(max_bars):
    candles = without(synthetic_candles(days=2), [5, 6, 7, 100, 301, 302])
    bars, _ = aggregate_candles(candles, max_bars)
    assert len(bars) <= max_bars
    assert bars.bars.sum() == len(candles)
    starts = np.concatenate(([0], np.cumsum(bars.bars)[:-1]))
    assert np.isin(np.flatnonzero(candles.gap_before), starts).all()


def test_more_runs_than_bars_are_joined_to_keep_the_limit():
    candles = without(synthetic_candles(days=1), range(0, 288, 2))
    bars, aggregated = aggregate_candles(candles, 20)
    assert aggregated
    assert len(bars) <= 20


def test_no_candles_give_no_bars():
    bars, aggregated = aggregate_candles(synthetic_candles(days=1).slice(0, 0), 10)
    assert len(bars) == 0
    assert not aggregated


def test_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        aggregate_candles(synthetic_candles(days=1), 0)
