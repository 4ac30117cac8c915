"""An experiment without a network through the whole path: run, report, registry, hold-out, resume."""

import pytest

import modeling.tasks  # noqa: F401 — registers the bodies of jobs
from artifacts.store import local_path
from backtests.openings import Asked, open_and_backtest
from backtests.presets import preset
from backtests.specs import ExperimentSpec
from backtests.studies import launch_study
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.errors import JobConflict
from jobs.execution import run_body
from jobs.models import Job
from jobs.workers import claimant
from modeling import run as trainer
from modeling.baselines.ladder import LADDER
from modeling.evaluation.table import COLUMNS, read_predictions
from modeling.models import PredictionSet
from modeling.registry import launch_prediction, register_model
from modeling.services import resume_run
from specs.declaration import InvalidSpec
from tests import factories, path

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def linear_spec() -> ExperimentSpec:
    spec = preset("linear").to_json()
    spec["features"] |= {"feature_set": "basic-15", "select_top": "none"}
    spec["windows"] |= {"context_bars": 64}
    spec["training"] |= {"epochs": 1, "threads": 1}
    spec["evaluation"] |= {"folds": 2, "bootstrap_draws": 100}
    return ExperimentSpec.parse(spec)


@pytest.fixture
def user():
    return path.make_people()[0]


@pytest.fixture
def run(user):
    return path.finished_run(user, path.demo_version(user.first_workspace(), user), linear_spec())


def predicted(job: Job) -> Job:
    """What the trainer would do runs in this process."""
    lease = claim(job.pk, claimant())
    assert lease is not None
    run_body(job, RunningAttempt(lease), lambda job, attempt: trainer.main(attempt))
    return Job.objects.get(pk=job.pk)


def table_of(row: PredictionSet):
    return read_predictions(local_path(row.file))


def test_the_whole_path_works_without_a_network(run, user, client):
    assert run.causality["passed"]
    assert {score.rung for score in run.baselines.all()} == set(LADDER) - {"logistic"}
    assert set(run.metrics) >= {"action", "regime", "confidence", "volatility", "risk"}
    folds = list(run.folds.all())
    assert all(fold.weights_sha256 and fold.epochs == 0 for fold in folds)
    backtest = path.finished_backtest(run)
    assert backtest.report["verdict"]["word"]
    assert "logistic" not in backtest.report["numbers"]["rungs"]
    client.force_login(user)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "This run has no network and no epochs" in page
    assert 'id="chart-loss"' not in page
    page = client.get(f"/experiments/{run.experiment_id}/").content.decode()
    assert "160" in page
    assert "Temporal attention bias" not in page
    assert 'value="Linear"' in client.get("/experiments/new/?preset=linear").content.decode()


def test_its_model_is_registered_and_says_the_same_on_its_own_candles(run, user):
    model = register_model(run, user=user, name="Linear")
    row, _ = launch_prediction(model, run.experiment.version, user=user)
    job = predicted(row.job)
    assert job.status == "succeeded", job.message
    row.refresh_from_db()
    ours, walked = table_of(row.predictions), table_of(run.prediction_sets.get(rung="model"))
    is_last = walked["fold"] == 2
    for name in set(COLUMNS) & {"action", "confidence", "volatility", "regime_0", "risk_2"}:
        assert ours[name].tobytes() == walked[name][is_last].tobytes()


def test_its_hold_out_is_scored_when_opened(run, user):
    path.finished_backtest(run)
    opening, asked = open_and_backtest(run, user=user, name=run.experiment.name)
    job = predicted(opening.job)
    assert (job.status, asked) == ("succeeded", Asked.OPENED), job.message
    opening.refresh_from_db()
    assert opening.predictions.rows > 0
    assert opening.metrics["action"]["auc"]["value"] > 0


def test_a_run_that_was_stopped_in_its_first_fold_has_nothing_to_go_on_from():
    user, workspace = path.make_people()
    experiment = factories.make_experiment(workspace)
    run = factories.make_run(experiment, status="cancelled")
    run.checkpoints.all().delete()
    run.folds.all().delete()
    with pytest.raises(JobConflict):
        resume_run(run, user=user)


def test_a_study_of_it_is_refused_with_the_reason_once(run, user):
    with pytest.raises(InvalidSpec) as refused:
        launch_study(run.experiment, user=user, seeds=(0,), keys=("bias_off", "patch"))
    text = refused.value.fields["variants"]
    assert text.count("The base has no network") == 1
    assert "No temporal bias, Other patches: The base" in text
