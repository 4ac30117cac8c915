from __future__ import annotations

import hashlib
import json
from typing import Any

from django.db import transaction

from accounts.models import NAME_MAX, User, Workspace
from backtests.confidence import require_calibrated
from backtests.later import in_sample_text
from backtests.metrics.series import instant_of
from backtests.models import Backtest, SeedVerdict
from backtests.spans import WHOLE, require_predicted, require_within
from backtests.specs import BacktestSpec, ExperimentSpec
from jobs.claim import lock
from jobs.idempotency import replay
from jobs.models import Job
from jobs.services import enqueue
from jobs.statuses import JobKind, JobStatus, Queue
from markets.models import DatasetVersion
from markets.services.datasets import hold_for_use
from modeling import services as modeling
from modeling.measures import scores_on
from modeling.models import (
    Experiment,
    ModelPrediction,
    PredictionSet,
    TrainingRun,
    instrument_name,
)
from specs.declaration import InvalidSpec


def create_experiment(
    *,
    workspace: Workspace,
    user: User | None,
    name: str,
    versions: list[DatasetVersion],
    spec: ExperimentSpec,
    preset: str = "",
    notes: str = "",
) -> Experiment:
    """Store an experiment whose hold-out is sealed from now on. Raises InvalidSpec."""
    _require_planned_span(spec, versions)
    return modeling.create_experiment(
        workspace=workspace,
        user=user,
        name=name,
        versions=versions,
        spec=spec.model_spec(),
        backtest_spec=spec.backtest.to_json(),
        spec_sha256=spec.sha256(),
        preset=preset,
        notes=notes,
    )


@transaction.atomic
def create_experiment_once(
    *,
    workspace: Workspace,
    user: User | None,
    name: str,
    versions: list[DatasetVersion],
    spec: ExperimentSpec,
    key: str,
    preset: str = "",
    notes: str = "",
    source: Experiment | None = None,
) -> Experiment:
    """The experiment of a form, stored by the first of equal submissions. Raises InvalidSpec.

    Submissions are equal when their key and all they say are; the same page sent again with another
    value makes an experiment of its own. Equal ones at the same moment wait for each other here.
    """
    form_key = None
    if key:
        chosen = sorted(row.pk for row in versions)
        cloned = source.pk if source else None
        said = json.dumps([key, name, chosen, spec.sha256(), preset, notes, cloned])
        form_key = hashlib.sha256(said.encode()).hexdigest()
        lock("outsample.backtests.experiment", f"{workspace.pk}:{form_key}")
        known = Experiment.objects.filter(workspace=workspace, form_key=form_key).first()
        if known is not None:
            return known
    experiment = create_experiment(
        workspace=workspace,
        user=user,
        name=name,
        versions=versions,
        spec=spec,
        preset=preset,
        notes=notes,
    )
    if source is not None:
        modeling.record_parent(experiment, source)
    experiment.form_key = form_key
    experiment.save(update_fields=["form_key"])
    return experiment


def estimate(spec: ExperimentSpec, versions: list[DatasetVersion]) -> dict[str, Any]:
    """What a run of this experiment will cost, before anything runs. Raises InvalidSpec."""
    _require_planned_span(spec, versions)
    return modeling.estimate(spec.model_spec(), versions)


def _require_planned_span(spec: ExperimentSpec, versions: list[DatasetVersion]) -> None:
    """Refuse a span that no gap can explain: outside the test blocks nothing will be predicted."""
    span = spec.backtest.span
    if span == WHOLE:
        return
    plan = modeling.check_spec(spec.model_spec(), versions)
    first = min(fold.instants["test"][0] for fold in plan.folds)
    try:
        require_predicted(span, instant_of(first) - versions[0].bar, instant_of(plan.holdout_at))
    except InvalidSpec as error:
        raise InvalidSpec(
            {f"backtest.{path}": text for path, text in error.fields.items()}
        ) from None


@transaction.atomic
def launch_experiment(
    experiment: Experiment,
    *,
    user: User | None,
    seed: int | None = None,
    idempotency_key: str = "",
    part_of_launch: bool = False,
) -> list[TrainingRun]:
    """Queue a run for each seed of the spec (or the one given), and a backtest behind each run.

    With `part_of_launch` the hourly quota has counted the launch already.
    """
    seeds = experiment.model_spec.training.seeds if seed is None else (seed,)
    runs = []
    for place, number in enumerate(seeds):
        key = f"{idempotency_key}/{number}"[-200:] if idempotency_key and place else idempotency_key
        run, is_new = modeling.launch_run(
            experiment,
            user=user,
            seed=number,
            idempotency_key=key,
            part_of_launch=part_of_launch or place > 0,
        )
        if is_new:
            own = _queue_backtests(run, user)
            if len(seeds) > 1 or experiment.runs.exclude(seed=run.seed).exists():
                _queue_seed_verdict(own, user)
        runs.append(run)
    return runs


def _queue_backtests(run: TrainingRun, user: User | None) -> Backtest:
    """The run's own backtest on the first instrument, which comes back, and a further one, a trial of its
    own, on each of the others.
    """
    experiment = run.experiment
    first, *others = experiment.pool
    spec = BacktestSpec.parse(experiment.backtest_spec)
    own = {"name": own_name(experiment.name, run.seed), "is_own": True}
    row = queue_behind(run.job, run, user, spec, first, spec_sha256=experiment.spec_sha256, **own)
    for version in others:
        name = own_name(experiment.name, run.seed, instrument_name(version))
        digest = identity_of(run, spec, version)
        queue_behind(run.job, run, user, spec, version, spec_sha256=digest, name=name)
    return row


def queue_behind(
    before: Job,
    run: TrainingRun,
    user: User | None,
    spec: BacktestSpec,
    version: DatasetVersion,
    **columns: Any,  # Any: values of a row
) -> Backtest:
    """A backtest of the run that waits for a job to succeed."""
    job = enqueue(
        workspace=run.workspace,
        created_by=user,
        kind=JobKind.BACKTEST,
        queue=Queue.BACKTESTS,
        after=before,
    )
    return Backtest.objects.create(
        workspace=run.workspace,
        created_by=user,
        run=run,
        version=version,
        spec=spec,
        job=job,
        **columns,
    )


def _queue_seed_verdict(own: Backtest, user: User | None) -> SeedVerdict:
    """Judge the mean prediction over seeds once this backtest is there."""
    experiment = own.run.experiment
    job = enqueue(
        workspace=experiment.workspace,
        created_by=user,
        kind=JobKind.SEEDS,
        queue=Queue.BACKTESTS,
        after=own.job,
    )
    return SeedVerdict.objects.create(
        workspace=experiment.workspace, experiment=experiment, job=job
    )


def identity_of(
    run: TrainingRun,
    spec: BacktestSpec,
    version: DatasetVersion,
    later: ModelPrediction | None = None,
) -> str:
    """What a further backtest is counted by: equal predictions of equal candles, judged alike, are one
    trial.
    """
    if later is not None:
        assert later.predictions is not None  # what is not predicted is not backtested
        parts = [later.predictions.sha256, version.sha256, spec.sha256()]
    elif version == run.experiment.version:
        parts = [run.experiment.spec_sha256, str(run.seed), spec.sha256()]
    else:
        parts = [run.experiment.spec_sha256, str(run.seed), version.sha256, spec.sha256()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def own_name(experiment: str, seed: int, *more: str) -> str:
    """The name of a backtest that comes with a run; a long experiment name is cut so that the seed,
    and `more` words, stay.
    """
    ending = ", ".join(["", f"seed {seed}", *more])
    return f"{experiment[: NAME_MAX - len(ending)]}{ending}"


class BacktestRefused(Exception):
    """Predictions that are not backtested; `code` and the text say why."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


def launch_backtest_of(
    source: PredictionSet, *, user: User, name: str, spec: BacktestSpec, idempotency_key: str = ""
) -> Backtest:
    """Queue a backtest of a prediction set, of a run or of a registered model; of several instruments on
    the one that is looked at, or the first.

    Raises BacktestRefused for a set that is not to be backtested, and as `launch_backtest` does.
    """
    _require_open_to_all(source)
    run, later = source.run, None
    if run is None:
        later = ModelPrediction.objects.select_related("model__run__experiment").get(
            predictions=source
        )
        run = later.model.run
    return launch_backtest(
        workspace=source.workspace,
        user=user,
        name=name,
        run=run,
        spec=spec,
        version=source.version,
        later=later,
        idempotency_key=idempotency_key,
    )


def _require_open_to_all(source: PredictionSet) -> None:
    if source.is_holdout:
        raise BacktestRefused(
            "holdout_set", "A hold-out is scored once, by the backtest of its opening."
        )
    if source.rung != PredictionSet.MODEL:
        raise BacktestRefused(
            "rung_set",
            f"These are the predictions of the rung {source.rung}, which stands in every report of its "
            "run. Choose those of the model.",
        )
    if source.path > 1:
        raise BacktestRefused(
            "other_path",
            f"These are the predictions of path {source.path}. A backtest takes path 1, fixed "
            "beforehand, and its report shows the spread over all paths: choose those of path 1.",
        )
    if source.run is not None and source.run.job.status != JobStatus.SUCCEEDED:
        raise BacktestRefused("run_not_finished", f"The run is {source.run.job.status}.")


@transaction.atomic
def launch_backtest(
    *,
    workspace: Workspace,
    user: User,
    name: str,
    run: TrainingRun,
    spec: BacktestSpec,
    version: DatasetVersion | None = None,
    later: ModelPrediction | None = None,
    idempotency_key: str = "",
) -> Backtest:
    """Queue a further backtest of a finished run's predictions, on the version of its first instrument or
    the one given, or of what a registered model of it said later. It is a trial of its own.

    Raises InvalidSpec where the spec takes an uncalibrated confidence for a probability or its span
    holds what is not predicted, BacktestRefused where the model was trained on all of the predicted
    time or nothing is predicted.
    """
    source = f"model prediction {later.pk}" if later else str(run.pk)
    version = later.version if later else version or run.experiment.version
    body = f"{source} {name} {spec.sha256()}"
    if later is None and version != run.experiment.version:
        body += f" {version.pk}"
    request_sha256 = hashlib.sha256(body.encode()).hexdigest()
    if job := replay(workspace, idempotency_key, request_sha256):
        return Backtest.objects.get(job=job)
    require_calibrated(spec, scores_on(run.metrics, instrument_name(version)))
    if later is not None:
        _require_out_of_sample(later)
    _require_span(spec, run, version, later)
    hold_for_use([version])
    job = enqueue(
        workspace=workspace,
        created_by=user,
        kind=JobKind.BACKTEST,
        queue=Queue.BACKTESTS,
        idempotency_key=idempotency_key,
        request_sha256=request_sha256,
    )
    return Backtest.objects.create(
        workspace=workspace,
        created_by=user,
        name=name,
        run=run,
        model_prediction=later,
        version=version,
        spec=spec,
        spec_sha256=identity_of(run, spec, version, later),
        job=job,
    )


def _require_span(
    spec: BacktestSpec, run: TrainingRun, version: DatasetVersion, later: ModelPrediction | None
) -> None:
    own = run.prediction_sets.headline().filter(rung=PredictionSet.MODEL, is_holdout=False)  # type: ignore[attr-defined]  # PredictionSetQuerySet
    stored = later.predictions if later else own.first()
    if stored is None:
        raise BacktestRefused("no_predictions", "The run has no predictions. Start it again.")
    require_within(spec.span, stored, version, later.model.out_of_sample_from if later else None)


def _require_out_of_sample(later: ModelPrediction) -> None:
    if later.predictions is None:
        raise BacktestRefused("no_predictions", f"The prediction is {later.job.status}.")
    start = later.model.out_of_sample_from
    if later.predictions.last_at + later.version.bar < start:
        raise BacktestRefused("in_sample", in_sample_text(start))
