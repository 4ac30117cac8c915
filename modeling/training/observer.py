"""What training tells while it runs, and what it asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from modeling.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step; steps count from 1 within a fold.

    `losses` and `balance` (v) are by head. `samples_per_s` is None until two steps were timed.
    `samples` are those of the step.
    """

    fold: int
    step: int
    total_steps: int
    epoch: int
    loss: float
    losses: dict[str, float]
    balance: dict[str, float]
    learning_rate: float
    gradient_norm: float
    mean_dropout: float
    samples: int
    samples_per_s: float | None


@dataclass(frozen=True)
class EpochMetrics:
    """One pass over the fit samples.

    `losses` are training means by head, `validation_losses` the means of the validation slice, and
    `ratios` those over what the constant predictor loses. `ratio` is the mean of `ratios`: below 1
    the network knows more than the constant.
    """

    fold: int
    epoch: int
    step: int
    losses: dict[str, float]
    validation_losses: dict[str, float]
    ratios: dict[str, float]
    ratio: float
    is_best: bool
    half_lives: dict[str, list[float]] = field(default_factory=dict)


class TrainingObserver(Protocol):
    """Follows one fold. Every call comes from the training thread, between steps."""

    def before_step(self, step: int) -> float:
        """Called before each step; returns a factor on its loss: 1, and NaN in fault tests."""
        ...

    def on_step(self, metrics: StepMetrics) -> None:
        """A step was made."""
        ...

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch was made and scored on the validation slice."""
        ...

    def on_non_finite(self, step: int) -> None:
        """Loss or gradient of a step was not finite; the step was left out."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; the observer knows where."""
        ...

    def should_stop(self) -> bool:
        """Whether training shall save a checkpoint and stop."""
        ...


class Unobserved:
    """An observer that keeps nothing and never stops."""

    def before_step(self, step: int) -> float:
        """No change."""
        return 1.0

    def on_step(self, metrics: StepMetrics) -> None:
        """Nothing."""

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Nothing."""

    def on_non_finite(self, step: int) -> None:
        """Nothing."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Nothing."""

    def should_stop(self) -> bool:
        """Never."""
        return False
