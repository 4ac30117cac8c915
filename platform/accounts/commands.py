"""What the commands of manage.py share: one JSON document, and one line when they cannot go on."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from accounts.models import User, Workspace

AWAY = "The database does not answer. Start the services with: manage.py up"


class ReportingCommand(BaseCommand):
    """Prints what `report` returns: as JSON with --json, else as lines of text."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = self.report(options)
        except OperationalError as error:
            raise CommandError(AWAY) from error
        self.stdout.write(json.dumps(found) if options["json"] else self.text(found))

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        """The result as plain JSON data. Raises CommandError with one line."""
        raise NotImplementedError

    def text(self, found: dict[str, Any]) -> str:
        """The result for people; one line for each key."""
        width = max(map(len, found))
        return "\n".join(
            f"{key.replace('_', ' '):<{width}}  {value}" for key, value in found.items()
        )


def user_named(name: str) -> User:
    """An active user. Raises CommandError."""
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        raise CommandError(
            f"There is no user {name!r}. Make one with: manage.py create_user {name}"
        )
    return user


def workspace_of(user: User) -> Workspace:
    """The first workspace of a user. Raises CommandError."""
    workspace = user.first_workspace()
    if workspace is None:
        raise CommandError(
            f"{user.username} is a member of no workspace, so nothing can be stored for them."
            " Make them a member of one first."
        )
    return workspace
