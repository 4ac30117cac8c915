"""When to keep the weights of an epoch, and when to stop."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

SMALLEST_GAIN = 1e-4


@dataclass
class EarlyStop:
    """Keeps the epoch with the smallest score, ties to the earlier.

    Stops after `patience` epochs in a row of which none gained more than 1e-4 on the mark set by
    the last one that did.
    """

    patience: int
    best_epoch: int = 0
    best_score: float = math.inf
    mark: float = math.inf
    stale: int = 0

    def record(self, epoch: int, score: float) -> bool:
        """Take the score of an epoch; True when it is the best so far. NaN is never the best."""
        is_best = self.best_epoch == 0 or score < self.best_score
        if is_best:
            self.best_epoch = epoch
            self.best_score = math.inf if math.isnan(score) else score
        gained = score < self.mark - SMALLEST_GAIN
        if gained:
            self.mark = score
        self.stale = 0 if gained else self.stale + 1
        return is_best

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self.stale >= self.patience

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data; infinite scores are None."""
        return {k: v if math.isfinite(v) else None for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:  # Any: JSON has no narrower type
        """The state that `to_json` wrote."""
        restored: dict[str, Any] = {k: math.inf if v is None else v for k, v in data.items()}
        return cls(**restored)
