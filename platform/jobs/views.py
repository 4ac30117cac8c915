from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import conditional_page, require_POST, require_safe

from accounts import audit
from accounts.editing import listing, require_editor_of, user_of
from jobs.models import Job, JobAttempt
from jobs.services import JobConflict, QueueFull, request_cancel
from jobs.statuses import JobStatus

Row = TypeVar("Row", bound=Model)

LOG_LINES = 1000
LAST_LINES = 50  # of a job that went wrong: why it did stands at the end
# htmx stops polling on this status and still swaps the answer.
STOP_POLLING = 286
# Heartbeats come every few seconds; longer silence is said.
SILENT_S = 30


@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    jobs = Job.objects.visible_to(request.user)
    sorts = {"created": "created_at", "kind": "kind", "status": "status"}
    rows = listing(request, jobs.for_list(), sorts=sorts, default="-created_at")
    context = {"listing": rows, "queues": jobs.queue_summary()}
    return render(request, "jobs/job_list.html", context)


@require_safe
def job_detail(request: HttpRequest, pk: str) -> HttpResponse:
    job = fetched(request, pk)
    context = {
        **live_context(job),
        "events": job.events.order_by("pk")[:200],
        "attempts": job.attempts.order_by("-number")[:20],
        **log_context(job, request),
    }
    return render(request, "jobs/job_detail.html", context)


@require_safe
@conditional_page
def job_status(request: HttpRequest, pk: str) -> HttpResponse:
    job = fetched(request, pk)
    status = STOP_POLLING if job.is_terminal else 200
    return render(request, "jobs/_live.html", live_context(job), status=status)


@require_safe
def job_log(request: HttpRequest, pk: str) -> HttpResponse:
    """The whole log as one text file."""
    job = fetched(request, pk)
    lines = job.log_lines.order_by("number").values_list("at", "level", "text")
    text = "".join(f"{at:%Y-%m-%dT%H:%M:%SZ} {level} {line}\n" for at, level, line in lines)
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="job-{str(job.pk)[:8]}.log"'
    return response


@require_POST
def job_cancel(request: HttpRequest, pk: str) -> HttpResponse:
    job = fetched(request, pk)
    said = "Cancel is asked for. What was finished is kept."
    ask_for(request, job, "cancel", request_cancel, subject=job.pk, said=said)
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure())
    return redirect(target if is_ours else reverse("jobs:job_detail", args=[job.pk]))


def fetched(request: HttpRequest, pk: str) -> Job:
    return get_object_or_404(Job.objects.visible_to(request.user).for_list(), pk=pk)


def ask_for(
    request: HttpRequest,
    row: Any,  # Any: a row of a workspace that has work
    action: str,
    change: Callable[..., object],
    *,
    subject: object,
    said: str,
) -> JobConflict | QueueFull | None:
    """Let an editor cancel or resume the work of a row, audited under `subject`, and say that it is so.

    What refuses it is said instead, and comes back.
    """
    require_editor_of(row, request)
    try:
        change(row, user=user_of(request))
    except (JobConflict, QueueFull) as error:
        messages.error(request, error.message)
        return error
    audit.record(
        action, workspace=row.workspace, user=user_of(request), subject=subject, request=request
    )
    messages.success(request, said)
    return None


def refused(page: HttpResponse, error: JobConflict | QueueFull) -> HttpResponse:
    """The page that says why nothing changed: 429 over a quota, else 409."""
    if isinstance(error, QueueFull):
        return refused_for_now(page, error)
    page.status_code = 409
    return page


def refused_for_now(page: HttpResponse, error: QueueFull) -> HttpResponse:
    """The page that says why nothing was started, as 429 with the time to wait."""
    page.status_code = 429
    page["Retry-After"] = str(error.retry_after_s)
    return page


def with_job(rows: QuerySet[Row]) -> Row:
    """The only one of these rows, its `job` with all that the live box shows. 404 when there is none.

    The job is read before the row. What it leaves is committed with its end, so that a job that has
    ended never stands beside a row from before.
    """
    job = get_object_or_404(Job.objects.for_list(), pk__in=rows.order_by().values("job"))
    row: Any = get_object_or_404(rows)
    if row.job_id != job.pk:
        return with_job(rows)
    row.job = job
    found: Row = row
    return found


def live_context(job: Job) -> dict[str, Any]:
    """What the live box of a job shows, wherever it stands."""
    attempt = job.last_attempt
    silent_s = (timezone.now() - attempt.heartbeat_at).total_seconds() if attempt else 0.0
    return {
        "job": job,
        "attempt": attempt,
        "silent_s": silent_s if job.is_active and silent_s > SILENT_S else None,
        "left_s": time_left(job, attempt),
        "counts_steps": attempt is not None and "left_s" in attempt.told,
    }


def time_left(job: Job, attempt: JobAttempt | None) -> float | None:
    """Seconds left: what the work of this attempt told, if it told; else as if the rest went as fast
    as what this attempt has done, None before that is a twentieth of the whole.
    """
    if not job.is_active or attempt is None or attempt.progress_at is None:
        return None
    if "left_s" in attempt.told:
        told: float | None = attempt.told["left_s"]
        return told
    done = job.progress - attempt.told.get("found_done", 0.0)
    if done < 0.05:
        return None
    return (timezone.now() - attempt.started_at).total_seconds() * (1 - job.progress) / done


def log_context(job: Job, request: HttpRequest) -> dict[str, Any]:
    """The last lines of the log, narrowed by `level` and `q`, oldest first.

    The page of a job that went wrong opens on the end of its log, until more is asked.
    """
    level, search = request.GET.get("level", ""), request.GET.get("q", "")
    went_wrong = job.status in (JobStatus.FAILED, JobStatus.ERRORED)
    most = LAST_LINES if went_wrong and "level" not in request.GET else LOG_LINES
    lines = job.log_lines.order_by("-number")
    if level:
        lines = lines.filter(level=level)
    if search:
        lines = lines.filter(text__icontains=search[:200])
    found = list(lines[:most])
    return {
        "lines": found[::-1],
        "is_end": most == LAST_LINES == len(found),
        "level": level,
        "search": search,
    }
