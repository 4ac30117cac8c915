from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import (
    conditional_page,
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import audit
from accounts.editing import listing, new_key, require_editor_of, search_text, user_of
from backtests.experiment_views import fetched as fetched_experiment
from backtests.models import Study, StudyRun, status_of_all
from backtests.studies import (
    SEEDS_MAX,
    cancel_study,
    launch_study,
    plan_study,
    resume_study,
    seeds_of,
)
from backtests.study_table import (
    MEASURES,
    OTHER_TRADES,
    mixed_code_of,
    progress_of,
    table_csv,
    table_json,
    table_of,
)
from backtests.variants import KEYS
from backtests.views import sent
from jobs.errors import InvalidIdempotencyKey, JobConflict, QueueFull
from jobs.services import RESUMABLE
from jobs.statuses import TERMINAL
from jobs.views import STOP_POLLING, ask_for, refused, refused_for_now
from modeling.code_versions import json_of, trained_by
from modeling.models import Experiment
from specs.declaration import InvalidSpec

SORTS = {"name": "name", "created": "created_at"}
SEEDS = 3


@require_safe
def study_list(request: HttpRequest) -> HttpResponse:
    rows = Study.objects.visible_to(request.user).for_list()
    if search := search_text(request):
        rows = rows.filter(name__icontains=search)
    context = {"listing": listing(request, rows, sorts=SORTS)}
    return render(request, "backtests/study_list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def study_new(request: HttpRequest, pk: int) -> HttpResponse:
    """Which variants and how many seeds, what that costs, and the launch."""
    experiment = fetched_experiment(request, pk)
    require_editor_of(experiment, request)
    if request.method != "POST":
        return study_form(request, experiment, count=SEEDS, chosen=KEYS)
    count, chosen = asked_count(request), request.POST.getlist("variants")
    if count is None:
        problem = f"Seeds: expected a whole number from 1 to {SEEDS_MAX}."
        return study_form(request, experiment, chosen=chosen, problem=problem)
    if request.POST.get("action") == "estimate":
        return study_form(request, experiment, count=count, chosen=chosen)
    return launched(request, experiment, count, chosen)


def launched(
    request: HttpRequest, experiment: Experiment, count: int, chosen: list[str]
) -> HttpResponse:
    """Go to the study; what is refused is said on the form."""
    try:
        study = launch_study(
            experiment,
            user=user_of(request),
            seeds=seeds_of(experiment, count),
            keys=chosen,
            take_other_code=takes_other_code(request),
            idempotency_key=request.POST.get("key", ""),
        )
    except InvalidSpec as error:
        problem = "; ".join(error.fields.values())
        return study_form(request, experiment, count=count, chosen=chosen, problem=problem)
    except QueueFull as error:
        page = study_form(request, experiment, count=count, chosen=chosen, problem=error.message)
        return refused_for_now(page, error)
    except (JobConflict, InvalidIdempotencyKey) as error:
        problem = getattr(error, "message", str(error))
        return study_form(
            request, experiment, count=count, chosen=chosen, problem=problem, status=409
        )
    audit.record(
        "launch",
        workspace=study.workspace,
        user=user_of(request),
        subject=f"study {study.pk}",
        request=request,
    )
    return redirect("backtests:study_detail", study.pk)


def study_form(
    request: HttpRequest,
    experiment: Experiment,
    *,
    chosen: Any,  # Any: keys, known or not
    count: int | None = None,
    problem: str = "",
    status: int = 400,
) -> HttpResponse:
    """The form with the cost of each variant; `status` where something was wrong with it."""
    takes = takes_other_code(request)
    seeds = seeds_of(experiment, count or SEEDS)
    planned = plan_study(experiment, seeds, KEYS, take_other_code=takes)
    taken = [row for row in planned if row.spec is not None and row.key in {"base", *chosen}]
    others = (trained_by(run) for row in planned for run in row.other_code.values())
    context = {
        "experiment": experiment,
        "version": experiment.version,
        "base": planned[0],
        "planned": planned[1:],
        "chosen": chosen,
        "count": request.POST.get("seeds", "") if count is None else count,
        "seeds_max": SEEDS_MAX,
        "takes_other_code": takes,
        "other_code": sorted(set(others)),
        "runs": sum(row.to_train for row in taken),
        "reused": sum(len(row.finished) for row in taken),
        "seconds_low": sum(row.seconds_low for row in taken),
        "seconds_high": sum(row.seconds_high for row in taken),
        "problem": problem,
        "key": new_key(),
    }
    return render(request, "backtests/study_new.html", context, status=status if problem else 200)


def takes_other_code(request: HttpRequest) -> bool:
    """Whether the form asks for finished runs of other code; it does not as it opens."""
    return request.POST.get("take_other_code") == "1"


def asked_count(request: HttpRequest) -> int | None:
    text = request.POST.get("seeds", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        return None
    return int(text) if 1 <= int(text) <= SEEDS_MAX else None


@require_safe
def study_detail(request: HttpRequest, pk: int) -> HttpResponse:
    return study_page(request, fetched(request, pk))


def study_page(request: HttpRequest, study: Study) -> HttpResponse:
    live = live_context(study)
    context = {
        **live,
        "rows": table_of(study, live["parts"]),
        "mixed_code": mixed_code_of(live["parts"]),
        "measures": MEASURES,
        "other_trades": OTHER_TRADES,
    }
    return render(request, "backtests/study_detail.html", context)


@require_safe
@conditional_page
def study_status(request: HttpRequest, pk: int) -> HttpResponse:
    context = live_context(fetched(request, pk))
    status = 200 if context["is_open"] else STOP_POLLING
    return render(request, "backtests/_study_live.html", context, status=status)


@require_safe
def study_csv(request: HttpRequest, pk: int) -> HttpResponse:
    study = fetched(request, pk)
    return sent(table_csv(study), "text/csv; charset=utf-8", f"study-{study.pk}.csv")


@require_safe
def study_json(request: HttpRequest, pk: int) -> HttpResponse:
    study = fetched(request, pk)
    parts = list(StudyRun.objects.of_study(study))
    document = {
        "id": study.pk,
        "name": study.name,
        "mixed_code": json_of(mixed_code_of(parts)),
        "variants": table_json(study, parts),
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return sent(text, "application/json", f"study-{study.pk}.json")


@require_POST
def study_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return changed(request, pk, "cancel", cancel_study, "Cancel is asked for. Finished runs stay.")


@require_POST
def study_resume(request: HttpRequest, pk: int) -> HttpResponse:
    return changed(request, pk, "resume", resume_study, "What was stopped goes on.")


def changed(request: HttpRequest, pk: int, action: str, change: Any, said: str) -> HttpResponse:
    """Cancel or resume; a refusal is said on the page of the study."""
    study = fetched(request, pk)
    error = ask_for(request, study, action, change, subject=f"study {pk}", said=said)
    if error is None:
        return redirect("backtests:study_detail", pk)
    return refused(study_page(request, fetched(request, pk)), error)


def fetched(request: HttpRequest, pk: int) -> Study:
    rows = Study.objects.visible_to(request.user)
    study: Study = get_object_or_404(
        rows.select_related("experiment", "workspace", "created_by", "job"), pk=pk
    )
    return study


def live_context(study: Study) -> dict[str, Any]:
    """What the live box shows, and whether there is more to come."""
    parts = list(StudyRun.objects.of_study(study))
    jobs, progress = study.jobs(parts), progress_of(parts)
    return {
        "study": study,
        "parts": parts,
        "status": status_of_all(jobs),
        "is_open": any(job.status not in TERMINAL for job in jobs),
        "can_resume": any(job.status in RESUMABLE for job in jobs),
        "progress": progress,
        "share": progress["succeeded"] / max(progress["runs"], 1),
        "compared": study.variants.exclude(comparison={}).count(),
    }
