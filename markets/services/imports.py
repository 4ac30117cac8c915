from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User, Workspace
from artifacts.store import delete_file, scratch_folder, store_file
from jobs.idempotency import replay
from jobs.models import Job
from jobs.services import enqueue
from jobs.statuses import TERMINAL, JobKind, Queue
from markets.models import Import, Source
from markets.sources.formats import RefusedFile, display_name, sniff
from markets.specs import ImportSpec

SNIFFED_BYTES = 64 * 1024
UPLOAD_KEPT_HOURS = 24
FORGOTTEN_AT_ONCE = 100
DEMO_SYMBOL = "SYN/USDT"


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
    """Check the first bytes, store the upload and queue the import.

    Raises RefusedUpload for what can be seen without parsing, and JobConflict when the key was
    used for another request.
    """
    sent_name = display_name(upload.name or "")
    _refuse_by_look(upload, sent_name)
    with scratch_folder() as folder:
        path, sha256 = _received(upload, folder)
        request_sha256 = hashlib.sha256(f"{spec.sha256()}{sha256}".encode()).hexdigest()
        with transaction.atomic():
            if earlier := _replayed(workspace, idempotency_key, request_sha256):
                return earlier
            stored = store_file(
                path,
                workspace_id=workspace.pk,
                name="upload",
                media_type="application/octet-stream",
            )
            job = _queued(workspace, user, idempotency_key, request_sha256)
            return Import.objects.create(
                workspace=workspace,
                created_by=user,
                job=job,
                spec=spec,
                sent_name=sent_name,
                upload=stored,
            )


@transaction.atomic
def launch_demo(*, workspace: Workspace, user: User, idempotency_key: str = "") -> Import:
    """Queue the import of the seeded synthetic market, labelled synthetic everywhere."""
    request_sha256 = hashlib.sha256(b"demo").hexdigest()
    if earlier := _replayed(workspace, idempotency_key, request_sha256):
        return earlier
    return Import.objects.create(
        workspace=workspace,
        created_by=user,
        job=_queued(workspace, user, idempotency_key, request_sha256),
        spec=ImportSpec(symbol=DEMO_SYMBOL, venue="synthetic", timeframe="5m"),
        source=Source.SYNTHETIC,
        sent_name="Synthetic market",
    )


@transaction.atomic
def forget_old_uploads() -> int:
    """Delete the uploads of imports that ended without a version more than 24 hours ago."""
    ended = Import.objects.select_for_update(of=("self",), skip_locked=True).filter(
        job__status__in=TERMINAL,
        job__ended_at__lt=Now() - timedelta(hours=UPLOAD_KEPT_HOURS),
        upload__isnull=False,
    )
    ended = ended.select_related("upload")
    uploads = [row.upload for row in ended.order_by("pk")[:FORGOTTEN_AT_ONCE]]
    for upload in uploads:
        if upload is not None:
            delete_file(upload)
    return len(uploads)


def _queued(workspace: Workspace, user: User, key: str, request_sha256: str) -> Job:
    return enqueue(
        workspace=workspace,
        created_by=user,
        kind=JobKind.IMPORT,
        queue=Queue.DATA,
        idempotency_key=key,
        request_sha256=request_sha256,
    )


def _replayed(workspace: Workspace, key: str, request_sha256: str) -> Import | None:
    job = replay(workspace, key, request_sha256)
    return Import.objects.get(job=job) if job else None


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


def _received(upload: UploadedFile, folder: Path) -> tuple[Path, str]:
    path = folder / "upload"
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in upload.chunks():
            digest.update(chunk)
            file.write(chunk)
    return path, digest.hexdigest()
