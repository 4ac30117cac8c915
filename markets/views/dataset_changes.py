"""What an editor does with a dataset: accept findings, rename, resample, delete."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import audit
from accounts.editing import require_editor_of, user_of
from jobs.errors import InvalidIdempotencyKey, JobConflict
from markets.models import Dataset, DatasetVersion
from markets.services.datasets import (
    InUse,
    InvalidText,
    NothingToAccept,
    Use,
    accept_findings,
    delete_dataset,
    delete_version,
    rename_dataset,
    uses_of,
)
from markets.services.resampling import launch_resampling
from markets.specs import ResampleSpec
from markets.views.datasets import detail_page, fetched_version
from specs.declaration import InvalidSpec


@require_POST
def findings_accept(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    version = changeable(request, pk, number)
    try:
        row = accept_findings(version, user=user_of(request), reason=request.POST.get("reason", ""))
    except InvalidText as error:
        return detail_page(request, version, problems={"reason": str(error)}, status=400)
    except NothingToAccept as error:
        return detail_page(request, version, problems={"reason": str(error)}, status=409)
    record(request, "accept", version, reason=row.reason)
    messages.success(request, "The findings are accepted; the candles can be used.")
    return redirect(version)


@require_POST
def dataset_rename(request: HttpRequest, pk: int) -> HttpResponse:
    version = changeable(request, pk, None)
    try:
        rename_dataset(version.dataset, request.POST.get("name", ""))
    except InvalidText as error:
        version.dataset.refresh_from_db()
        return detail_page(request, version, problems={"name": str(error)}, status=400)
    return redirect("markets:dataset_detail", pk)


@require_POST
def version_resample(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    version = changeable(request, pk, number)
    try:
        spec = ResampleSpec.parse({"timeframe": request.POST.get("timeframe", "")})
        row = launch_resampling(
            version,
            user=user_of(request),
            spec=spec,
            idempotency_key=request.POST.get("key", ""),
        )
    except InvalidSpec as error:
        return detail_page(request, version, problems={"timeframe": str(error)}, status=400)
    except (JobConflict, InvalidIdempotencyKey) as error:
        return detail_page(request, version, problems={"timeframe": str(error)}, status=409)
    record(request, "resample", version, timeframe=spec.timeframe)
    return redirect("markets:import_detail", row.pk)


@require_http_methods(["GET", "HEAD", "POST"])
def version_delete(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    version = changeable(request, pk, number)
    if request.method != "POST":
        return delete_page(request, version.dataset, [version], uses_of([version]), number=number)
    try:
        delete_version(version)
    except InUse as error:
        uses = error.uses
        return delete_page(request, version.dataset, [version], uses, number=number, status=409)
    record(request, "delete", version)
    return gone(request, f"{version} is deleted.", version.dataset)


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_delete(request: HttpRequest, pk: int) -> HttpResponse:
    dataset = changeable(request, pk, None).dataset
    versions = list(dataset.versions.select_related("file", "dataset").defer("report"))
    if request.method != "POST":
        return delete_page(request, dataset, versions, uses_of(versions))
    try:
        delete_dataset(dataset)
    except InUse as error:
        return delete_page(request, dataset, versions, error.uses, status=409)
    record(request, "delete", dataset)
    return gone(request, f"{dataset} is deleted with its versions.", dataset)


def delete_page(
    request: HttpRequest,
    dataset: Dataset,
    versions: list[DatasetVersion],
    uses: list[Use],
    *,
    number: int | None = None,
    status: int = 200,
) -> HttpResponse:
    """What would go and asks for it; or what uses it, and then nothing can be deleted."""
    context = {
        "dataset": dataset,
        "versions": versions,
        "uses": uses,
        "number": number,
        "bytes": sum(version.file.size for version in versions),
        "rows": sum(version.rows for version in versions),
    }
    return render(request, "markets/dataset_delete.html", context, status=status)


def gone(request: HttpRequest, text: str, dataset: Dataset) -> HttpResponse:
    messages.success(request, text)
    if Dataset.objects.filter(pk=dataset.pk).exists():
        return redirect("markets:dataset_detail", dataset.pk)
    return redirect("markets:dataset_list")


def changeable(request: HttpRequest, pk: int, number: int | None) -> DatasetVersion:
    """A version that the person sees and may change: 404 or 403 otherwise."""
    version = fetched_version(request, pk, number)
    require_editor_of(version, request)
    return version


def record(
    request: HttpRequest, action: str, row: Dataset | DatasetVersion, **data: object
) -> None:
    audit.record(
        action,
        workspace=row.workspace,
        user=user_of(request),
        subject=row,
        request=request,
        **data,
    )
