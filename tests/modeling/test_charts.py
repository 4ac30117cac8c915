"""Loss curves."""

import json

import plotly.graph_objects as go

from modeling.charts import loss_figure

LABELS = {"loss": "Training", "validation": "Validation"}


def curve(fold, steps, name="loss"):
    return [(fold, name, step, 1.0 / step) for step in range(1, steps + 1)]


def trace(figure, name):
    return next(item for item in figure["data"] if item["name"] == name)


def test_figure_is_plain_json_that_plotly_accepts_and_has_no_colours():
    figure = loss_figure(curve(0, 5), labels=LABELS)
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


def test_the_names_of_many_curves_stand_two_in_a_line():
    three = {**LABELS, "other": "Other"}
    legend = loss_figure(curve(0, 3), labels=three)["layout"]["legend"]
    assert (legend["entrywidth"], legend["entrywidthmode"]) == (0.49, "fraction")
    assert "entrywidth" not in loss_figure(curve(0, 3), labels=LABELS)["layout"]["legend"]


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


def test_of_many_folds_every_border_is_drawn_and_few_are_named():
    points = [point for fold in range(1, 29) for point in curve(fold, 3)]
    layout = loss_figure(points, labels=LABELS)["layout"]
    assert len(layout["shapes"]) == 27
    named = [note["text"] for note in layout["annotations"]]
    assert named == [f"fold {number}" for number in range(1, 29, 3)]
