from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from accounts.models import User
from jobs.models import Job
from jobs.statuses import TERMINAL

THEMES = ("system", "light", "dark")
# Rail: (label, URL name, first part of the path).
RAIL = (
    ("Dashboard", "web:dashboard", "", "▦"),
    ("Datasets", "markets:dataset_list", "datasets", "▤"),
    ("Features", "markets:feature_catalogue", "features", "∿"),
    ("Experiments", "backtests:experiment_list", "experiments", "◇"),
    ("Runs", "modeling:run_list", "runs", "▷"),
    ("Models", "modeling:model_list", "models", "◈"),
    ("Backtests", "backtests:backtest_list", "backtests", "◫"),
    ("Compare", "backtests:compare", "compare", "⇄"),
    ("Trials", "backtests:trial_list", "trials", "№"),
    ("Jobs", "jobs:job_list", "jobs", "≡"),
    ("Glossary", "web:glossary", "help", "?"),
)

# Pages that belong to a part of the rail without lying in its part of the path.
SECTIONS = {"studies": "experiments", "imports": "datasets"}


def theme_of(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "system")
    return theme if theme in THEMES else "system"


def section_of(path: str) -> str:
    """The part of the rail that a page belongs to."""
    part = path.split("/")[1]
    return SECTIONS.get(part, part)


def shell(request: HttpRequest) -> dict[str, Any]:
    """What the frame around every page needs; the count is asked for only where it is shown."""
    user = getattr(request, "user", None)
    signed_in = isinstance(user, User)
    return {
        "theme": theme_of(request),
        "rail": RAIL if signed_in else (),
        "section": section_of(request.path),
        "running_jobs": (
            (lambda: Job.objects.visible_to(user).exclude(status__in=TERMINAL).count())
            if isinstance(user, User)
            else 0
        ),
        "request_id": getattr(request, "request_id", ""),
    }
