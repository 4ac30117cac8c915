"""Whether a backtest may take a confidence for a probability: one answer for page, API and job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtests.specs import BacktestSpec
from modeling.evaluation.calibration import uncalibrated_reason
from specs.declaration import InvalidSpec

Metrics = Mapping[str, Mapping[str, Any]]  # Any: stored scores of the heads


def require_calibrated(spec: BacktestSpec, metrics: Metrics) -> None:
    """Refuse a spec that takes an uncalibrated confidence for a probability.

    `metrics` are those of the run on its test blocks, also for a backtest of its hold-out: what is
    looked at there decides nothing. Raises InvalidSpec with the reason at every such setting.
    """
    reason = uncalibrated_reason(metrics.get("confidence", {}))
    fields = spec.confidence_fields() if reason else ()
    if fields:
        text = f"{reason}. Leave this setting off, or choose predictions that are calibrated"
        raise InvalidSpec(dict.fromkeys(fields, text))


def spec_of_rung(spec: BacktestSpec, metrics: Metrics) -> BacktestSpec:
    """The spec as a rung trades by it: without asking a confidence that it lacks, or that is none.

    To leave the rung out, or flat, would make the model's own verdict easier.
    """
    return spec.without_confidence() if uncalibrated_reason(metrics.get("confidence", {})) else spec
