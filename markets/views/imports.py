from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import (
    conditional_page,
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import audit
from accounts.editing import editing_membership, new_key, require_editor_of, user_of
from accounts.models import Membership
from artifacts.store import QuotaExceeded
from jobs.errors import InvalidIdempotencyKey, JobConflict
from jobs.statuses import JobKind
from jobs.views import STOP_POLLING, live_context, with_job
from markets.forms import SettingsForm, UploadForm, dress
from markets.models import Dataset, Import, Source
from markets.services.imports import (
    NothingToConfirm,
    RefusedUpload,
    confirm_import,
    dataset_to_extend,
    import_spec_of,
    launch_demo,
    preview_again,
    stage_import,
)
from markets.specs import KEPT_HOURS, REQUIRED_COLUMNS, ImportSpec

ROLES = (*REQUIRED_COLUMNS, "quote_volume", "symbol")
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_new(request: HttpRequest) -> HttpResponse:
    membership = editing_membership(request)
    if request.method != "POST":
        context = {"form": UploadForm(initial=known_instrument(request)), "key": new_key()}
        return render(request, "markets/dataset_new.html", context)
    form, status = UploadForm(request.POST, request.FILES), 400
    if form.is_valid() and isinstance(form.spec, ImportSpec):
        try:
            row = stage_import(
                workspace=membership.workspace,
                user=user_of(request),
                upload=form.cleaned_data["file"],
                spec=form.spec,
                idempotency_key=request.POST.get("key", ""),
            )
        except RefusedUpload as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
            status = error.status
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
    return render(request, "markets/dataset_new.html", context, status=status)


def known_instrument(request: HttpRequest) -> ImportSpec | None:
    """What is known of the file when it is to extend the dataset named in the address."""
    text = request.GET.get("dataset", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404("there is no such dataset")
    rows = Dataset.objects.visible_to(request.user).select_related("instrument")
    return import_spec_of(get_object_or_404(rows, pk=int(text)))


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
    audit.record(
        "demo",
        workspace=membership.workspace,
        user=user_of(request),
        subject=row.pk,
        request=request,
    )
    return redirect("markets:import_detail", row.pk)


@require_safe
def import_detail(request: HttpRequest, pk: int) -> HttpResponse:
    return import_page(request, fetched_import(request, pk))


def import_page(request: HttpRequest, row: Import) -> HttpResponse:
    form = SettingsForm(row) if may_go_on(request, row) else None
    return render(request, "markets/import_detail.html", detail_context(row, form))


@require_POST
def import_confirm(request: HttpRequest, pk: int) -> HttpResponse:
    return work_again(request, fetched_import(request, pk), confirm_import, "confirm")


@require_POST
def import_preview(request: HttpRequest, pk: int) -> HttpResponse:
    return work_again(request, fetched_import(request, pk), preview_again, "preview")


def work_again(
    request: HttpRequest, row: Import, start: Callable[..., Import], action: str
) -> HttpResponse:
    """Start the next job of an upload with the settings of the form, or show what hinders it."""
    require_editor_of(row, request)
    form, status, refused = SettingsForm(row, request.POST), 400, ""
    if form.is_valid():
        # One form, two buttons: each of them starts its work once.
        key = request.POST.get("key", "")
        try:
            start(
                row,
                user=user_of(request),
                spec=form.spec,
                idempotency_key=f"{action}-{key}" if key else "",
            )
        except (NothingToConfirm, JobConflict) as error:
            status, refused = 409, error.message
        except InvalidIdempotencyKey as error:
            refused = str(error)
        else:
            audit.record(
                action,
                workspace=row.workspace,
                user=user_of(request),
                subject=row.sent_name,
                request=request,
            )
            return redirect("markets:import_detail", row.pk)
    row = fetched_import(request, row.pk)
    dress(form)
    shown = form if may_go_on(request, row) else None
    context = {**detail_context(row, shown), "refused": refused}
    return render(request, "markets/import_detail.html", context, status=status)


@require_safe
@conditional_page
def import_status(request: HttpRequest, pk: int) -> HttpResponse:
    row = fetched_import(request, pk)
    status = STOP_POLLING if row.job.is_terminal else 200
    return render(request, "markets/_import_live.html", import_context(row), status=status)


def fetched_import(request: HttpRequest, pk: int) -> Import:
    rows = Import.objects.visible_to(request.user).select_related("version__dataset")
    return with_job(rows.filter(pk=pk))


def import_context(row: Import) -> dict[str, Any]:
    return {"row": row, **live_context(row.job)}


def may_go_on(request: HttpRequest, row: Import) -> bool:
    """Whether this reader may start the next job of the upload."""
    membership: Membership | None = request.membership  # type: ignore[attr-defined]  # by middleware
    return row.awaits_confirmation and membership is not None and membership.may_edit


def detail_context(row: Import, form: SettingsForm | None) -> dict[str, Any]:
    return {
        **import_context(row),
        "kept_hours": KEPT_HOURS,
        "form": form,
        "key": new_key(),
        "preview": row.preview,
        "roles": ROLES,
        "delimiters": DELIMITERS,
        "extends": dataset_to_extend(row) if row.awaits_confirmation else None,
        "is_preview": row.job.kind == JobKind.DETECT,
        "is_gone": row.job.is_terminal and row.source == Source.FILE and row.upload_id is None,
    }
