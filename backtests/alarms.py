from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from modeling.models import TrainingRun

EXPLANATION_MAX = 5000


class NoAlarm(Exception):
    """The run has raised no leak alarm, so there is nothing to explain."""


@transaction.atomic
def explain_alarm(run: TrainingRun, *, user: User, text: str) -> TrainingRun:
    """Store why a leak alarm is none, and show the verdicts it kept back. Raises NoAlarm."""
    run = TrainingRun.objects.select_for_update(no_key=True).get(pk=run.pk)
    if not run.leak_alarm.get("raised"):
        raise NoAlarm("This run has raised no leak alarm; there is nothing to explain.")
    run.alarm_explanation = text
    run.alarm_explained_by = user
    run.alarm_explained_at = Now()
    run.save(update_fields=["alarm_explanation", "alarm_explained_by", "alarm_explained_at"])
    for backtest in run.backtests.exclude(withheld={}):
        backtest.release()
        backtest.save(update_fields=["report", "verdict", "withheld"])
    run.refresh_from_db()
    return run
