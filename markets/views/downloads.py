from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import audit
from accounts.editing import editing_membership, new_key, require_editor_of, user_of
from jobs.errors import InvalidIdempotencyKey, JobConflict
from jobs.views import ask_for, refused
from markets.forms import dress
from markets.models import Import
from markets.services.downloads import can_continue, go_on, launch_download, launch_newer
from markets.specs import DownloadSpec
from markets.views.datasets import fetched_version
from markets.views.imports import fetched_import, import_page
from specs.declaration import InvalidSpec
from specs.forms import SpecForm


@require_http_methods(["GET", "HEAD", "POST"])
def download_new(request: HttpRequest) -> HttpResponse:
    membership = editing_membership(request)
    if request.method != "POST":
        return form_page(request, SpecForm(DownloadSpec), 200)
    form, status = SpecForm(DownloadSpec, request.POST), 400
    if form.is_valid() and isinstance(form.spec, DownloadSpec):
        try:
            row = launch_download(
                workspace=membership.workspace,
                user=user_of(request),
                spec=form.spec,
                idempotency_key=request.POST.get("key", ""),
            )
            return started(request, row)
        except InvalidSpec as error:
            form.add_spec_errors(error)
        except (JobConflict, InvalidIdempotencyKey) as error:
            form.add_error(None, str(error))
            status = 409
    return form_page(request, form, status)


def form_page(request: HttpRequest, form: SpecForm, status: int) -> HttpResponse:
    dress(form)
    context = {"form": form, "key": new_key()}
    return render(request, "markets/download_new.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def download_newer(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks before it starts: what is there, and where the newer bars would come from."""
    version = fetched_version(request, pk, None)
    require_editor_of(version, request)
    refused, status = "", 200
    if request.method == "POST":
        try:
            row = launch_newer(
                version, user=user_of(request), idempotency_key=request.POST.get("key", "")
            )
            return started(request, row)
        except InvalidSpec as error:
            refused, status = error.fields["dataset"], 400
        except (JobConflict, InvalidIdempotencyKey) as error:
            refused, status = str(error), 409
    context = {
        "version": version,
        "dataset": version.dataset,
        "can_continue": can_continue(version),
        "refused": refused,
        "key": new_key(),
    }
    return render(request, "markets/download_newer.html", context, status=status)


@require_POST
def download_resume(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Import.objects.visible_to(request.user), pk=pk)
    said = "The download goes on."
    error = ask_for(request, row, "resume", go_on, subject=row.sent_name, said=said)
    if error is None:
        return redirect("markets:import_detail", row.pk)
    return refused(import_page(request, fetched_import(request, pk)), error)


def started(request: HttpRequest, row: Import) -> HttpResponse:
    """To the page of a download that is under way; the audit tells who started it."""
    audit.record(
        "download",
        workspace=row.workspace,
        user=user_of(request),
        subject=row.sent_name,
        request=request,
    )
    return redirect("markets:import_detail", row.pk)
