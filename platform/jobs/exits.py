"""How an attempt ended and what becomes of its job."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db import InterfaceError, OperationalError

from artifacts.store import QUOTA_STORED, FileChanged, QuotaExceeded
from jobs.errors import Fenced, JobFailed, PeerLost, StopRequested
from jobs.statuses import COUNTED, FAILURES, ExitKind, JobStatus
from specs.declaration import InvalidSpec

THIRD_TRY_DELAY_S = 30

CODE_OF = {kind: str(kind) for kind in FAILURES} | {ExitKind.CONFIG: "invalid_spec"}
KIND_OF = {code: kind for kind, code in CODE_OF.items()}

# What the user reads, and what to do next. Filled by `failed(kind, …)` or by `outcome_of`.
PATTERNS = {
    ExitKind.OK: "Finished in {duration}.",
    ExitKind.CONFIG: "{field}: {found}; expected {rule}. Change it and start again.",
    ExitKind.NOT_ENOUGH_HISTORY: (
        "The dataset has {available} usable bars, this experiment needs {needed}."
        " Choose a longer dataset or a shorter context."
    ),
    ExitKind.INVALID_INPUT: "Line {line}, column {column}: found {found}, expected {rule}.",
    ExitKind.DATA_CHANGED: (
        "The stored candles no longer match version {version}."
        " Import the file again as a new version."
    ),
    ExitKind.DIVERGED: (
        "Training stopped: the loss {what} at step {step}."
        " Start again with learning rate {learning_rate:.2g}."
        " The checkpoint of step {checkpoint_step} is kept."
    ),
    ExitKind.OOM: (
        "Out of memory at step {step}: batch {batch} needs about {needed_gb:.1f} GB,"
        " {free_gb:.1f} GB free. Start again with batch {next_batch}."
    ),
    ExitKind.DISK_FULL: (
        "The disk is full ({free} free, {needed} needed). The checkpoint of step"
        " {checkpoint_step} is intact. Free space, then Resume."
    ),
    ExitKind.TIME_LIMIT: (
        "Stopped after {hours} h, the limit of this workspace."
        " Resume continues from step {checkpoint_step}."
    ),
    ExitKind.CANCELLED: "Stopped by {user} at step {step}. Resume continues from step {checkpoint_step}.",
    ExitKind.PREEMPTED: (
        "Paused for a restart of the service; continues from step {checkpoint_step}."
    ),
    ExitKind.KILLED: "The training process was killed; starting again (try {tries} of {max_tries}).",
    ExitKind.LOST: (
        "Lost contact with the worker {seconds} s ago; starting again (try {tries} of {max_tries})."
    ),
    ExitKind.STALLED: "No progress for {minutes} min; starting again (try {tries} of {max_tries}).",
    ExitKind.CRASHED: "Something broke on our side. Reference {error_reference}.",
}
WORKER_DIED = "The worker died {times} times{where}. Reference {error_reference}."
TIMES = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}

# How libraries that are not imported here say that an allocation failed.
STARVED = ("can't allocate memory", "DefaultCPUAllocator", "not enough memory", "std::bad_alloc")

# Said when the numbers of the pattern are not known where the error was met.
SHORT = {
    ExitKind.OOM: "Out of memory. Start again with a smaller batch or a shorter context.",
    ExitKind.DISK_FULL: "The disk is full. Free space, then start again or resume.",
    ExitKind.DATA_CHANGED: "A stored file changed or is gone. Import it again as a new version.",
    ExitKind.PREEMPTED: "Paused for a restart of the service; continues when it is back.",
    ExitKind.TIME_LIMIT: "Stopped at the time limit of this workspace.",
}


def failed(kind: ExitKind, **values: object) -> JobFailed:
    """The failure of this kind with its message; KeyError when a value of the pattern is missing."""
    return JobFailed(CODE_OF[kind], PATTERNS[kind].format_map(values))


@dataclass(frozen=True)
class Exit:
    """How an attempt ended, as seen by whoever closes it."""

    kind: ExitKind
    code: str = ""
    message: str = ""
    error_reference: str = ""
    exit_code: int | None = None
    signal: int | None = None
    step: int | None = None
    peak_memory_mib: int | None = None


@dataclass(frozen=True)
class JobFacts:
    """What the outcome depends on beside the exit itself."""

    status: JobStatus
    counted_tries: int
    max_tries: int
    checkpoint_step: int | None = None
    cancelled_by: str = ""
    seconds: int = 0  # since the last heartbeat (lost) or the last progress (stalled)
    duration: str = ""


@dataclass(frozen=True)
class Outcome:
    status: JobStatus
    message: str = ""
    code: str = ""
    error_reference: str = ""
    counted_tries: int = 0
    delay_s: int = 0


def outcome_of(end: Exit, facts: JobFacts) -> Outcome:
    """What becomes of a running or cancelling job whose attempt ended like this."""
    if end.kind == ExitKind.OK:
        message = end.message or _text(ExitKind.OK, duration=facts.duration)
        return Outcome(JobStatus.SUCCEEDED, message, counted_tries=facts.counted_tries)
    if facts.status == JobStatus.CANCELLING:
        return Outcome(
            JobStatus.CANCELLED, _cancelled(end, facts), counted_tries=facts.counted_tries
        )
    if end.kind in FAILURES:
        code = end.code or CODE_OF[end.kind]
        message = end.message or SHORT.get(end.kind, code)
        return Outcome(JobStatus.FAILED, message, code, counted_tries=facts.counted_tries)
    if end.kind in COUNTED:
        return _tried(end, facts)
    if end.kind in (ExitKind.PREEMPTED, ExitKind.CANCELLED):
        # Stopped without a person's wish, so the work goes on elsewhere.
        message = SHORT[ExitKind.PREEMPTED]
        if facts.checkpoint_step is not None:
            message = _text(ExitKind.PREEMPTED, checkpoint_step=facts.checkpoint_step)
        return Outcome(JobStatus.QUEUED, message, counted_tries=facts.counted_tries)
    reference = end.error_reference or new_reference()
    message = _text(ExitKind.CRASHED, error_reference=reference)
    return Outcome(
        JobStatus.ERRORED, message, "crashed", reference, counted_tries=facts.counted_tries
    )


def _tried(end: Exit, facts: JobFacts) -> Outcome:
    tries = facts.counted_tries + 1
    if tries >= facts.max_tries:
        reference = new_reference()
        known = facts.checkpoint_step is not None
        message = WORKER_DIED.format(
            times=TIMES.get(tries, str(tries)),
            where=f" at step {facts.checkpoint_step}" if known else "",
            error_reference=reference,
        )
        return Outcome(JobStatus.ERRORED, message, "worker_died", reference, tries)
    message = _text(
        end.kind,
        tries=tries + 1,
        max_tries=facts.max_tries,
        seconds=facts.seconds,
        minutes=max(1, round(facts.seconds / 60)),
    )
    delay_s = 0 if tries == 1 else THIRD_TRY_DELAY_S
    return Outcome(JobStatus.QUEUED, message, counted_tries=tries, delay_s=delay_s)


def _cancelled(end: Exit, facts: JobFacts) -> str:
    user = facts.cancelled_by or "a user"
    if facts.checkpoint_step is None:
        return f"Stopped by {user}."
    step = facts.checkpoint_step if end.step is None else end.step
    return _text(ExitKind.CANCELLED, user=user, step=step, checkpoint_step=facts.checkpoint_step)


def _text(kind: ExitKind, **values: object) -> str:
    return PATTERNS[kind].format_map(values)


def new_reference() -> str:
    """A short word that ties what the user sees to the traceback in the log."""
    return secrets.token_hex(4)


def exit_of(error: BaseException) -> Exit:
    """How an attempt ends whose body raised this."""
    match error:
        case JobFailed():
            kind = KIND_OF.get(error.code, ExitKind.INVALID_INPUT)
            return Exit(kind, error.code, error.message)
        case StopRequested():
            return Exit(ExitKind.PREEMPTED)
        case Fenced():
            return Exit(ExitKind.FENCED)
        case PeerLost():
            return Exit(ExitKind.KILLED)
        case InvalidSpec():
            return Exit(ExitKind.CONFIG, message=f"{error}. Change it and start again.")
        case FileChanged():
            return Exit(ExitKind.DATA_CHANGED, message=f"{error}. {SHORT[ExitKind.DATA_CHANGED]}")
        case QuotaExceeded():
            return Exit(ExitKind.INVALID_INPUT, QUOTA_STORED, str(error))
        case OSError(errno=errno.ENOSPC | errno.EFBIG | errno.EDQUOT):
            return Exit(ExitKind.DISK_FULL)
        case OperationalError() | InterfaceError():
            # The database went away under the work: no fault of the job, so it is tried again.
            return Exit(ExitKind.LOST)
    if _is_out_of_memory(error):
        return Exit(ExitKind.OOM)
    return Exit(ExitKind.CRASHED, error_reference=new_reference())


def _is_out_of_memory(error: BaseException) -> bool:
    # torch is not imported here: its errors are known by name and words.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(words in str(error) for words in STARVED)


def exit_from_json(data: Mapping[str, object]) -> Exit:
    """The exit a trainer reported; unknown keys are ignored, an unknown kind is a crash."""
    kind = str(data.get("kind", ""))
    if kind not in ExitKind.values:
        return Exit(ExitKind.CRASHED)
    step = data.get("step")
    return Exit(
        ExitKind(kind),
        code=str(data.get("code", "")),
        message=str(data.get("message", "")),
        error_reference=str(data.get("error_reference", "")),
        step=step if isinstance(step, int) else None,
    )


def with_process(end: Exit, *, exit_code: int | None, signal: int | None, peak_mib: int) -> Exit:
    """The same exit with what the operating system knows about the process."""
    return replace(end, exit_code=exit_code, signal=signal, peak_memory_mib=peak_mib)
