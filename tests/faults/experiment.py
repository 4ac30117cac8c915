"""Run inside a machine's own environment: stores an experiment and prints its id.

The argument is JSON: how many of the last days to use, and changes to parts of the quick spec.
"""

from __future__ import annotations

import json
import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from datetime import timedelta

    from accounts.models import User
    from backtests.services import create_experiment
    from markets.models import DatasetVersion
    from tests.path import quick_spec

    asked = json.loads(sys.argv[1])
    version = DatasetVersion.objects.select_related("dataset").get(number=1)
    from_at = version.last_at + version.bar - timedelta(days=asked["days"])
    spec = quick_spec(data={"from_at": from_at.isoformat()}, **asked["parts"])
    experiment = create_experiment(
        workspace=version.workspace,
        user=User.objects.get(username="alice"),
        name="Faults",
        versions=[version],
        spec=spec,
    )
    print(experiment.pk)
