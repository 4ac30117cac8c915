"""Opening the sealed hold-out: counted, never undone, one run scored once."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from django.db import transaction
from django.db.models import F, Q, QuerySet

from accounts.models import User
from jobs.claim import lock
from jobs.idempotency import remember, replay
from jobs.services import RESUMABLE, enqueue, resume_job
from jobs.statuses import JobKind, JobStatus, Queue
from modeling.models import Experiment, HoldoutOpening, TrainingRun


class Asked(StrEnum):
    """What came of asking for an opening; the value is its action in the audit."""

    OPENED = "open_holdout"
    TRIED_AGAIN = "score_holdout_again"
    # The same key once more: nothing was started, and nothing is audited.
    REPLAYED = ""


class HoldoutRefused(Exception):
    """The hold-out stays sealed; `code` and `text` say why."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


def lock_holdouts(workspace_id: int) -> None:
    """Until the transaction ends, the number of openings in this workspace does not change."""
    lock("outsample.modeling.holdout", str(workspace_id))


def openings_seen(experiment: Experiment) -> int:
    """How often bars of this experiment's sealed span were looked at, by whichever experiment."""
    instruments = experiment.versions.values("dataset__instrument")
    rows = HoldoutOpening.objects.filter(
        workspace_id=experiment.workspace_id,
        from_at__lt=experiment.holdout_until,
        until_at__gt=experiment.holdout_at,
        experiment__versions__dataset__instrument__in=instruments,
    )
    return rows.values("pk").distinct().count()


def openable_runs(experiment: Experiment) -> QuerySet[TrainingRun]:
    """Succeeded runs that were not scored on the hold-out, or whose scoring did not succeed."""
    unscored = Q(opening=None) | Q(opening__job__status__in=RESUMABLE)
    rows = experiment.runs.filter(unscored, job__status=JobStatus.SUCCEEDED)
    return rows.select_related("opening__job")


def experiments_that_share(opening: HoldoutOpening) -> QuerySet[Experiment]:
    """Experiments of the workspace whose sealed span holds bars that this opening showed."""
    instruments = opening.experiment.versions.values("dataset__instrument")
    return Experiment.objects.filter(
        workspace_id=opening.workspace_id,
        holdout_at__lt=opening.until_at,
        holdout_until__gt=opening.from_at,
        versions__dataset__instrument__in=instruments,
    ).distinct()


@transaction.atomic
def open_holdout(
    run: TrainingRun, *, user: User, idempotency_key: str = ""
) -> tuple[HoldoutOpening, Asked]:
    """Count an opening and queue the scoring of one succeeded run. With a known key the earlier
    opening comes back; an opening whose job did not succeed is tried again, not counted.

    Raises HoldoutRefused, QueueFull over a quota, and JobConflict when the key belongs to other work.
    """
    experiment = run.experiment
    request_sha256 = hashlib.sha256(f"holdout {run.pk}".encode()).hexdigest()
    if job := replay(experiment.workspace, idempotency_key, request_sha256):
        return HoldoutOpening.objects.get(job=job), Asked.REPLAYED
    lock_holdouts(experiment.workspace_id)
    if opening := HoldoutOpening.objects.filter(run=run).select_related("job").first():
        return _again(opening, user, idempotency_key, request_sha256), Asked.TRIED_AGAIN
    _require_openable(run)
    job = enqueue(
        workspace=experiment.workspace,
        created_by=user,
        kind=JobKind.PREDICT,
        queue=Queue.TRAINING,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
    )
    opening = HoldoutOpening.objects.create(
        workspace=experiment.workspace,
        created_by=user,
        experiment=experiment,
        run=run,
        job=job,
        from_at=experiment.holdout_at,
        until_at=experiment.holdout_until,
        openings_before=openings_seen(experiment),
    )
    Experiment.objects.filter(pk=experiment.pk).update(holdout_openings=F("holdout_openings") + 1)
    return opening, Asked.OPENED


def _again(
    opening: HoldoutOpening, user: User, idempotency_key: str, request_sha256: str
) -> HoldoutOpening:
    if opening.job.status not in RESUMABLE:
        is_over = opening.job.status == JobStatus.SUCCEEDED
        found = (
            "was scored on the hold-out already" if is_over else "is being scored on the hold-out"
        )
        raise HoldoutRefused("already_opened", f"This run {found}; a run is scored there once.")
    resumed = resume_job(opening.job, user, has_checkpoint=True)
    remember(resumed, idempotency_key, request_sha256)
    opening.refresh_from_db()
    return opening


def _require_openable(run: TrainingRun) -> None:
    if run.job.status != JobStatus.SUCCEEDED:
        raise HoldoutRefused(
            "run_not_finished",
            f"The run is {run.job.status}; expected a run that has succeeded.",
        )
    if run.experiment.holdout_until <= run.experiment.holdout_at:
        raise HoldoutRefused(
            "no_holdout",
            "This experiment has no sealed hold-out. Clone it with a hold-out above 0.",
        )
