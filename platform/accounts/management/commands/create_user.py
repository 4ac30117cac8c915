from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from accounts.commands import ReportingCommand
from accounts.models import User
from accounts.services import create_user


class Command(ReportingCommand):
    help = "Make a user with a random password, shown once, and a workspace of their own."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")
        parser.add_argument("--workspace", default="", help="name of the new workspace")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        name = options["username"]
        try:
            User._meta.get_field("username").clean(name, None)
        except ValidationError as error:
            raise CommandError(f"{name!r} is no user name: {' '.join(error.messages)}") from error
        if User.objects.filter(username=name).exists():
            raise CommandError(f"There is already a user {name!r}.")
        user, password = create_user(name, workspace_name=options["workspace"][:200])
        workspace = user.memberships.get().workspace
        return {"username": user.username, "password": password, "workspace": workspace.name}
