"""The words of background work: states, kinds, queues, events and the ways an attempt ends."""

from django.db.models import TextChoices


class JobStatus(TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    CANCELLING = "cancelling", "Cancelling"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    ERRORED = "errored", "Errored"
    CANCELLED = "cancelled", "Cancelled"


ACTIVE = frozenset({JobStatus.RUNNING, JobStatus.CANCELLING})
TERMINAL = frozenset(
    {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.ERRORED, JobStatus.CANCELLED}
)

# Every change of state there is; anything else is a mistake in our code.
ALLOWED = frozenset(
    {
        (JobStatus.QUEUED, JobStatus.RUNNING),
        (JobStatus.QUEUED, JobStatus.CANCELLED),
        (JobStatus.RUNNING, JobStatus.CANCELLING),
        (JobStatus.RUNNING, JobStatus.QUEUED),
        (JobStatus.RUNNING, JobStatus.SUCCEEDED),
        (JobStatus.RUNNING, JobStatus.FAILED),
        (JobStatus.RUNNING, JobStatus.ERRORED),
        (JobStatus.CANCELLING, JobStatus.SUCCEEDED),
        (JobStatus.CANCELLING, JobStatus.CANCELLED),
    }
)


class JobKind(TextChoices):
    DETECT = "detect", "Detect"
    IMPORT = "import", "Import"
    DOWNLOAD = "download", "Download"
    RESAMPLE = "resample", "Resample"
    FEATURES = "features", "Features"
    TRAINING = "training", "Training"
    PREDICT = "predict", "Predict"
    BACKTEST = "backtest", "Backtest"
    SIGNALS = "signals", "Signals"
    SWEEP = "sweep", "Sweep"
    STUDY = "study", "Study"
    SEEDS = "seeds", "Seeds"
    EXPORT = "export", "Export"


# Work of a trainer process, on the same slots: the quotas of running and queued trainings count both.
TRAINER_KINDS = frozenset({JobKind.TRAINING, JobKind.PREDICT})
# What the hourly quota counts: work that costs compute and that a person starts on purpose.
LAUNCHES = TRAINER_KINDS | {JobKind.BACKTEST, JobKind.SWEEP, JobKind.STUDY}


class Queue(TextChoices):
    DATA = "data", "Data"
    TRAINING = "training", "Training"
    BACKTESTS = "backtests", "Backtests"


BEAT = "beat"  # the name under which the reconciler signs its Worker row


class EventKind(TextChoices):
    QUEUED = "queued", "Queued"
    PUBLISHED = "published", "Published"
    CLAIMED = "claimed", "Claimed"
    NOT_CLAIMABLE = "not_claimable", "Not claimable"
    CHECKPOINT = "checkpoint", "Checkpoint"
    RESUMED = "resumed", "Resumed"
    CANCEL_ASKED = "cancel_asked", "Cancel asked"
    DRAINED = "drained", "Drained"
    LOST = "lost", "Lost"
    REQUEUED = "requeued", "Queued again"
    FENCED = "fenced", "Fenced"
    CHECKPOINT_REJECTED = "checkpoint_rejected", "Checkpoint rejected"
    ENDED = "ended", "Ended"


class LogLevel(TextChoices):
    INFO = "info", "Info"
    WARNING = "warning", "Warning"
    ERROR = "error", "Error"


class ExitKind(TextChoices):
    OK = "ok", "Finished"
    CONFIG = "config", "Invalid spec"
    NOT_ENOUGH_HISTORY = "not_enough_history", "Not enough history"
    INVALID_INPUT = "invalid_input", "Invalid input"
    DATA_CHANGED = "data_changed", "Data changed"
    DIVERGED = "diverged", "Diverged"
    OOM = "oom", "Out of memory"
    DISK_FULL = "disk_full", "Disk full"
    TIME_LIMIT = "time_limit", "Time limit"
    CANCELLED = "cancelled", "Cancelled"
    PREEMPTED = "preempted", "Paused for a restart"
    KILLED = "killed", "Killed"
    LOST = "lost", "Lost"
    STALLED = "stalled", "Stalled"
    FENCED = "fenced", "Fenced"
    CRASHED = "crashed", "Crashed"


FAILURES = frozenset(
    {
        ExitKind.CONFIG,
        ExitKind.NOT_ENOUGH_HISTORY,
        ExitKind.INVALID_INPUT,
        ExitKind.DATA_CHANGED,
        ExitKind.DIVERGED,
        ExitKind.OOM,
        ExitKind.DISK_FULL,
        ExitKind.TIME_LIMIT,
    }
)
COUNTED = frozenset({ExitKind.KILLED, ExitKind.LOST, ExitKind.STALLED})
