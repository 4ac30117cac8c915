"""Run inside a machine's own environment: a user with a token, and the synthetic candles.

Prints one JSON document. The import itself is done by the machine's data worker.
"""

from __future__ import annotations

import json
import os

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from accounts.models import ApiToken, Scope
    from accounts.services import create_user
    from markets.services.imports import launch_demo

    user, _password = create_user("alice")
    workspace = user.memberships.get().workspace
    _row, token = ApiToken.make(workspace=workspace, user=user, name="Faults", scope=Scope.ADMIN)
    job = launch_demo(workspace=workspace, user=user).job
    print(json.dumps({"user": user.pk, "token": token, "import_job": str(job.pk)}))
