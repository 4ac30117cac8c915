import json

import numpy as np
import plotly.graph_objects
import pytest

from backtests.charts import drawdown_figure, equity_figure, thinned

BAR_NS = 300 * 10**9


@pytest.fixture
def walk():
    rng = np.random.default_rng(2)
    return 10_000 * np.exp(np.cumsum(rng.normal(0, 0.002, 50_000)))


def times_of(count):
    return 1_700_000_000 * 10**9 + np.arange(count, dtype=np.int64) * BAR_NS


def points_of(figure):
    return sum(len(trace["x"]) for trace in figure["data"])


def drawdown_of(values):
    values = np.array(values, float)
    return (values / np.maximum.accumulate(values) - 1).min()


def test_the_figures_are_what_plotly_accepts(walk):
    times = times_of(len(walk))
    for figure in (
        equity_figure(times, walk, walk * 0.9, (walk * 0.99, walk * 1.01)),
        drawdown_figure(times, walk, walk[::-1]),
    ):
        plotly.graph_objects.Figure(figure)
        json.dumps(figure, allow_nan=False)


def test_a_long_run_is_thinned_to_two_thousand_points_and_says_so(walk):
    figure = equity_figure(times_of(len(walk)), walk, walk, (walk, walk))
    assert 1500 < points_of(figure) <= 2000
    assert figure["layout"]["meta"]["aggregated"] is True


def test_thinning_keeps_ends_extremes_and_the_maximum_drawdown(walk):
    kept = walk[thinned(walk, 300)]
    assert (kept[0], kept[-1]) == (walk[0], walk[-1])
    assert (kept.min(), kept.max()) == (walk.min(), walk.max())
    assert drawdown_of(kept) == drawdown_of(walk)


def test_a_fall_between_the_extremes_of_one_bucket_survives():
    values = np.full(10_000, 99.0)
    values[:5050] = 20
    values[5050:5052] = (100, 50)
    assert drawdown_of(values[thinned(values, 100)]) == drawdown_of(values) == -0.5


def test_a_short_run_is_shown_whole():
    times, equity = times_of(5), np.array([1.0, 3, 2, 4, 5])
    trace = equity_figure(times, equity)["data"][0]
    assert trace["y"] == [1, 3, 2, 4, 5]
    assert trace["x"][0] == "2023-11-14T22:13:20Z"


def test_a_gap_in_time_breaks_the_line():
    times = times_of(6)
    times[3:] += 10 * BAR_NS
    trace = equity_figure(times, np.arange(6.0))["data"][0]
    assert trace["y"] == [0, 1, 2, None, 3, 4, 5]


def test_many_gaps_leave_the_budget_of_points_alone(walk):
    times = times_of(len(walk))
    times += (np.arange(len(walk)) // 100) * BAR_NS
    figure = equity_figure(times, walk, walk)
    assert points_of(figure) <= 2000
    assert figure["data"][0]["y"].count(None) == 40


def test_the_benchmark_is_dashed_and_the_model_is_drawn_over_it(walk):
    names = [trace["name"] for trace in equity_figure(times_of(9), walk[:9], walk[:9])["data"]]
    assert names == ["Buy and hold", "Model"]
    benchmark = equity_figure(times_of(9), walk[:9], walk[:9])["data"][0]
    assert benchmark["line"]["dash"] == "dash"
    assert benchmark["meta"] == {"part": "benchmark"}


def test_no_trace_brings_a_colour_of_its_own(walk):
    text = json.dumps(equity_figure(times_of(9), walk[:9], walk[:9], (walk[:9], walk[:9])))
    assert "color" not in text


def test_the_deepest_drawdown_is_drawn_and_told(walk):
    times = times_of(len(walk))
    figure = drawdown_figure(times, walk)
    depth = drawdown_of(walk)
    assert min(value for value in figure["data"][-1]["y"] if value is not None) == depth
    assert f"{abs(depth) * 100:.2f} %" in figure["layout"]["meta"]["summary"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one mark"):
        equity_figure(times_of(0), np.empty(0))
