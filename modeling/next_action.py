"""The one action that the page of a run which ended early offers first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs.exits import CODE_OF, SHORT
from jobs.models import Job
from jobs.statuses import ExitKind, JobStatus
from modeling.failures import next_batch, next_learning_rate
from modeling.models import TrainingRun
from modeling.specs import ModelSpec, TrainingSpec

LEARNING_RATE, BATCH = "training.learning_rate", "training.batch"
SUGGESTED = (LEARNING_RATE, BATCH)  # what a clone can be asked for in its address
DIVERGED, OOM = CODE_OF[ExitKind.DIVERGED], CODE_OF[ExitKind.OOM]
# The same spec on the same candles ends like this again, from a checkpoint or from the beginning.
ENDS_AGAIN = frozenset(
    {
        DIVERGED,
        OOM,
        CODE_OF[ExitKind.CONFIG],
        CODE_OF[ExitKind.NOT_ENOUGH_HISTORY],
        CODE_OF[ExitKind.DATA_CHANGED],
        "not_fitted",
        "leak_intervals",
    }
)
CAUSALITY = "causality"


@dataclass(frozen=True)
class Change:
    """A setting with the value that the message of a failure names."""

    path: str
    value: str

    @property
    def label(self) -> str:
        """What the form calls it, within a sentence."""
        return str(TrainingSpec.model_fields[self.path.removeprefix("training.")].title).lower()


@dataclass(frozen=True)
class NextAction:
    """Go on from the checkpoint, begin again with the same spec, or with a clone of it."""

    kind: Literal["resume", "again", "clone"]
    change: Change | None = None


def next_action(run: TrainingRun, *, may_resume: bool) -> NextAction | None:
    """None while a run is at work, and when it has succeeded."""
    job = run.job
    if not job.is_terminal or job.status == JobStatus.SUCCEEDED:
        return None
    if job.code in ENDS_AGAIN:
        return NextAction("clone", change_after(job, run.experiment.model_spec))
    if may_resume and job.code != CAUSALITY:
        return NextAction("resume")
    return NextAction("again")


def change_after(job: Job, spec: ModelSpec) -> Change | None:
    """The value to try next; None where the failure names none, or the spec takes none below its own."""
    training = spec.training
    if job.code == DIVERGED:
        rate = next_learning_rate(training.learning_rate)
        return Change(LEARNING_RATE, f"{rate:g}") if rate < training.learning_rate else None
    # Memory that ended outside of the steps says nothing about the batch, nor does a run without steps.
    if job.code == OOM and job.message != SHORT[ExitKind.OOM] and not spec.network.is_linear:
        batch = next_batch(training.batch)
        return Change(BATCH, str(batch)) if batch < training.batch else None
    return None
