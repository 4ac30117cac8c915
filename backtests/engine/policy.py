"""From head outputs to targets."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.specs import PolicySpec

LONG, SHORT = 1.0, -1.0
ALLOWED = {
    "long_only": (LONG,),
    "short_only": (SHORT,),
    "long_short": (LONG, SHORT),
}


def targets_from_predictions(
    action: ArrayLike,
    confidence: ArrayLike | None,
    threshold_per_bar: ArrayLike,
    policy: PolicySpec,
    *,
    horizon_bars: int,
    kind: Literal["spot", "perpetual"],
) -> NDArray[np.float64]:
    """The target at each close, float64 [N], one of −1, 0 and 1.

    `action` [N] is the score in (−1, 1), NaN where there is no prediction: that bar's target is 0 and a
    hold ends. `confidence` [N] is asked only of a new side, and only when the policy sets a minimum.
    `threshold_per_bar` ([N] or one number) is the fold's own, used when the policy says `auto`; a bar
    without one counts as unpredicted. `kind` decides what side `auto` allows. A score at or over the
    threshold sets a side, one under the exit threshold gives 0, and between them the target stays.
    A side stands for `hold_bars` decisions, the first included (`horizon_bars` when the policy names
    none); then the bar is judged anew, where a score under the threshold gives 0. Hold 0 judges each bar.

    Raises ValueError for arrays of unequal length.
    """
    score = np.asarray(action, np.float64)
    level = threshold_per_bar if policy.threshold == "auto" else float(policy.threshold)
    threshold = np.broadcast_to(np.asarray(level, np.float64), score.shape)
    sure = _is_sure(confidence, score, policy.minimum_confidence)
    hold = horizon_bars if policy.hold_bars is None else policy.hold_bars
    allowed = ALLOWED[_side(policy, kind)]
    return np.array(_walk(score, threshold, sure, hold, allowed, policy.exit_threshold), np.float64)


def _side(policy: PolicySpec, kind: str) -> str:
    if policy.side != "auto":
        return policy.side
    return "long_only" if kind == "spot" else "long_short"


def _is_sure(
    confidence: ArrayLike | None, score: NDArray[np.float64], minimum: float
) -> NDArray[np.bool_]:
    """True where a new side may be taken; a missing confidence is never enough for a minimum."""
    if minimum <= 0:
        return np.ones(score.shape, np.bool_)
    if confidence is None:
        return np.zeros(score.shape, np.bool_)
    return np.broadcast_to(np.asarray(confidence, np.float64) >= minimum, score.shape)


def _walk(
    score: NDArray[np.float64],
    threshold: NDArray[np.float64],
    sure: NDArray[np.bool_],
    hold: int,
    allowed: tuple[float, ...],
    exit_threshold: float,
) -> list[float]:
    """One bar after the other, for a target depends on the one before it."""
    targets: list[float] = []
    target, left = 0.0, 0
    for value, level, is_sure in zip(
        score.tolist(), threshold.tolist(), sure.tolist(), strict=True
    ):
        if math.isnan(value) or math.isnan(level):
            target = 0.0
        elif target == 0 or left == 0:
            before = target
            target = _wanted(value, level, before, hold, exit_threshold)
            if target not in allowed or (target != before and not is_sure):
                target = 0.0
            left = hold
        left = max(left - 1, 0)
        targets.append(target)
    return targets


def _wanted(value: float, level: float, before: float, hold: int, exit_threshold: float) -> float:
    if value >= level:
        return LONG
    if value <= -level:
        return SHORT
    return 0.0 if hold > 0 or abs(value) < exit_threshold else before
