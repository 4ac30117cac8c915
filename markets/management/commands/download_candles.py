from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import audit
from accounts.commands import ReportingCommand, user_named, workspace_of
from markets.management.commands.import_candles import only_user, result, wait
from markets.services.downloads import launch_download
from markets.specs import DownloadSpec
from specs.declaration import InvalidSpec

# The option of each field; a field that is not required by the spec is none here.
OPTIONS = {
    "venue": "--venue",
    "symbol": "--symbol",
    "timeframe": "--timeframe",
    "from_at": "--from",
    "to_at": "--to",
}


class Command(ReportingCommand):
    help = "Download public candles of an exchange; the workers of `up` do the work."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        for name, option in OPTIONS.items():
            info = DownloadSpec.model_fields[name]
            text = (info.description or "").replace("%", "%%")
            parser.add_argument(option, dest=name, help=text, required=info.is_required())
        parser.add_argument("--user", help="whose download it is (default: the only user)")
        parser.add_argument("--no-wait", action="store_true", help="do not wait for the job")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        user = user_named(options["user"]) if options["user"] else only_user()
        given = {name: options[name] for name in OPTIONS if options[name] is not None}
        for name in ("from_at", "to_at"):
            # A day or a time without a zone is UTC, as on the page.
            if name in given and "T" not in given[name] and "+" not in given[name]:
                given[name] = (
                    f"{given[name].replace(' ', 'T')}{'' if ' ' in given[name] else 'T00:00'}Z"
                )
        try:
            row = launch_download(
                workspace=workspace_of(user), user=user, spec=DownloadSpec.parse(given)
            )
        except InvalidSpec as error:
            raise CommandError(str(error)) from error
        audit.record("download", workspace=row.workspace, user=user, subject=row.pk)
        if not options["no_wait"]:
            wait(row.job)
        return result(row)
