"""Reliability plots."""

import json

import plotly.graph_objects as go
import pytest

from modeling.charts_calibration import AXES, calibration_figure
from modeling.evaluation.curves import Curve
from modeling.measures import HEADS

CURVES = [
    Curve("High", [(0.1, 0.15, 200), (0.5, 0.3, 200)]),
    Curve("Low", [(0.2, 0.2, 200), (0.6, 0.7000001, 200)]),
]


@pytest.mark.parametrize("head", HEADS)
def test_figure_is_plain_json_that_plotly_accepts_and_has_no_colours(head):
    figure = calibration_figure(head, CURVES)
    text = json.dumps(figure, allow_nan=False)
    assert json.loads(text) == figure
    assert go.Figure(figure).layout.meta["summary"]
    assert not [word for word in ("#", "rgb", "color") if word in text]


def test_bins_are_points_with_six_digits():
    low = calibration_figure("risk", CURVES)["data"][1]
    assert (low["x"], low["y"], low["customdata"]) == ([0.2, 0.6], [0.2, 0.7], [200, 200])
    assert calibration_figure("risk", CURVES)["data"][0]["line"] != low["line"]


def test_the_summary_names_the_widest_distance():
    summary = calibration_figure("risk", CURVES)["layout"]["meta"]["summary"]
    assert "2 bins of about 200 bars" in summary
    assert "is 0.2 (high)" in summary


def test_the_score_is_measured_in_basis_points_against_zero():
    figure = calibration_figure("action", [Curve("Return", [(-0.5, -1.25, 9), (0.5, 2.5, 9)])])
    assert (
        "−1.25 bp in the lowest and +2.5 bp in the highest" in figure["layout"]["meta"]["summary"]
    )
    assert (figure["layout"]["shapes"][0]["y0"], figure["layout"]["shapes"][0]["y1"]) == (0.0, 0.0)


def test_without_a_curve_the_reason_stands_there():
    figure = calibration_figure("risk", [], reason="Found 3 test samples; a curve needs 200.")
    assert figure["data"] == []
    assert figure["layout"]["meta"]["summary"] == "Found 3 test samples; a curve needs 200."


def test_every_head_has_axes():
    assert set(AXES) == set(HEADS)
