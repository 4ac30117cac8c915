from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import audit
from accounts.commands import ReportingCommand, user_named
from markets.management.commands.import_candles import only_user
from markets.models import DatasetVersion
from markets.services.datasets import InvalidText, NothingToAccept, accept_findings


class Command(ReportingCommand):
    help = "Accept the findings of a dataset version, so that experiments may use it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("dataset", type=int, help="the number in the dataset's address")
        parser.add_argument("version", type=int, help="the number of the version")
        parser.add_argument("--reason", required=True, help="why these candles can be used")
        parser.add_argument("--user", help="who accepts (default: the only user)")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        user = user_named(options["user"]) if options["user"] else only_user()
        rows = DatasetVersion.objects.visible_to(user).select_related("dataset", "workspace")
        version = rows.filter(dataset=options["dataset"], number=options["version"]).first()
        if version is None:
            raise CommandError(
                f"{user.username} sees no version {options['version']} of dataset"
                f" {options['dataset']}. Its address on the page has both numbers."
            )
        member = user.memberships.get(workspace=version.workspace)
        if not member.may_edit:
            raise CommandError("This needs the role editor. Ask an owner of the workspace.")
        try:
            row = accept_findings(version, user=user, reason=options["reason"])
        except (InvalidText, NothingToAccept) as error:
            raise CommandError(str(error)) from error
        audit.record(
            "accept", workspace=version.workspace, user=user, subject=version, reason=row.reason
        )
        return {
            "version": str(version),
            "findings": [finding["message"] for finding in row.findings],
            "reason": row.reason,
        }
