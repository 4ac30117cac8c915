"""Loss curves and prediction charts."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from modeling.charts import loss_figure, predictions_figure

BAR = 300 * 10**9
LABELS = {"loss": "Training", "validation": "Validation"}


def curve(fold, steps, name="loss"):
    return [(fold, name, step, 1.0 / step) for step in range(1, steps + 1)]


def trace(figure, name):
    return next(item for item in figure["data"] if item["name"] == name)


def predictions(rows=400):
    rng = np.random.default_rng(0)
    return {
        "open_at": 1711284000 * 10**9 + np.arange(rows) * BAR,
        "fold": np.repeat([0, 1], [rows // 2, rows - rows // 2]),
        "close": 100 + rng.normal(size=rows).cumsum(),
        "action": np.tanh(rng.normal(size=rows)),
        "threshold": np.full(rows, 0.8),
        "confidence": rng.uniform(size=rows),
        "volatility": np.full(rows, 0.001),
        "realised_volatility": np.full(rows, 0.002),
    }


def draw(columns):
    return predictions_figure(columns, bar_ns=BAR, title="Predictions", price_unit="USDT")


@pytest.mark.parametrize("figure", [loss_figure(curve(0, 5), labels=LABELS), draw(predictions())])
def test_figures_are_plain_json_that_plotly_accepts_and_have_no_colours(figure):
    text = json.dumps(figure, allow_nan=False)
    assert json.loads(text) == figure
    assert go.Figure(figure).layout.meta["summary"]
    assert not [word for word in ("#", "rgb", "color", "scattergl") if word in text]


def test_folds_stand_side_by_side_with_a_break_between():
    loss = trace(loss_figure(curve(1, 2) + curve(0, 3), labels=LABELS), "Training")
    assert loss["x"] == [1, 2, 3, None, 4, 5]
    assert loss["y"] == [1.0, 0.5, 1 / 3, None, 1.0, 0.5]


def test_points_in_any_order_and_twice_are_drawn_once_and_in_order():
    points = curve(0, 4)
    again = loss_figure(points[::-1] + points[:2], labels=LABELS)
    assert again == loss_figure(points, labels=LABELS)


def test_each_name_has_its_own_words_dash_and_role():
    points = curve(0, 3) + curve(0, 2, "validation") + curve(0, 9, "learning_rate")
    figure = loss_figure(points, labels=LABELS)
    assert [item["name"] for item in figure["data"]] == ["Training", "Validation"]
    assert len({item["line"]["dash"] for item in figure["data"]}) == 2
    assert len({item["meta"] for item in figure["data"]}) == 2


def test_long_curves_are_thinned_and_keep_their_spike():
    points = [(0, "loss", step, 1.0) for step in range(1, 9001)]
    points[4321] = (0, "loss", 4322, 99.0)
    loss = trace(loss_figure(points, labels=LABELS), "Training")
    assert len(loss["x"]) <= 2000
    assert loss["x"][loss["y"].index(99.0)] == 4322


def test_a_skipped_step_is_a_break():
    points = [(0, "loss", 1, 2.0), (0, "loss", 2, None), (0, "loss", 3, 1.0)]
    assert trace(loss_figure(points, labels=LABELS), "Training")["y"] == [2.0, None, 1.0]


def test_before_the_first_point_the_figure_says_so():
    figure = loss_figure([], labels=LABELS)
    assert figure["layout"]["meta"]["summary"] == "No point has been logged yet."


def test_decisions_are_marked_where_the_side_changes():
    columns = predictions(6)
    columns["fold"][:] = 0
    columns["action"] = np.array([0.0, 0.9, 0.95, -0.9, 0.1, 0.8])
    figure = draw(columns)
    times = trace(figure, "Close")["x"]
    assert trace(figure, "Long decision")["x"] == [times[1], times[5]]
    assert trace(figure, "Short decision")["x"] == [times[3]]
    assert trace(figure, "Long decision")["y"] == columns["close"][[1, 5]].tolist()


def test_lines_break_at_gaps_and_fold_borders():
    columns = predictions(10)
    columns["open_at"][8:] += 50 * BAR
    close = trace(draw(columns), "Close")
    assert [place for place, value in enumerate(close["y"]) if value is None] == [5, 9]


def test_folds_are_labelled_at_their_first_bar():
    layout = draw(predictions(10))["layout"]
    assert [note["text"] for note in layout["annotations"]] == ["fold 0", "fold 1"]
    assert len(layout["shapes"]) == 1


def test_unknown_realised_values_are_left_open():
    columns = predictions(10)
    columns["realised_volatility"][-2:] = np.nan
    assert trace(draw(columns), "Realised volatility")["y"][-2:] == [None, None]


def test_no_trace_has_more_than_two_thousand_points():
    figure = draw(predictions(30_000))
    assert max(len(item["x"]) for item in figure["data"]) <= 2000
    assert len(json.dumps(figure)) < 1_000_000


def test_extremes_of_the_score_survive_thinning():
    columns = predictions(30_000)
    columns["action"][12_345] = 0.9999999
    assert max(y for y in trace(draw(columns), "Action score")["y"] if y is not None) == 0.9999999


def test_no_predictions_give_an_empty_figure_that_says_so():
    empty = {name: column[:0] for name, column in predictions(10).items()}
    assert draw(empty)["layout"]["meta"]["summary"] == "No predictions in this span."
