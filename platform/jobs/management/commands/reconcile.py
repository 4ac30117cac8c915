from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs.reconciler import reconcile


class Command(BaseCommand):
    help = "Recover lost attempts, finish cancels and publish unclaimed jobs, once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        done = asdict(reconcile())
        if options["json"]:
            self.stdout.write(json.dumps(done, default=str))
            return
        counts = {
            name: len(value) if isinstance(value, list) else value for name, value in done.items()
        }
        self.stdout.write(", ".join(f"{name} {value}" for name, value in counts.items()))
