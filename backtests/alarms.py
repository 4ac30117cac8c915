from __future__ import annotations

from typing import TypeVar

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from backtests.models import SeedVerdict
from modeling.models import TrainingRun

EXPLANATION_MAX = 5000

# A run, or the mean prediction over several: each has an alarm of its own.
Alarmed = TypeVar("Alarmed", TrainingRun, SeedVerdict)


class NoAlarm(Exception):
    """No leak alarm has been raised, so there is nothing to explain."""


@transaction.atomic
def explain_alarm(row: Alarmed, *, user: User, text: str) -> Alarmed:
    """Store why a leak alarm is none, and show the verdicts it kept back. Raises NoAlarm."""
    locked: Alarmed = type(row).objects.select_for_update(no_key=True).get(pk=row.pk)
    if not locked.leak_alarm.get("raised"):
        raise NoAlarm("No leak alarm has been raised here; there is nothing to explain.")
    locked.alarm_explanation = text
    locked.alarm_explained_by = user
    locked.alarm_explained_at = Now()
    locked.save(update_fields=["alarm_explanation", "alarm_explained_by", "alarm_explained_at"])
    if isinstance(locked, TrainingRun):
        for backtest in locked.backtests.exclude(withheld={}):
            backtest.release()
            backtest.save(update_fields=["report", "verdict", "withheld"])
    locked.refresh_from_db()
    return locked


def subject_of(row: TrainingRun | SeedVerdict) -> str:
    """What the audit calls it."""
    if isinstance(row, TrainingRun):
        return f"run {row.pk}"
    return f"mean prediction {row.pk} of experiment {row.experiment_id}"
