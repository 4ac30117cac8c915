"""How training that broke off is told to the user."""

from __future__ import annotations

from jobs.errors import JobFailed
from jobs.exits import failed
from jobs.statuses import ExitKind
from modeling.specs import TrainingSpec
from modeling.training.errors import Diverged, OutOfMemory, TooFewDevices


def diverged(error: Diverged, *, steps_before: int, last_saved: int | None) -> JobFailed:
    """Steps of the error and of the last checkpoint count within the fold; the user sees the run's."""
    failure = failed(
        ExitKind.DIVERGED,
        what=error.what,
        step=steps_before + error.step,
        learning_rate=next_learning_rate(error.learning_rate),
        checkpoint_step=steps_before + (last_saved or 0),
    )
    if last_saved is not None:
        return failure
    return JobFailed(failure.code, failure.message.partition(" The checkpoint of")[0])


def out_of_memory(error: OutOfMemory, *, steps_before: int) -> JobFailed:
    return failed(
        ExitKind.OOM,
        step=steps_before + error.step,
        batch=error.batch,
        needed_gb=error.needed_bytes / 1e9,
        free_gb=error.free_bytes / 1e9,
        next_batch=next_batch(error.batch),
    )


def next_learning_rate(rate: float) -> float:
    """What to try after a rate that diverged: a third, in the two digits that the message shows."""
    return max(_least("learning_rate"), float(f"{rate / 3:.2g}"))


def next_batch(batch: int) -> int:
    """What to try after a batch that did not fit into memory."""
    return int(max(_least("batch"), batch // 2))


def _least(name: str) -> float:
    bounds = TrainingSpec.model_fields[name].metadata
    return next(float(bound.ge) for bound in bounds if hasattr(bound, "ge"))


def too_few_devices(error: TooFewDevices) -> JobFailed:
    return devices_missing(found=error.found, wanted=error.wanted)


def devices_missing(*, found: int, wanted: int) -> JobFailed:
    return failed(
        ExitKind.CONFIG,
        field="training.devices",
        found=wanted,
        rule=f"at most {found}, the devices of the machine that trains",
    )
