"""The leak alarm: scores too good for what they claim are a fault until somebody explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from modeling.evaluation.effective import no_skill_band

MAX_ACCURACY = 0.58
MAX_AUC = 0.62
MIN_EFFECTIVE = 300
ALARMED_TIMEFRAME_MINUTES = 5
ALARMED_HORIZON_BARS = 12

Market = Literal["real", "noise"]


@dataclass(frozen=True)
class BlockScore:
    """Direction scores of one out-of-sample block; None where undefined."""

    accuracy: float | None
    auc: float | None
    effective: float


@dataclass(frozen=True)
class LeakAlarm:
    """Whether the alarm is raised, and one sentence for each cause."""

    raised: bool
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON data."""
        return {"raised": self.raised, "reasons": list(self.reasons)}


def leak_alarm(
    blocks: Mapping[str, BlockScore],
    *,
    market: Market,
    timeframe_minutes: int,
    horizon_bars: int,
    intervals_meet: bool = False,
    causality_failed: bool = False,
) -> LeakAlarm:
    """Raise the alarm for scores over the line and for failed checks.

    `blocks` maps a name that people read ("fold 2", "all folds", "logistic, fold 1") to its scores;
    give baseline rungs too, since a rung over the line means that data or labels leak. Real
    5-minute candles with a horizon of 1 to 12 bars: accuracy > .58 or AUC > .62 with at least 300
    effective samples. Noise: a score above the upper end of `no_skill_band`. Other timeframes and
    longer horizons have no line; the two checks count always.
    """
    reasons = []
    if intervals_meet:
        reasons.append("Training and test intervals meet.")
    if causality_failed:
        reasons.append("The causality check failed.")
    for name, block in blocks.items():
        for measure, value, line in _lines(block, market, timeframe_minutes, horizon_bars):
            if value is not None and value > line:
                reasons.append(
                    f"{name}: {measure} {value:.3f} is above {line:.3f}, "
                    f"with {block.effective:.0f} effective samples."
                )
    return LeakAlarm(bool(reasons), tuple(reasons))


def _lines(
    block: BlockScore, market: Market, timeframe_minutes: int, horizon_bars: int
) -> list[tuple[str, float | None, float]]:
    if market == "noise":
        band = no_skill_band(block.effective)
        return [("accuracy", block.accuracy, band[1]), ("AUC", block.auc, band[1])] if band else []
    if timeframe_minutes != ALARMED_TIMEFRAME_MINUTES or horizon_bars > ALARMED_HORIZON_BARS:
        return []
    if block.effective < MIN_EFFECTIVE:
        return []
    return [("accuracy", block.accuracy, MAX_ACCURACY), ("AUC", block.auc, MAX_AUC)]
