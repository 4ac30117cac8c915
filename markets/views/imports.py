from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import (
    conditional_page,
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import audit
from accounts.editing import editing_membership, new_key, user_of
from artifacts.store import QuotaExceeded
from jobs.errors import InvalidIdempotencyKey, JobConflict, QueueFull
from jobs.models import Job
from jobs.statuses import JobStatus
from jobs.views import STOP_POLLING, live_context, refused_for_now
from markets.forms import UploadForm, dress
from markets.models import Import
from markets.services.imports import RefusedUpload, launch_demo, launch_import
from markets.specs import ImportSpec


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_new(request: HttpRequest) -> HttpResponse:
    membership = editing_membership(request)
    if request.method != "POST":
        context = {"form": UploadForm(), "key": new_key()}
        return render(request, "markets/dataset_new.html", context)
    form, status, full = UploadForm(request.POST, request.FILES), 400, None
    if form.is_valid() and isinstance(form.spec, ImportSpec):
        try:
            row = launch_import(
                workspace=membership.workspace,
                user=user_of(request),
                upload=form.cleaned_data["file"],
                spec=form.spec,
                idempotency_key=request.POST.get("key", ""),
            )
        except RefusedUpload as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
            status = error.status
        except QueueFull as error:
            form.add_error(None, error.message)
            full = error
        except (JobConflict, InvalidIdempotencyKey) as error:
            form.add_error(None, str(error))
            status = 409
        except QuotaExceeded as error:
            form.add_error("file", str(error))
            status = 429
        else:
            audit.record(
                "upload",
                workspace=membership.workspace,
                user=user_of(request),
                subject=row.sent_name,
                request=request,
            )
            return redirect("markets:import_detail", row.pk)
    dress(form)
    context = {"form": form, "key": new_key()}
    page = render(request, "markets/dataset_new.html", context, status=status)
    return refused_for_now(page, full) if full else page


@require_POST
def demo_load(request: HttpRequest) -> HttpResponse:
    membership = editing_membership(request)
    try:
        row = launch_demo(
            workspace=membership.workspace,
            user=user_of(request),
            idempotency_key=request.POST.get("key", ""),
        )
    except (JobConflict, InvalidIdempotencyKey) as error:
        raise BadRequest(str(error)) from error
    return redirect("markets:import_detail", row.pk)


@require_safe
def import_detail(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched_import(request, pk)
    may_mend = row.job.status == JobStatus.FAILED and request.membership.may_edit  # type: ignore[attr-defined]  # by middleware
    context = {
        **import_context(row),
        "form": UploadForm.again(row) if may_mend else None,
        "key": new_key(),
    }
    return render(request, "markets/import_detail.html", context)


@require_safe
@conditional_page
def import_status(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched_import(request, pk)
    status = STOP_POLLING if row.job.is_terminal else 200
    return render(request, "markets/_import_live.html", import_context(row), status=status)


def fetched_import(request: HttpRequest, pk: int) -> Import:
    rows = Import.objects.visible_to(request.user).select_related("version__dataset")
    row: Import = get_object_or_404(rows, pk=pk)
    row.job = Job.objects.for_list().get(pk=row.job_id)
    return row


def import_context(row: Import) -> dict[str, Any]:
    return {"row": row, **live_context(row.job)}
