"""Candle figures and the thinning of lines."""

import json
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import pytest

from markets.charts import candles_figure, line, numbers, stacked_layout, thinned, utc_times

BAR = 300 * 10**9
START = 1711284000 * 10**9


def bars(rows):
    close = 100 + np.random.default_rng(0).normal(size=rows).cumsum()
    return SimpleNamespace(
        time=START + np.arange(rows) * BAR,
        open=np.concatenate([[100.0], close[:-1]])[:rows],
        high=close + 3,
        low=close - 3,
        close=close,
        volume=np.full(rows, 2.0),
    )


def test_a_candle_figure_is_plain_json_that_plotly_accepts():
    figure = candles_figure(bars(300), "BTC/USDT", price_unit="USDT")
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    assert go.Figure(figure).data[0].type == "candlestick"
    assert figure["layout"]["yaxis"]["title"]["text"] == "Price (USDT)"


def test_a_candle_figure_has_the_numbers_of_its_bars():
    shown = bars(3)
    candle = candles_figure(shown, "BTC/USDT")["data"][0]
    assert candle["x"][1] == "2024-03-24 12:45:00"
    assert candle["low"] == shown.low.tolist()


def test_a_candle_figure_says_what_it_shows_in_one_sentence():
    summary = candles_figure(bars(3), "BTC/USDT")["layout"]["meta"]["summary"]
    assert summary.startswith("2024-03-24 12:40 to 2024-03-24 12:50 UTC: from 100 to ")


def test_no_candles_give_an_empty_figure_that_says_so():
    figure = candles_figure(bars(0), "BTC/USDT")
    assert figure["data"][0]["x"] == []
    assert figure["layout"]["meta"]["summary"] == "No candles in this span."


def test_more_than_two_thousand_bars_are_refused():
    with pytest.raises(ValueError, match="at most 2000"):
        candles_figure(bars(2001), "BTC/USDT")


def test_a_candle_figure_has_no_colours_and_no_webgl():
    text = json.dumps(candles_figure(bars(10), "BTC/USDT"))
    for word in ("#", "rgb", "color", "template", "scattergl"):
        assert word not in text


def test_two_thousand_candles_stay_below_a_megabyte():
    assert len(json.dumps(candles_figure(bars(2000), "BTC/USDT"))) < 1_000_000


def test_what_is_not_finite_becomes_none():
    assert numbers(np.array([1.0, np.nan, np.inf])) == [1.0, None, None]


def test_times_are_written_in_utc():
    assert utc_times(np.array([START])) == ["2024-03-24 12:40:00"]


@pytest.mark.parametrize("points", [4, 7, 100, 2000])
def test_thinning_keeps_ends_and_extremes_within_the_limit(points):
    values = np.random.default_rng(1).normal(size=25_000).cumsum()
    kept = thinned(values, points)
    assert len(kept) <= points
    assert (np.diff(kept) > 0).all()
    assert {0, 24_999, int(values.argmin()), int(values.argmax())} <= set(kept.tolist())


def test_thinning_keeps_the_largest_drawdown():
    equity = np.exp(np.random.default_rng(2).normal(size=20_000).cumsum() / 100)
    fall = lambda curve: (curve / np.maximum.accumulate(curve) - 1).min()  # noqa: E731
    assert fall(equity[thinned(equity)]) == pytest.approx(fall(equity))


def test_thinning_never_prefers_nan_to_a_number():
    values = np.full(5000, np.nan)
    values[1234] = 7.0
    assert 1234 in thinned(values, 100)


def test_few_points_are_left_alone_and_a_silly_limit_is_refused():
    assert thinned(np.arange(5.0)).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="at least 4"):
        thinned(np.arange(5.0), 3)


def test_a_gap_breaks_the_line():
    broken = np.array([False, False, True, False])
    x, y = line(START + np.arange(4) * BAR, np.array([1.0, 2, 3, 4]), broken)
    assert y == [1.0, 2.0, None, 3.0, 4.0]
    assert len(x) == 5


def test_breaks_survive_thinning_and_count_as_points():
    values = np.arange(10_000.0)
    broken = np.zeros(10_000, dtype=bool)
    broken[[3000, 6000]] = True
    _, y = line(START + np.arange(10_000) * BAR, values, broken, 200)
    assert len(y) <= 200
    assert y.count(None) == 2


def test_more_breaks_than_can_be_drawn_are_left_out():
    _, y = line(START + np.arange(300) * BAR, np.ones(300), np.ones(300, dtype=bool), 100)
    assert None not in y


def test_panels_do_not_overlap():
    layout = stacked_layout("t", ["a", "b", "c"], "s", shares=(3, 1, 2))
    spans = [layout[name]["domain"] for name in ("yaxis", "yaxis2", "yaxis3")]
    assert spans[0][1] == 1.0
    assert spans[0][0] > spans[1][1] > spans[1][0] > spans[2][1]
    assert spans[2][0] == pytest.approx(0.0)
