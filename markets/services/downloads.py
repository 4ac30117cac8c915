"""What people ask of exchanges: candles of a span, and the bars that closed since."""

from __future__ import annotations

import hashlib

from django.db import transaction

from accounts.models import User, Workspace
from jobs.idempotency import replay
from jobs.services import enqueue
from jobs.statuses import JobKind, Queue
from markets.models import Import, Kind, Source
from markets.specs import VENUES, DownloadSpec, ImportSpec


@transaction.atomic
def launch_download(
    *, workspace: Workspace, user: User, spec: DownloadSpec, idempotency_key: str = ""
) -> Import:
    """Queue the download of public candles; nothing is asked of the exchange before the job runs.

    Raises JobConflict when the key was used for another request.
    """
    request_sha256 = hashlib.sha256(f"download {spec.sha256()}".encode()).hexdigest()
    if job := replay(workspace, idempotency_key, request_sha256):
        return Import.objects.get(job=job)
    job = enqueue(
        workspace=workspace,
        created_by=user,
        kind=JobKind.DOWNLOAD,
        queue=Queue.DATA,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
    )
    return Import.objects.create(
        workspace=workspace,
        created_by=user,
        job=job,
        spec=ImportSpec(
            symbol=spec.symbol,
            venue=spec.venue,
            kind=Kind.PERPETUAL if ":" in spec.symbol else Kind.SPOT,
            timeframe=spec.timeframe,
        ),
        download=spec,
        source=Source.EXCHANGE,
        sent_name=f"{spec.symbol} {spec.timeframe} from {VENUES[spec.venue]}",
    )
