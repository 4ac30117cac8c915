"""The numbers of the steps: brought from the device, told to the observer, summed over the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modeling.training.errors import Diverged
from modeling.training.losses import ALL_HEADS, BALANCED_HEADS
from modeling.training.observer import StepMetrics, TrainingObserver

STEPS_PER_FETCH = 50
# Every network starts at the constant predictor. On the candles tried, training at rates up to .1 never
# lost more than 1.1 times as much as at its first step (decision record 0037).
LARGEST_LOSS = 10.0


@dataclass(frozen=True)
class PendingStep:
    """A step whose numbers may still lie on the device: losses by head, loss, mean dropout rate,
    gradient norm, left out, and v by head.
    """

    step: int
    epoch: int
    samples: int
    learning_rate: float
    numbers: Tensor


class StepLog:
    """What the steps of one fold had to tell. `constant_loss` is the mean loss of the constant
    predictor over the fit samples, all heads together; `learning_rate` that of the spec.
    """

    def __init__(
        self,
        observer: TrainingObserver,
        *,
        fold: int,
        total_steps: int,
        learning_rate: float,
        constant_loss: float,
        steps_per_fetch: int,
        clock: Callable[[], float],
    ) -> None:
        self.observer, self.clock = observer, clock
        self.fold, self.total_steps, self.learning_rate = fold, total_steps, learning_rate
        self.constant_loss, self.steps_per_fetch = constant_loss, steps_per_fetch
        self.bad_in_a_row = 0
        self.sums = np.zeros(len(ALL_HEADS) + 1)  # losses × samples by head, and samples
        self._pending: list[PendingStep] = []
        self._fetched_at: float | None = None

    def note(self, made: PendingStep) -> None:
        """Take the numbers of a step; they are told at the next fetch. Raises Diverged."""
        self._pending.append(made)
        if len(self._pending) >= self.steps_per_fetch:
            self.fetch()

    def fetch(self) -> None:
        """Bring the numbers of the steps since the last fetch from the device and tell them.

        Raises Diverged at the second of two bad steps in a row: steps that were left out since loss
        or gradient was not finite, or that lost more than LARGEST_LOSS times the constant's loss.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        rows = torch.stack([each.numbers for each in pending]).tolist()
        now = self.clock()
        since, self._fetched_at = self._fetched_at, now
        samples = sum(each.samples for each in pending)
        speed = samples / (now - since) if since is not None and now > since else None
        for each, row in zip(pending, rows, strict=True):
            self._tell(each, row, speed)

    def losses_of_epoch(self) -> dict[str, float]:
        """Mean losses by head of the epoch's steps that were not left out."""
        self.fetch()
        means = self.sums[:-1] / max(self.sums[-1], 1.0)
        return dict(zip(ALL_HEADS, means.tolist(), strict=True))

    def begin_epoch(self) -> None:
        """The next steps are of another epoch."""
        self.sums = np.zeros_like(self.sums)

    def pause(self) -> None:
        """What follows is no training time."""
        self._fetched_at = None

    def _tell(self, made: PendingStep, row: list[float], speed: float | None) -> None:
        heads = len(ALL_HEADS)
        losses, (loss, dropped, norm, left_out) = row[:heads], row[heads : heads + 4]
        share = sum(losses) / self.constant_loss
        exploded = not left_out and share > LARGEST_LOSS
        self.bad_in_a_row = self.bad_in_a_row + 1 if left_out or exploded else 0
        if left_out:
            self.observer.on_non_finite(made.step)
        else:
            self.sums += np.array([*losses, 1.0]) * made.samples
            self.observer.on_step(
                StepMetrics(
                    fold=self.fold,
                    step=made.step,
                    total_steps=self.total_steps,
                    epoch=made.epoch,
                    loss=loss,
                    losses=dict(zip(ALL_HEADS, losses, strict=True)),
                    balance=dict(zip(BALANCED_HEADS, row[heads + 4 :], strict=True)),
                    learning_rate=made.learning_rate,
                    gradient_norm=norm,
                    mean_dropout=dropped,
                    samples=made.samples,
                    samples_per_s=speed,
                )
            )
        if self.bad_in_a_row > 1:
            raise Diverged(made.step, self.learning_rate, share=share if exploded else None)
