"""Training beside a leader: the steps, without scores, checkpoints or anything to tell."""

from __future__ import annotations

import time

from modeling.specs import ModelSpec
from modeling.training.checkpoint import Checkpoint, Provenance
from modeling.training.compiled import Compiler
from modeling.training.errors import Stopped
from modeling.training.fit import FoldTask, FoldTrainer
from modeling.training.machine import repeatable
from modeling.training.observer import Unobserved
from modeling.training.ranks import Ranks
from modeling.training.telling import PendingStep


def fit_beside(
    spec: ModelSpec,
    task: FoldTask,
    *,
    provenance: Provenance,
    ranks: Ranks,
    resume: Checkpoint | None = None,
    compiler: Compiler | None = None,
) -> None:
    """Take part in the steps of the leader's `fit`, with the same task and checkpoint, to its end.

    A process in which the `compiler` fails goes on without it, whatever the others do.
    Raises Stopped when the leader stopped; OutOfMemory; PeerLost when another process is gone.
    """
    with repeatable(task.resident.device), ranks.noticing_loss():
        follower = _Follower(spec, task, provenance=provenance, ranks=ranks, compiler=compiler)
        if resume is not None:
            follower.restore(resume)
        follower.follow()


class _Follower(FoldTrainer):
    """Makes the steps that the leader makes, each on its own share of the batch."""

    def __init__(
        self,
        spec: ModelSpec,
        task: FoldTask,
        *,
        provenance: Provenance,
        ranks: Ranks,
        compiler: Compiler | None,
    ) -> None:
        super().__init__(
            spec,
            task,
            provenance=provenance,
            observer=Unobserved(),
            network=None,
            ranks=ranks,
            compiler=compiler,
            clock=time.monotonic,
        )

    def follow(self) -> None:
        """Train to the end."""
        self._train()

    def _factor_of_next_step(self) -> float:
        return self._told()

    def _end_epoch(self) -> None:
        self.stop.record(self.epoch, self._told())
        self.epoch, self.step_in_epoch = self.epoch + 1, 0

    def _told(self) -> float:
        number = self.ranks.told()
        if number is None:
            raise Stopped(self.step)
        return number

    def _note(self, made: PendingStep) -> None:
        """The leader tells the same numbers."""

    def _save_if_due(self) -> None:
        """The leader keeps the checkpoints."""
