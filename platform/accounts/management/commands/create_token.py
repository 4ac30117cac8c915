from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import audit
from accounts.commands import ReportingCommand, user_named, workspace_of
from accounts.models import TOKEN_DAYS_MAX, ApiToken, Scope


class Command(ReportingCommand):
    help = "Make a bearer token of the API, shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--name", default="command line", help="what the token is for")
        parser.add_argument("--scope", choices=Scope.values, default=Scope.LAUNCH)
        parser.add_argument("--days", type=int, default=TOKEN_DAYS_MAX, help="until it expires")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        days = options["days"]
        if not 1 <= days <= TOKEN_DAYS_MAX:
            raise CommandError(f"--days: found {days}; expected 1 to {TOKEN_DAYS_MAX}")
        user = user_named(options["username"])
        workspace = workspace_of(user)
        row, token = ApiToken.make(
            workspace=workspace,
            user=user,
            name=options["name"][:200],
            scope=options["scope"],
            days=days,
        )
        audit.record("token_made", workspace=workspace, user=user, subject=row.pk)
        return {
            "token": token,
            "scope": str(row.scope),
            "workspace": workspace.name,
            "expires_at": f"{row.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        }
