"""Presets of whole experiments: the model's preset with the default backtest."""

from __future__ import annotations

from backtests.specs import ExperimentSpec
from modeling.presets import PRESETS


def preset(name: str) -> ExperimentSpec:
    """The experiment of a preset. Raises KeyError for an unknown name."""
    return ExperimentSpec(**dict(PRESETS[name]))
