from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User, Workspace
from artifacts.store import delete_file, scratch_folder, store_file
from jobs.idempotency import replay
from jobs.models import Job
from jobs.services import enqueue
from jobs.statuses import TERMINAL, JobKind, Queue
from markets.models import Dataset, Import, Source
from markets.sources.formats import RefusedFile, display_name, sniff
from markets.specs import KEPT_HOURS, TIMEFRAME_MINUTES, UPLOAD_GONE, ImportSpec, venue_in_name

SNIFFED_BYTES = 64 * 1024
FORGOTTEN_AT_ONCE = 100
DEMO_SYMBOL = "SYN/USDT"


NOTHING_TO_CONFIRM = {
    "no_upload": "These candles come from no uploaded file. Start the download or resampling again.",
    "already_imported": "This file has been imported. Upload another file to import more.",
    "upload_expired": UPLOAD_GONE,
    "job_active": "This file is being read at the moment. Wait until that has ended.",
}


class NothingToConfirm(Exception):
    """An import that cannot be started or previewed again as it stands (409)."""

    def __init__(self, code: str) -> None:
        self.code, self.message = code, NOTHING_TO_CONFIRM[code]
        super().__init__(self.message)


class RefusedUpload(Exception):
    """A file that is refused before any job: code, HTTP status, text and the form field."""

    def __init__(self, code: str, status: int, message: str, field: str = "file") -> None:
        super().__init__(message)
        self.code, self.status, self.message, self.field = code, status, message, field


def launch_import(
    *,
    workspace: Workspace,
    user: User,
    upload: UploadedFile,
    spec: ImportSpec,
    idempotency_key: str = "",
) -> Import:
    """Check the first bytes, store the upload and queue the import, in one step.

    Raises RefusedUpload for what can be seen without parsing, and JobConflict when the key was
    used for another request.
    """
    return _accept(JobKind.IMPORT, workspace, user, upload, spec, idempotency_key)


def stage_import(
    *,
    workspace: Workspace,
    user: User,
    upload: UploadedFile,
    spec: ImportSpec,
    idempotency_key: str = "",
) -> Import:
    """Check the first bytes, store the upload and queue a preview; `confirm_import` goes on.

    Raises as `launch_import` does.
    """
    return _accept(JobKind.DETECT, workspace, user, upload, spec, idempotency_key)


def confirm_import(
    row: Import, *, user: User, spec: ImportSpec, idempotency_key: str = ""
) -> Import:
    """Queue the import of an upload that is already here, as `spec` says it is to be read.

    For previewed files and for failed imports alike. Raises NothingToConfirm, and JobConflict when
    the key was used for another request.
    """
    return _work_again(JobKind.IMPORT, row, user, spec, idempotency_key)


def preview_again(
    row: Import, *, user: User, spec: ImportSpec, idempotency_key: str = ""
) -> Import:
    """Queue another preview of an upload, read with other settings. Raises as `confirm_import`."""
    return _work_again(JobKind.DETECT, row, user, spec, idempotency_key)


def dataset_to_extend(row: Import) -> Dataset | None:
    """The dataset whose next version the previewed file would become, if there is one."""
    minutes = TIMEFRAME_MINUTES.get((row.preview or {}).get("timeframe", ""))
    if minutes is None:
        return None
    rows = Dataset.objects.filter(
        workspace=row.workspace_id,
        instrument__venue=row.spec.venue,
        instrument__symbol=row.spec.symbol,
        instrument__kind=row.spec.kind,
        timeframe_minutes=minutes,
    )
    return rows.exclude(latest=None).select_related("latest").first()


def import_spec_of(dataset: Dataset, timeframe: str = "") -> ImportSpec:
    """The settings of more candles of this dataset, or of its instrument on another timeframe."""
    instrument = dataset.instrument
    return ImportSpec.parse(
        {
            "symbol": instrument.symbol,
            "venue": instrument.venue,
            "kind": instrument.kind,
            "timeframe": timeframe or dataset.timeframe,
        }
    )


@transaction.atomic
def launch_demo(*, workspace: Workspace, user: User, idempotency_key: str = "") -> Import:
    """Queue the import of the seeded synthetic market, labelled synthetic everywhere."""
    request_sha256 = hashlib.sha256(b"demo").hexdigest()
    if earlier := replayed(workspace, idempotency_key, request_sha256):
        return earlier
    return Import.objects.create(
        workspace=workspace,
        created_by=user,
        job=queued(JobKind.IMPORT, workspace, user, idempotency_key, request_sha256),
        spec=ImportSpec(symbol=DEMO_SYMBOL, venue="synthetic", timeframe="5m"),
        source=Source.SYNTHETIC,
        sent_name="Synthetic market",
    )


@transaction.atomic
def forget_old_uploads() -> int:
    """Delete the uploads of imports that ended without a version more than KEPT_HOURS ago."""
    ended = Import.objects.select_for_update(of=("self",), skip_locked=True).filter(
        job__status__in=TERMINAL,
        job__ended_at__lt=Now() - timedelta(hours=KEPT_HOURS),
        upload__isnull=False,
    )
    ended = ended.select_related("upload")
    uploads = [row.upload for row in ended.order_by("pk")[:FORGOTTEN_AT_ONCE]]
    for upload in uploads:
        if upload is not None:
            delete_file(upload)
    return len(uploads)


def _accept(
    kind: JobKind,
    workspace: Workspace,
    user: User,
    upload: UploadedFile,
    spec: ImportSpec,
    key: str,
) -> Import:
    sent_name = display_name(upload.name or "")
    _refuse_by_look(upload, sent_name)
    if not spec.venue:
        spec = spec.model_copy(update={"venue": venue_in_name(sent_name)})
    with _full_disk_refused(), scratch_folder() as folder:
        path, sha256 = _received(upload, folder)
        request_sha256 = _checksum(kind, spec, sha256)
        with transaction.atomic():
            if earlier := replayed(workspace, key, request_sha256):
                return earlier
            stored = store_file(
                path,
                workspace_id=workspace.pk,
                name="upload",
                media_type="application/octet-stream",
            )
            return Import.objects.create(
                workspace=workspace,
                created_by=user,
                job=queued(kind, workspace, user, key, request_sha256),
                spec=spec,
                sent_name=sent_name,
                upload=stored,
            )


@transaction.atomic
def _work_again(kind: JobKind, row: Import, user: User, spec: ImportSpec, key: str) -> Import:
    request_sha256 = _checksum(kind, spec, f"import {row.pk}")
    if earlier := replayed(row.workspace, key, request_sha256):
        return earlier
    # Locked, so that two tabs start one job and the upload is not forgotten meanwhile.
    # Alone: whoever waited would not find the row joined to the job that it had before.
    row = Import.objects.select_for_update().get(pk=row.pk)
    _require_confirmable(row)
    row.earlier_jobs.add(row.job)
    row.job = queued(kind, row.workspace, user, key, request_sha256)
    row.spec = spec
    row.save(update_fields=["job", "spec"])
    return row


def _require_confirmable(row: Import) -> None:
    if row.source != Source.FILE:
        raise NothingToConfirm("no_upload")
    if row.version_id is not None:
        raise NothingToConfirm("already_imported")
    if not row.job.is_terminal:
        raise NothingToConfirm("job_active")
    if not row.awaits_confirmation:
        raise NothingToConfirm("upload_expired")


def _checksum(kind: JobKind, spec: ImportSpec, subject: str) -> str:
    return hashlib.sha256(f"{kind}{spec.sha256()}{subject}".encode()).hexdigest()


def queued(kind: JobKind, workspace: Workspace, user: User, key: str, request_sha256: str) -> Job:
    """The job of an import, whatever its candles come from."""
    return enqueue(
        workspace=workspace,
        created_by=user,
        kind=kind,
        queue=Queue.DATA,
        idempotency_key=key,
        request_sha256=request_sha256,
    )


def replayed(workspace: Workspace, key: str, request_sha256: str) -> Import | None:
    """The import that an equal request with this Idempotency-Key started before."""
    job = replay(workspace, key, request_sha256)
    if job is None:
        return None
    return Import.objects.filter(Q(job=job) | Q(earlier_jobs=job)).select_related("job").first()


def _refuse_by_look(upload: UploadedFile, sent_name: str) -> None:
    size = upload.size or 0
    if size > settings.UPLOAD_MAX_BYTES:
        raise RefusedUpload(
            "too_large",
            413,
            f"The file has {size / 2**20:.0f} MiB; at most {settings.UPLOAD_MAX_BYTES // 2**20} MiB are accepted.",
        )
    head = upload.read(SNIFFED_BYTES)
    upload.seek(max(0, size - 8))
    tail = upload.read(8)
    upload.seek(0)
    try:
        sniff(head, tail, size, sent_name)
    except RefusedFile as error:
        raise RefusedUpload(error.code, error.status, error.message) from None


@contextmanager
def _full_disk_refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RefusedUpload(
            "disk_full",
            507,
            "The disk of the service is full; nothing was stored. Send the file again once there "
            "is space.",
        ) from error


def _received(upload: UploadedFile, folder: Path) -> tuple[Path, str]:
    path = folder / "upload"
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in upload.chunks():
            digest.update(chunk)
            file.write(chunk)
    return path, digest.hexdigest()
