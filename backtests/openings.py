"""An opened hold-out as the pages know it: the opening, its own backtest, and what reports say of it."""

from __future__ import annotations

from django.db import transaction

from accounts.models import User
from backtests.badges import holdout_badge, renew_badge
from backtests.confidence import require_calibrated
from backtests.models import Backtest
from backtests.services import identity_of, own_name, queue_behind
from backtests.specs import BacktestSpec, SpanSpec
from modeling.measures import scores_on
from modeling.models import Experiment, HoldoutOpening, TrainingRun, instrument_name
from modeling.openings import Asked, HoldoutRefused, experiments_that_share, open_holdout
from modeling.services import sealed_versions
from specs.declaration import InvalidSpec


@transaction.atomic
def open_and_backtest(
    run: TrainingRun, *, user: User, name: str, idempotency_key: str = ""
) -> tuple[HoldoutOpening, Asked]:
    """Open the hold-out with one run and queue its backtest over that span behind the scoring.

    `name` must be the name of the experiment, typed. Only what was opened now is counted.
    Raises HoldoutRefused, QueueFull over a quota, and JobConflict when the key belongs to other work.
    """
    if name != run.experiment.name:
        raise HoldoutRefused(
            "wrong_name", f"Expected the name of the experiment, {run.experiment.name}."
        )
    opening, asked = open_holdout(run, user=user, idempotency_key=idempotency_key)
    if asked is Asked.OPENED:
        _queue_backtests(opening, user)
        for experiment in experiments_that_share(opening):
            _tell_reports(experiment)
    return opening, asked


def _tell_reports(experiment: Experiment) -> None:
    badge = holdout_badge(experiment)
    reports = Backtest.objects.filter(run__experiment=experiment).exclude(report={})
    for row in reports:
        renew_badge(row, badge)
        row.save(update_fields=["badges", "report"])


def _queue_backtests(opening: HoldoutOpening, user: User) -> None:
    """On the first instrument, and on each of the others as a trial of its own; on none that ends before
    the seal.
    """
    experiment, run = opening.experiment, opening.run
    spec = BacktestSpec.parse(experiment.backtest_spec)
    try:
        require_calibrated(spec, scores_on(run.metrics, instrument_name(experiment.version)))
    except InvalidSpec as error:
        text = f"The experiment's backtest cannot be run on this run. {error}."
        raise HoldoutRefused("uncalibrated", text) from error
    # A span of the walk-forward part would leave nothing of the hold-out.
    whole = spec.model_copy(update={"span": SpanSpec()})
    # The first instrument last: of several rows the newest is the one that answers name.
    for version in reversed(sealed_versions(experiment)):
        is_first = version == experiment.version
        more = ("hold-out",) if is_first else ("hold-out", instrument_name(version))
        queue_behind(
            opening.job,
            run,
            user,
            whole,
            version,
            name=own_name(experiment.name, run.seed, *more),
            is_holdout=True,
            spec_sha256=experiment.spec_sha256 if is_first else identity_of(run, whole, version),
        )
