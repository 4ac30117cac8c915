"""Reliability plots of the heads; conventions as in markets.charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markets.charts import Figure, stacked_layout
from modeling.charts import DASHES
from modeling.evaluation.curves import Curve
from modeling.measures import HEADS

ROLES = ("accent", "series-3", "series-4", "series-5")


class Axes(NamedTuple):
    """What the axes of a head's plot say, and whether a calibrated head lies on the diagonal."""

    said: str
    came: str
    on_diagonal: bool


CHANCE = Axes("Stated probability", "Observed share", on_diagonal=True)
AXES = {
    "action": Axes("Action score", "Realised return (bp)", on_diagonal=False),
    "regime": CHANCE,
    "confidence": CHANCE,
    "volatility": Axes("Predicted σ per bar", "Realised σ per bar", on_diagonal=True),
    "risk": CHANCE,
}


def calibration_title(head: str) -> str:
    """The heading over the plot of a head."""
    if head == "action":
        return "Return by score"
    return f"Calibration of {HEADS[head].lower()}"


def calibration_figure(head: str, curves: Sequence[Curve], *, reason: str = "") -> Figure:
    """Mean of what came over mean of what was said, a point for each bin, a line for each curve.

    Without curves the figure is empty and its summary is the `reason`. The diagonal is drawn where a
    calibrated head lies on it, zero for the score, which only has to rise. Six significant digits.
    """
    axes = AXES[head]
    layout = stacked_layout(
        calibration_title(head), [axes.came], _summary(curves, axes) if curves else reason
    )
    layout["xaxis"] = {"title": {"text": axes.said}}
    layout["hovermode"] = "closest"
    layout["shapes"] = [_reference(curves, axes)] if curves else []
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": curve.name,
            "meta": role,
            "line": {"dash": dash},
            "x": [_short(said) for said, _, _ in curve.bins],
            "y": [_short(came) for _, came, _ in curve.bins],
            "customdata": [rows for _, _, rows in curve.bins],
            "hovertemplate": "said %{x}, came %{y}, %{customdata} bars",
        }
        for curve, role, dash in zip(curves, ROLES, DASHES, strict=False)
    ]
    return {"data": data, "layout": layout}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _reference(curves: Sequence[Curve], axes: Axes) -> Figure:
    said = [value for curve in curves for value, _, _ in curve.bins]
    low, high = min(said), max(said)
    heights = (low, high) if axes.on_diagonal else (0.0, 0.0)
    return {
        "type": "line",
        "x0": low,
        "x1": high,
        "y0": heights[0],
        "y1": heights[1],
        "line": {"dash": "dot", "width": 1},
    }


def _summary(curves: Sequence[Curve], axes: Axes) -> str:
    bins, rows = len(curves[0].bins), curves[0].bins[0][2]
    each = f"{bins} bins of about {rows} bars"
    if not axes.on_diagonal:
        (_, lowest, _), (_, highest, _) = curves[0].bins[0], curves[0].bins[-1]
        first, last = (f"{value:+.3g}".replace("-", "−") for value in (lowest, highest))
        return (
            f"In {each}, the mean return is {first} bp in the lowest and {last} bp in the highest."
        )
    gap, name = max(
        (abs(said - came), curve.name) for curve in curves for said, came, _ in curve.bins
    )
    return f"In {each}, the widest distance from the dotted diagonal is {gap:.3g} ({name.lower()})."
