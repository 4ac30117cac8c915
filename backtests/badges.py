"""The hold-out badge of a report: made anew whenever the sealed bars of its experiment are looked at."""

from __future__ import annotations

from backtests.models import Backtest
from modeling.models import Experiment
from modeling.openings import openings_seen

SEALED, OPENED = "holdout_sealed", "holdout_opened"


def holdout_badge(experiment: Experiment) -> dict[str, str]:
    """How often the sealed bars of an experiment were looked at, in its own name or another's."""
    seen = openings_seen(experiment)
    if not seen:
        return {"code": SEALED, "label": "Hold-out sealed"}
    times = "once" if seen == 1 else f"{seen} times"
    others = seen - experiment.openings.count()
    ending = f", {others} of them by another experiment" if others else ""
    return {"code": OPENED, "label": f"Hold-out opened {times}{ending}"}


def renew_badge(row: Backtest, badge: dict[str, str]) -> None:
    """Put the present hold-out badge in the place of the one a report was made with."""
    kept = [found for found in row.badges if found["code"] not in (SEALED, OPENED)]
    row.badges = [*kept, badge]
    row.report = row.report | {"badges": row.badges}
