"""How far a model's confidence and its volatility bands may be believed: stored figures for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modeling.evaluation.calibration import uncalibrated_reason
from modeling.measures import REGIME_NAMES

Json = dict[str, Any]  # Any: stored JSON
CALIBRATION = ("calibration_error", "brier_skill")


def certainty_of(metrics: Mapping[str, Mapping[str, Any]]) -> Json:
    """What a report keeps of the head scores: calibration, confidence cuts and volatility bands.

    Empty where they were not measured.
    """
    confidence = metrics.get("confidence", {})
    if "abstention" not in confidence:
        return {}
    return {
        "is_calibrated": not uncalibrated_reason(confidence),
        **{name: confidence[name]["value"] for name in CALIBRATION},
        "abstention": confidence["abstention"]["value"],
        "band_share": metrics["volatility"]["band_share"],
    }


def certainty_table(found: Json) -> Json:
    """The same as rows of a page, with the words for what is not calibrated; empty for nothing."""
    if not found:
        return {}
    band = found["band_share"]
    return {
        "reason": uncalibrated_reason({name: {"value": found[name]} for name in CALIBRATION}),
        **{name: found[name] for name in CALIBRATION},
        "cuts": found["abstention"]["cuts"],
        "groups": [
            group | {"label": _label(group["group"], group["key"])}
            for group in found["abstention"]["groups"]
        ],
        "band": band,
        "bands": [{**band, "label": "All test bars"}, *map(_banded, band["folds"])],
    }


def _label(group: str, key: int | None) -> str:
    if key is None:
        return "All test bars"
    return f"Fold {key}" if group == "fold" else f"Predicted {REGIME_NAMES[key].lower()}"


def _banded(fold: Json) -> Json:
    """A fold's band as factors on the forecast."""
    factors = (math.exp(fold["low"]), math.exp(fold["high"]))
    return {**fold, "label": f"Fold {fold['fold']}", "factors": factors}
