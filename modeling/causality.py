"""What the stored causality certificate of a run says as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Certificate = Mapping[str, Any]  # Any: JSON has no narrower type
State = Literal["passed", "failed", "not_run"]


def failed_parts(entry: Certificate) -> list[str]:
    """Names of the parts of one fold that knew their future."""
    return [name for name, verdict in entry.items() if verdict == "failed"]


def state_of(certificate: Certificate) -> State:
    """Passed means every part: the features, and of every fold the selection, scalers, targets and
    predictions. A certificate that lacks one and in which none failed has not been run.
    """
    if not certificate:
        return "not_run"
    if not certificate["passed"]:
        return "failed"
    folds = certificate.get("folds", [])
    is_whole = bool(folds) and all("predictions" in entry for entry in folds)
    return "passed" if is_whole else "not_run"
