from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.editing import editing_membership, new_key, user_of
from jobs.errors import InvalidIdempotencyKey, JobConflict
from markets.forms import dress
from markets.services.downloads import launch_download
from markets.specs import DownloadSpec
from specs.forms import SpecForm


@require_http_methods(["GET", "HEAD", "POST"])
def download_new(request: HttpRequest) -> HttpResponse:
    membership = editing_membership(request)
    form, status = SpecForm(DownloadSpec, request.POST or None), 200
    if request.method == "POST":
        status = 400
        if form.is_valid() and isinstance(form.spec, DownloadSpec):
            try:
                row = launch_download(
                    workspace=membership.workspace,
                    user=user_of(request),
                    spec=form.spec,
                    idempotency_key=request.POST.get("key", ""),
                )
            except (JobConflict, InvalidIdempotencyKey) as error:
                form.add_error(None, str(error))
                status = 409
            else:
                audit.record(
                    "download",
                    workspace=membership.workspace,
                    user=user_of(request),
                    subject=row.job_id,
                    request=request,
                )
                return redirect("markets:import_detail", row.pk)
    dress(form)
    context = {"form": form, "key": new_key()}
    return render(request, "markets/download_new.html", context, status=status)
