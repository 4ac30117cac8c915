from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from accounts.commands import ReportingCommand, user_named
from accounts.services import SIGN_IN_MINUTES, make_sign_in_link
from embedded.lock import running_up


class Command(ReportingCommand):
    help = "Print a link that signs a user in once, within fifteen minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("username")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        user = user_named(options["username"])
        running = running_up(settings.STATE)
        address = running.address if running else ""
        link = f"{address}{make_sign_in_link(user)}"
        return {"username": user.username, "link": link, "minutes": SIGN_IN_MINUTES}
