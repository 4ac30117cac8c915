"""What people ask of exchanges: candles of a span, and the bars that closed since."""

from __future__ import annotations

import hashlib
import shutil
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import User, Workspace
from jobs.errors import JobConflict
from jobs.idempotency import remember, replay
from jobs.models import Job
from jobs.services import resume_job
from jobs.statuses import TERMINAL, JobKind
from markets.models import DatasetVersion, Import, Source, downloads_folder
from markets.services.datasets import hold_for_use
from markets.services.imports import import_spec_of, queued, replayed
from markets.sources.table import MAX_ROWS
from markets.specs import KEPT_HOURS, TIMEFRAME_MINUTES, VENUES, DownloadSpec, ImportSpec
from specs.declaration import InvalidSpec


@transaction.atomic
def launch_download(
    *, workspace: Workspace, user: User, spec: DownloadSpec, idempotency_key: str = ""
) -> Import:
    """Queue the download of public candles; nothing is asked of the exchange before the job runs.

    Raises InvalidSpec for a span in the future or of too many bars, and JobConflict when the key was
    used for another request.
    """
    request_sha256 = hashlib.sha256(f"download {spec.sha256()}".encode()).hexdigest()
    if earlier := replayed(workspace, idempotency_key, request_sha256):
        return earlier
    _refuse_span(spec)
    # The market itself tells its kind and its symbol; this is what its symbol looks like.
    asked = ImportSpec(
        symbol=spec.symbol,
        venue=spec.venue,
        kind="perpetual" if ":" in spec.symbol else "spot",
        timeframe=spec.timeframe,
    )
    return Import.objects.create(
        workspace=workspace,
        created_by=user,
        job=queued(JobKind.DOWNLOAD, workspace, user, idempotency_key, request_sha256),
        spec=asked,
        download=spec,
        source=Source.EXCHANGE,
        sent_name=f"{spec.symbol} {spec.timeframe} from {VENUES[spec.venue]}",
    )


def can_continue(version: DatasetVersion) -> bool:
    """Whether an exchange can be asked for newer bars: a real market of one of the venues."""
    is_real = version.source in (Source.FILE, Source.EXCHANGE) and not version.is_synthetic
    return is_real and version.dataset.instrument.venue in VENUES


@transaction.atomic
def launch_newer(version: DatasetVersion, *, user: User, idempotency_key: str = "") -> Import:
    """Queue the download of the bars that closed since; old and new become the next version.

    Raises InvalidSpec when no exchange can be asked, and JobConflict when the key was used for
    another request.
    """
    spec = import_spec_of(version.dataset)
    if not can_continue(version):
        raise InvalidSpec(
            {
                "dataset": f"found {version.get_source_display().lower()} candles of the venue "
                f'"{spec.venue}"; newer bars come from one of {", ".join(VENUES)}. Import a '
                "longer file instead"
            }
        )
    request_sha256 = hashlib.sha256(f"newer {version.pk}".encode()).hexdigest()
    if earlier := replayed(version.workspace, idempotency_key, request_sha256):
        return earlier
    hold_for_use([version], accepted=False)
    given = {name: getattr(spec, name) for name in ("symbol", "venue", "timeframe")}
    return Import.objects.create(
        workspace=version.workspace,
        created_by=user,
        job=queued(JobKind.DOWNLOAD, version.workspace, user, idempotency_key, request_sha256),
        spec=spec,
        download=DownloadSpec.parse({**given, "from_at": version.last_at}),
        parent=version,
        source=Source.EXCHANGE,
        sent_name=f"newer bars of {version.dataset.name}"[:200],
    )


@transaction.atomic
def go_on(row: Import, *, user: User, idempotency_key: str = "") -> Job:
    """Give a download that ended early a new job, which asks for what has not come yet.

    With a known key it is the job made before. Raises JobConflict when the download has not ended, or
    ended well, or is none.
    """
    if row.source != Source.EXCHANGE:
        raise JobConflict("no_checkpoint", "Only downloads go on. Send the file again.")
    request_sha256 = hashlib.sha256(f"resume import {row.pk}".encode()).hexdigest()
    if job := replay(row.workspace, idempotency_key, request_sha256):
        return job
    ended = row.job
    row.job = resume_job(ended, user, has_checkpoint=True)
    remember(row.job, idempotency_key, request_sha256)
    row.earlier_jobs.add(ended)
    return row.job


def forget_old_parts() -> int:
    """Delete the pages of downloads that ended more than KEPT_HOURS ago, or whose row is gone."""
    folders = list(downloads_folder().glob("*"))
    named = {int(folder.name): folder for folder in folders if folder.name.isdecimal()}
    rows = Import.objects.filter(pk__in=named)
    ended = rows.filter(
        job__status__in=TERMINAL, job__ended_at__lt=Now() - timedelta(hours=KEPT_HOURS)
    )
    kept = set(rows.exclude(pk__in=ended.values("pk")).values_list("pk", flat=True))
    gone = [folder for pk, folder in named.items() if pk not in kept]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return len(gone)


def _refuse_span(spec: DownloadSpec) -> None:
    now = timezone.now()
    if spec.from_at >= now:
        raise InvalidSpec(
            {"from_at": f"found {spec.from_at:%Y-%m-%d %H:%M} UTC; expected the past"}
        )
    bar = timedelta(minutes=TIMEFRAME_MINUTES[spec.timeframe])
    bars = (min(spec.to_at or now, now) - spec.from_at) // bar
    if bars > MAX_ROWS:
        raise InvalidSpec(
            {
                "from_at": f"from there on there are {bars} bars of {spec.timeframe}; at most "
                f"{MAX_ROWS} are taken. Begin later, or choose a longer timeframe"
            }
        )
