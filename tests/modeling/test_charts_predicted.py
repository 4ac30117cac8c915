"""The prediction chart and its table."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from backtests.engine.policy import targets_from_predictions
from backtests.specs import PolicySpec
from modeling.charts_predicted import (
    LINES,
    MOST_INSTANTS,
    Span,
    predictions_figure,
    predictions_table,
    shown_bars,
    thinning_note,
)

BAR = 300 * 10**9
START = 1711284000 * 10**9


def columns(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    close = 100 + rng.normal(size=rows).cumsum()
    regime, risk = rng.dirichlet(np.ones(4), rows), rng.dirichlet(np.ones(3), rows)
    return {
        "open_at": START + np.arange(rows) * BAR,
        "fold": np.repeat([1, 2], [rows // 2, rows - rows // 2]),
        "open": close - 0.1,
        "high": close + 0.5,
        "low": close - 0.5,
        "close": close,
        "action": np.tanh(rng.normal(size=rows)),
        "threshold": np.full(rows, 0.8),
        **{f"regime_{k}": regime[:, k] for k in range(4)},
        "confidence": rng.uniform(size=rows),
        "volatility": rng.uniform(0.001, 0.002, rows),
        "realised_volatility": rng.uniform(0.001, 0.003, rows),
        **{f"risk_{k}": risk[:, k] for k in range(3)},
    }


def shown(given):
    return shown_bars(given, bar_ns=BAR)


def draw(given, spans=()):
    return predictions_figure(shown(given), title="Predictions", spans=spans)


def trace(figure, name):
    return next(item for item in figure["data"] if item["name"] == name)


def six(value):
    return float(f"{value:.6g}")


@pytest.mark.parametrize("rows", [200, 400, 3000])
def test_figure_is_plain_json_that_plotly_accepts_and_has_no_colours(rows):
    figure = draw(columns(rows), [Span("purge", START + 5 * BAR, START + 9 * BAR, "fold 2")])
    text = json.dumps(figure, allow_nan=False)
    assert json.loads(text) == figure
    assert go.Figure(figure).layout.meta["summary"]
    assert not [word for word in ("#", "rgb", "color", "scattergl") if word in text]


def test_marks_stand_where_the_policy_takes_a_side():
    given = columns()
    spec = PolicySpec(hold_bars=0, side="long_short")
    targets = targets_from_predictions(
        given["action"], None, given["threshold"], spec, horizon_bars=1, kind="perpetual"
    )
    figure = draw(given)
    times = trace(figure, "Action score")["x"]
    times = list(dict.fromkeys(times))
    long, short = trace(figure, "Long decision"), trace(figure, "Short decision")
    assert long["x"] == [times[i] for i in np.flatnonzero(given["action"] >= 0.8)]
    assert {times.index(x) for x in long["x"]} <= set(np.flatnonzero(targets == 1).tolist())
    assert {times.index(x) for x in short["x"]} <= set(np.flatnonzero(targets == -1).tolist())


def test_no_decision_is_marked_without_a_threshold():
    given = columns()
    given["threshold"][:] = np.nan
    assert shown(given).marked == 0


def test_few_bars_are_candles_and_more_a_line():
    prices = trace(draw(columns(300)), "Price")
    assert (prices["type"], len(prices["high"])) == ("candlestick", 300)
    assert trace(draw(columns(301)), "Close")["type"] == "scatter"


def test_long_span_keeps_the_ends_and_the_extremes_of_every_line():
    given = columns(30_000)
    found = shown(given)
    assert len(found.times) <= MOST_INSTANTS
    assert found.is_thinned
    for name in LINES:
        drawn = found.values[name]
        ends = [drawn[0], drawn[-1], drawn.min(), drawn.max()]
        column = given[name]
        assert ends == [six(v) for v in (column[0], column[-1], column.min(), column.max())]


def test_no_stretch_with_a_decision_goes_without_a_mark():
    given = columns(30_000)
    given["threshold"] = np.where(np.arange(30_000) < 15_000, 0.9, 0.3)
    given["action"] *= 0.2
    # Near the border the higher score is none, for its fold asks for more.
    given["action"][[14_999, 15_001, 29_000]] = [0.5, 0.4, -0.4]
    found = shown(given)
    kept = dict(zip(found.times.tolist(), found.side.tolist(), strict=True))
    assert kept[START + 15_001 * BAR] == 1
    assert kept[START + 29_000 * BAR] == -1
    assert (found.long, found.short, found.marked) == (1, 1, 2)


def test_thinning_says_how_many_bars_and_decisions_are_drawn():
    given = columns(3000)
    found = shown(given)
    note = thinning_note(found)
    decisions = int((np.abs(given["action"]) >= 0.8).sum())
    assert f"Thinned to {len(found.times)} of 3000 bars" in note
    assert f"Marked are {found.marked} of {decisions} decisions" in note
    assert thinning_note(shown(columns(500))) == ""


def test_lines_break_at_gaps_and_fold_borders_in_a_thinned_span_too():
    given = columns(3000)
    given["open_at"][2000:] += 50 * BAR
    found = shown(given)
    after = found.times[found.broken].tolist()
    assert after == [given["open_at"][1500], given["open_at"][2000]]
    volatility = trace(draw(given), "Predicted volatility")
    assert volatility["y"].count(None) == 2


def test_a_series_of_gaps_alone_is_drawn_as_points():
    given = columns(100)
    given["open_at"] = START + 3 * np.arange(100) * BAR
    assert trace(draw(given), "Confidence")["mode"] == "markers"


def test_gaps_purge_and_embargo_are_shaded_hatched_and_named():
    given = columns(200)
    given["open_at"][150:] += 5 * BAR
    border = START + 100 * BAR
    spans = [
        Span("embargo", START - 10 * BAR, border - 10 * BAR, "fold 2"),
        Span("purge", border - 10 * BAR, border, "fold 2"),
        Span("purge", START - 90 * BAR, START - 50 * BAR, "fold 1"),
    ]
    figure = draw(given, spans)
    shades = [shape for shape in figure["layout"]["shapes"] if shape["type"] == "rect"]
    assert len(shades) == 3
    strip = {item["name"]: item for item in figure["data"] if item.get("yaxis") == "y7"}
    assert list(strip) == ["Purge", "Embargo", "Gap"]
    assert len({item["marker"]["pattern"]["shape"] for item in strip.values()}) == 3
    assert strip["Purge"]["width"] == [10 * 300_000]
    assert strip["Embargo"]["width"] == [90 * 300_000]
    assert strip["Gap"]["customdata"] == ["5 bars without a prediction"]
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["fold 1", "fold 2"]


def test_without_a_cut_there_is_no_strip():
    assert "yaxis7" not in draw(columns(50))["layout"]


def test_four_regimes_are_named_and_hatched_and_fill_the_ribbon():
    given = columns(200)
    figure = draw(given)
    ribbon = [item for item in figure["data"] if item.get("yaxis") == "y3"]
    assert [item["name"] for item in ribbon] == ["Ranging", "Bull", "Bear", "Volatile"]
    assert len({item["marker"]["pattern"]["shape"] for item in ribbon}) == 4
    assert sum(sum(item["width"]) for item in ribbon) == 200 * 300_000


def test_the_ribbon_of_a_long_span_names_the_most_frequent_regime():
    given = columns(3000)
    for k in range(4):
        given[f"regime_{k}"] = np.where(np.arange(3000) % 10 == 0, k == 1, k == 2).astype(float)
    found = shown(given)
    several = np.diff(found.times, append=found.until[-1]) > 3 * BAR
    assert set(found.regime[several].tolist()) == {2}


def test_unknown_values_are_left_open():
    given = columns(10)
    given["realised_volatility"][-2:] = np.nan
    given["regime_0"][0] = np.nan
    assert trace(draw(given), "Realised volatility")["y"][-2:] == [None, None]
    assert predictions_table(shown(given))["rows"][0][-1] == ""


def test_the_table_has_the_numbers_of_the_chart():
    given = columns(30_000)
    figure, table = draw(given), predictions_table(shown(given))
    assert len(table["rows"]) <= 500
    for heading, name in (
        ("Close", "Close"),
        ("Score", "Action score"),
        ("High risk", "High risk"),
    ):
        place = table["columns"].index(heading)
        drawn = [value for value in trace(figure, name)["y"] if value is not None]
        assert [cells[place] for _, _, cells, _, _ in table["rows"]] == drawn


def test_the_table_names_side_and_regime():
    given = columns(3)
    given["action"] = np.array([0.9, -0.9, 0.1])
    given["regime_3"] = np.full(3, 2.0)
    rows = predictions_table(shown(given))["rows"]
    assert [row[-2:] for row in rows] == [
        ("▲ long", "Volatile"),
        ("▼ short", "Volatile"),
        ("", "Volatile"),
    ]
    assert rows[1][:2] == ("2024-03-24 12:45", 2)


def test_answer_stays_small():
    given = columns(30_000)
    assert len(json.dumps(draw(given))) < 400_000


def test_no_predictions_give_an_empty_figure_that_says_so():
    empty = {name: column[:0] for name, column in columns(10).items()}
    assert draw(empty)["layout"]["meta"]["summary"] == "No predictions in this span."
    assert predictions_table(shown(empty))["rows"] == []
