from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.management.base import CommandError, CommandParser

from accounts import audit
from accounts.commands import ReportingCommand, user_named, workspace_of
from accounts.models import User
from artifacts.store import QuotaExceeded
from jobs.models import Job
from jobs.statuses import JobStatus
from markets.models import Import
from markets.services.imports import RefusedUpload, launch_import
from markets.specs import ImportSpec
from specs.declaration import InvalidSpec

POLL_S = 0.2
FIELDS = ("symbol", "venue", "kind", "timeframe", "timestamp_unit", "timezone", "on_violation")


class Command(ReportingCommand):
    help = "Import a candle file as a sealed dataset version; the workers of `up` do the work."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path)
        for name in FIELDS:
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                help=ImportSpec.model_fields[name].description.replace("%", "%%"),  # type: ignore[union-attr]  # every field declares its help
                required=name == "symbol",
            )
        parser.add_argument("--user", help="whose import it is (default: the only user)")
        parser.add_argument("--no-wait", action="store_true", help="do not wait for the job")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        row = self.launch(options)
        if not options["no_wait"]:
            wait(row.job)
        return result(row)

    def launch(self, options: dict[str, Any]) -> Import:
        path: Path = options["file"]
        user = user_named(options["user"]) if options["user"] else only_user()
        given = {name: options[name] for name in FIELDS if options[name] is not None}
        try:
            spec = ImportSpec.parse(given)
            with path.open("rb") as file:
                row = launch_import(
                    workspace=workspace_of(user),
                    user=user,
                    upload=UploadedFile(file, path.name, size=path.stat().st_size),
                    spec=spec,
                )
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except (InvalidSpec, RefusedUpload, QuotaExceeded) as error:
            raise CommandError(str(error)) from error
        audit.record("upload", workspace=row.workspace, user=user, subject=row.pk)
        return row


def only_user() -> User:
    """The user of a machine that has one. Raises CommandError."""
    users = list(User.objects.filter(is_active=True)[:2])
    if len(users) != 1:
        raise CommandError(
            f"There are {'several users' if users else 'no users'}; give --user NAME."
        )
    return users[0]


def pause() -> None:
    time.sleep(POLL_S)


def wait(job: Job) -> None:
    """Wait until the job has ended. Raises CommandError when it did not succeed."""
    while not job.is_terminal:
        pause()
        job.refresh_from_db()
    if job.status != JobStatus.SUCCEEDED:
        raise CommandError(f"The import {job.status} ({job.code}): {' '.join(job.message.split())}")


def result(row: Import) -> dict[str, Any]:
    row = Import.objects.select_related("version__dataset", "job").get(pk=row.pk)
    found: dict[str, Any] = {"import": row.pk, "job": str(row.job_id), "status": row.job.status}
    if row.version is None:
        return found
    version = row.version
    return found | {
        "dataset": version.dataset_id,
        "version": version.number,
        "rows": version.rows,
        "sha256": version.sha256,
        "gap_count": version.gap_count,
        "missing_bars": version.missing_bars,
    }
