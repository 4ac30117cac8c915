import numpy as np
import pytest

from markets.candles.frame import read_candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURE_SETS
from modeling.windows.errors import ContextTooShort, NotEnoughHistory
from modeling.windows.samples import bars_needed, coarse_bars, eligible_samples
from tests.markets.features.market import quiet_market, without

NAMES = ("rsi_14", "ret_48", "tod_sin")
LENGTHS = {"context_bars": 30, "horizon_bars": 4, "regime_bars": 9}


def plain_samples(candles, table, context_bars, horizon_bars, regime_bars):
    """Every window looked at bar by bar."""
    bars, labels = [], []
    for t in range(len(candles)):
        if all(_complete(candles, s, t, context_bars) for s in table.scales.values()):
            bars.append(t)
            ahead = range(t + 1, t + max(horizon_bars, regime_bars) + 1)
            exists = ahead[-1] < len(candles) and not candles.gap_before[list(ahead)].any()
            labels.append(exists and t >= 288)
    return bars, labels


def _complete(candles, scale, t, context_bars):
    last = scale.last_closed[t]
    first = last - coarse_bars(context_bars, scale.factor) + 1
    if last < 0 or first < 0:
        return False
    begins_inside = scale.open_time[first] >= candles.time[t] - (context_bars - 1) * candles.bar_ns
    joined = not scale.gap_before[first + 1 : last + 1].any()
    return begins_inside and joined and np.isfinite(scale.values[:, first : last + 1]).all()


@pytest.mark.parametrize("holes", [(), ((1500, 1501),), ((1300, 1400), (1450, 1453), (2890, 2895))])
def test_samples_equal_those_found_bar_by_bar(holes):
    candles = quiet_market(3000)
    for start, stop in reversed(holes):
        candles = without(candles, start, stop)
    table = compute_features(candles, NAMES, (1, 3, 6))
    samples = eligible_samples(candles, table, **LENGTHS)
    bars, labels = plain_samples(candles, table, **LENGTHS)
    np.testing.assert_array_equal(samples.bar, bars)
    np.testing.assert_array_equal(samples.has_label, labels)


def test_times_of_a_sample():
    candles = quiet_market(2000)
    table = compute_features(candles, NAMES, (1, 3))
    samples = eligible_samples(candles, table, **LENGTHS)
    np.testing.assert_array_equal(samples.known_at, candles.close_time[samples.bar])
    ends = candles.close_time[samples.bar[samples.has_label] + 9]
    np.testing.assert_array_equal(samples.label_end_at[samples.has_label], ends)
    assert samples.bar[-1] == 1999 and not samples.has_label[-9:].any()
    assert samples.has_label[-10]


def test_no_window_or_label_spans_a_gap_in_the_bitcoin_file(data_folder):
    from markets.candles.frame import read_candles

    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    table = compute_features(candles, NAMES, (1, 3, 6, 12))
    samples = eligible_samples(candles, table, **LENGTHS)
    first = candles.time[samples.bar - 29]
    assert np.all(samples.known_at - first == 30 * candles.bar_ns)
    labelled = samples.bar[samples.has_label]
    assert np.all(candles.time[labelled + 9] - candles.time[labelled] == 9 * candles.bar_ns)


def test_too_little_history_names_the_bars_needed():
    candles = quiet_market(1200)
    table = compute_features(candles, NAMES, (1, 12))
    with pytest.raises(NotEnoughHistory, match="1200 bars; about 2451 bars") as caught:
        eligible_samples(candles, table, **LENGTHS)
    assert (caught.value.found, caught.value.needed) == (1200, 2451)


def test_a_week_of_five_minute_bars_is_too_short_for_the_hour():
    candles = quiet_market(2000)
    names = FEATURE_SETS["basic-15"]
    table = compute_features(candles, names, (1, 3, 6, 12))
    with pytest.raises(NotEnoughHistory, match="about 4132 bars"):
        eligible_samples(candles, table, context_bars=64, horizon_bars=12, regime_bars=48)


def test_the_bars_needed_are_enough_and_nearly_all_needed():
    needed = bars_needed(NAMES, (1, 3), 30, 9, timeframe_minutes=5)
    candles = quiet_market(needed)
    table = compute_features(candles, NAMES, (1, 3))
    assert eligible_samples(candles, table, **LENGTHS).has_label.any()
    short = candles.slice(0, needed - 12)
    table = compute_features(short, NAMES, (1, 3))
    assert not eligible_samples(short, table, **LENGTHS).has_label.any()


@pytest.mark.parametrize(("context", "factor", "bars"), [(250, 3, 82), (250, 6, 40), (250, 12, 19)])
def test_coarse_bars_inside_every_window(context, factor, bars):
    assert coarse_bars(context, factor) == bars


def test_a_scale_that_does_not_fit_the_window_is_refused():
    with pytest.raises(ContextTooShort, match="at least 23 bars"):
        coarse_bars(22, 12)
    assert coarse_bars(23, 12) == 1


def test_a_warm_up_of_whole_days_counts_in_bars_of_the_timeframe():
    names = FEATURE_SETS["all-67"]
    assert bars_needed(names, (1,), 64, 0, timeframe_minutes=5) == 7 * 288 + 1 + 64
    assert bars_needed(names, (1,), 64, 0, timeframe_minutes=1) == 7 * 1440 + 1 + 64


def test_no_window_and_no_label_spans_a_gap_of_real_candles(data_folder):
    """The file has two gaps, 304 bars in all; every window and label on every scale is looked at."""
    candles = read_candles(data_folder / "binance_BTCUSDT_5m.parquet", 5)
    steps = np.diff(candles.time) // candles.bar_ns
    assert (np.sum(steps > 1), np.sum(steps - 1)) == (2, 304)
    table = compute_features(candles, ("ret_48", "tod_sin"), (1, 3, 6, 12))
    samples = eligible_samples(candles, table, context_bars=250, horizon_bars=12, regime_bars=48)
    whole = 249 * candles.bar_ns
    assert np.all(candles.time[samples.bar] - candles.time[samples.bar - 249] == whole)
    for factor, scale in table.scales.items():
        last = scale.last_closed[samples.bar]
        first = last - coarse_bars(250, factor) + 1
        length = (coarse_bars(250, factor) - 1) * factor * candles.bar_ns
        assert np.all(scale.open_time[last] - scale.open_time[first] == length)
        assert np.all(scale.open_time[first] >= candles.time[samples.bar - 249])
    labelled = samples.bar[samples.has_label]
    assert np.all(candles.time[labelled + 48] - candles.time[labelled] == 48 * candles.bar_ns)
    assert len(labelled) < len(candles) - 2 * 250
