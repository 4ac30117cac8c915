"""What a run does when the database goes away, and when it is asked to stop late."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager

import pytest
from django.db import OperationalError
from safetensors import safe_open

import jobs.attempts
from artifacts.store import verified_path
from backtests.services import create_experiment, launch_experiment
from jobs.attempts import RunningAttempt, StopReason
from jobs.claim import claim
from jobs.errors import Fenced, StopRequested
from jobs.exits import Exit
from jobs.models import Job, JobEvent
from jobs.statuses import EventKind, ExitKind, JobStatus
from jobs.transitions import end_attempt
from jobs.workers import claimant
from markets.candles.synthetic import synthetic_candles
from markets.features.compute import compute_features
from markets.features.registry import FEATURES
from modeling import certifying, pipeline, provenance
from modeling.causality import state_of
from modeling.models import Checkpoint
from modeling.observing import newest_checkpoint
from modeling.storing import store_fold, write_end
from modeling.training.checkpoint import Provenance, read_state
from modeling.windows import learned
from modeling.windows.make import PoolPart
from modeling.windows.selection import Selection
from tests import factories
from tests.path import demo_version, finished_run, make_people, quick_spec, run_training

PROVENANCE = Provenance(spec_sha256="5" * 64, dataset_sha256="d" * 64, seed=3)


@pytest.fixture
def run(db):
    experiment = factories.make_experiment(factories.make_workspace())
    return factories.make_run(experiment, status=JobStatus.QUEUED)


@pytest.fixture
def attempt(run) -> RunningAttempt:
    lease = claim(run.job_id, claimant())
    assert lease is not None
    return RunningAttempt(lease)


@pytest.fixture
def away_once(monkeypatch):
    """The next transaction finds no database; `after_commit`: only its answer is lost."""
    real = RunningAttempt.fenced
    left = []

    @contextmanager
    def fenced(self):
        when = left.pop() if left else None
        if when == "before":
            raise OperationalError("the database is away")
        with real(self):
            yield
        if when == "after_commit":
            raise OperationalError("the answer to the commit got lost")

    monkeypatch.setattr(RunningAttempt, "fenced", fenced)
    monkeypatch.setattr(jobs.attempts, "drop_connection", lambda: None)
    monkeypatch.setattr(jobs.attempts, "BACKOFF_S", (0.0,))
    return lambda *, after_commit=False: left.append("after_commit" if after_commit else "before")


def test_finished_folds_are_asked_for_again_when_the_database_returns(run, attempt, away_once):
    factories.Fold.objects.create(run=run, number=1, finished_at=run.created_at)
    away_once()
    assert pipeline._is_finished(run, attempt, 1)
    assert not pipeline._is_finished(run, attempt, 2)


def test_a_resumed_run_finds_the_time_of_the_ladder_that_finished_folds_have_left(run, attempt):
    times = {1: (40.0, 4.0), 2: (76.0, 50.0), 4: (60.0, 1.0)}
    for number, (budget_s, spent_s) in times.items():
        state = {"ladder_time": {"budget_s": budget_s, "spent_s": spent_s}}
        factories.Fold.objects.create(
            run=run, number=number, state=state, finished_at=run.created_at
        )
    left = [pipeline._unspent_s(run, attempt, before=number) for number in (1, 2, 3, 4)]
    assert left == [0.0, 36.0, 26.0, 26.0]


def test_damaged_checkpoint_is_told_once_however_often_the_commit_is_tried(
    run, attempt, away_once, tmp_path
):
    Checkpoint.objects.create(run=run, fold=1, step=5, name="gone.json", sha256="0" * 64, size=1)
    away_once()
    found = newest_checkpoint(run, attempt, tmp_path, fold=1, provenance=PROVENANCE)
    assert found is None
    assert not run.checkpoints.exists()
    told = JobEvent.objects.filter(job=run.job_id, kind=EventKind.CHECKPOINT_REJECTED)
    assert told.count() == 1


@pytest.mark.parametrize("after_commit", [False, True])
def test_run_ends_once_although_the_database_went_away_at_its_end(
    run, attempt, away_once, after_commit
):
    away_once(after_commit=after_commit)
    write_end(attempt, lambda: attempt.succeed("done"))
    assert Job.objects.get(pk=run.job_id).status == JobStatus.SUCCEEDED
    assert after_commit is attempt.ended.is_set()  # a test's transaction never calls on_commit


def test_attempt_that_another_closed_does_not_end_as_succeeded(run, attempt):
    end_attempt(attempt.attempt_id, Exit(ExitKind.LOST))
    with pytest.raises(Fenced):
        write_end(attempt, lambda: attempt.succeed("done"))


def test_stop_is_looked_for_between_two_bars_of_the_causality_check(attempt):
    candles = synthetic_candles(days=3, seed=1)
    table = compute_features(candles, ("ret_1",), (1,))
    attempt.request_stop(StopReason.CANCEL)
    with pytest.raises(StopRequested):
        certifying.certificate_of(candles, table, 0, attempt)


def parts_of():
    candles = synthetic_candles(days=3, seed=1)
    return [PoolPart("BTC", candles, compute_features(candles, ("ret_1",), (1,)))]


def test_tables_are_proved_again_by_other_code_and_by_the_same_only_once(run, attempt, monkeypatch):
    real, proved = certifying.certify_features, []

    def certify(candles, table, **options):
        proved.append(run.code_version)
        return real(candles, table, bars=3, **options)

    monkeypatch.setattr(certifying, "certify_features", certify)
    run.causality = {}
    for version in ("0.1.0", "0.1.0", "0.2.0", "0.2.0"):
        run.code_version = version
        certifying.certify_tables(run, attempt, parts_of())
    assert proved == ["0.1.0", "0.2.0"]
    run.refresh_from_db()
    assert run.causality["certified_by"] == "0.2.0"
    assert [entry["certified_by"] for entry in run.causality["earlier"]] == ["0.1.0"]


def test_a_certificate_without_a_version_is_that_of_other_code(run, attempt, monkeypatch):
    found = {"passed": True, "bars_tested": 3}
    monkeypatch.setattr(certifying, "certify_features", lambda *args, **options: dict(found))
    run.causality = factories.certificate(2)
    certifying.certify_tables(run, attempt, parts_of())
    assert run.causality["certified_by"] == run.code_version
    assert run.causality["folds"] == []  # none of them is finished
    assert len(run.causality["earlier"][0]["folds"]) == 2


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("later", "tables", "folds"),
    [("0.1.0+same", 1, [1, 2]), ("0.1.0+other", 2, [1, 2, 2])],
    ids=["same code", "other code"],
)
def test_a_run_that_goes_on_under_other_code_proves_again_what_it_computes_again(
    monkeypatch, later, tables, folds
):
    user, workspace = make_people()
    experiment = create_experiment(
        workspace=workspace,
        user=user,
        name="Stopped",
        versions=[demo_version(workspace, user)],
        spec=quick_spec(),
    )
    run = launch_experiment(experiment, user=user)[0]
    table_of, fit_of = certifying.certify_features, certifying.certify_fit
    proved_tables, proved_folds = [], []

    def certify_features(candles, table, **options):
        proved_tables.append(len(table.names))
        return table_of(candles, table, **options)

    def certify_fit(windows, fold, spec, *, seed):
        proved_folds.append(fold.fold.number)
        return fit_of(windows, fold, spec, seed=seed)

    def store(run, attempt, fold, *rest):
        if fold.fold.number == 2:
            raise StopRequested("stopped before the fold was stored")
        store_fold(run, attempt, fold, *rest)

    monkeypatch.setattr(certifying, "certify_features", certify_features)
    monkeypatch.setattr(certifying, "certify_fit", certify_fit)
    monkeypatch.setattr(provenance, "code_version", lambda: "0.1.0+same")
    with monkeypatch.context() as stopping:
        stopping.setattr(pipeline, "store_fold", store)
        assert run_training(run).status == JobStatus.QUEUED
    monkeypatch.setattr(provenance, "code_version", lambda: later)
    assert run_training(run).status == JobStatus.SUCCEEDED
    assert (len(proved_tables), proved_folds) == (tables, folds)
    run.refresh_from_db()
    assert state_of(run.causality) == "passed"
    by = [entry["certified_by"] for entry in run.causality["folds"]]
    assert (run.causality["certified_by"], by) == (later, ["0.1.0+same", later])


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_run_that_is_stopped_while_it_is_scored_ends_at_once_and_can_go_on(monkeypatch):
    user, workspace = make_people()
    version = demo_version(workspace, user)
    real, shares = RunningAttempt.progress, []

    def progress(self, fraction, message="", *, step=None):
        if message == "Scoring the predictions":
            shares.append(fraction)
            if fraction > pipeline.SCORING_FROM:
                self.request_stop(StopReason.DRAIN)
        real(self, fraction, message, step=step)

    monkeypatch.setattr(RunningAttempt, "progress", progress)
    with pytest.raises(AssertionError):
        finished_run(user, version, quick_spec())
    assert shares[-1] < pipeline.STORING_FROM
    assert Job.objects.get(kind="training").status == JobStatus.QUEUED


SELECTING = {"features": {"feature_set": "all-67", "select_top": 40}}


@pytest.mark.django_db(transaction=True)
def test_run_that_selects_trains_on_the_chosen_features_only():
    user, workspace = make_people()
    run = finished_run(user, demo_version(workspace, user), quick_spec(**SELECTING))
    folds = list(run.folds.select_related("weights"))
    for fold in folds:
        selection = Selection.from_json(fold.state["selection"])
        assert len(selection.names) == len(selection.redundancy) == 40
        assert set(selection.relevance) == set(FEATURES)
        assert tuple(fold.state["scalers"]["names"]) == selection.names
        with safe_open(verified_path(fold.weights), "np") as weights:
            assert weights.get_slice("input.weight").get_shape()[1] == 40 * 4  # 4 bars a token
    certified = [entry["selection"] for entry in run.causality["folds"]]
    assert state_of(run.causality) == "passed"
    assert certified == ["passed"] * len(folds) == ["passed", "passed"]
    assert run.baselines.get(rung="logistic").metrics


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_run_that_selects_goes_on_after_a_stop_with_the_features_it_began_with(monkeypatch):
    user, workspace = make_people()
    version, spec = demo_version(workspace, user), quick_spec(**SELECTING)
    whole = finished_run(user, version, spec)
    experiment = create_experiment(
        workspace=workspace, user=user, name="Stopped", versions=[version], spec=spec
    )
    run = launch_experiment(experiment, user=user)[0]
    real = RunningAttempt.progress

    def progress(self, fraction, message="", *, step=None):
        if message.startswith("Fold 2 of 2, epoch"):
            self.request_stop(StopReason.DRAIN)
        real(self, fraction, message, step=step)

    with monkeypatch.context() as stopping:
        stopping.setattr(RunningAttempt, "progress", progress)
        assert run_training(run).status == JobStatus.QUEUED
    assert run.checkpoints.filter(fold=2).exists()
    monkeypatch.setattr(learned, "select_features", None)  # a second choice would end the run
    assert run_training(run).status == JobStatus.SUCCEEDED
    run.refresh_from_db()
    assert run.weights_sha256 == whole.weights_sha256
    assert run.predictions_sha256 == whole.predictions_sha256
    states = [[fold.state["selection"] for fold in each.folds.all()] for each in (run, whole)]
    assert states[0] == states[1]
    scores = [
        list(each.baselines.values_list("rung", "metrics", "reason")) for each in (run, whole)
    ]
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_fold_that_was_proved_and_not_stored_is_proved_again_and_no_other(monkeypatch):
    user, workspace = make_people()
    experiment = create_experiment(
        workspace=workspace,
        user=user,
        name="Stopped",
        versions=[demo_version(workspace, user)],
        spec=quick_spec(),
    )
    run = launch_experiment(experiment, user=user)[0]
    real, proved = certifying.certify_predictions, []

    def certify(block, spec, *, seed):
        proved.append(seed - run.seed)  # the number of the fold
        return real(block, spec, seed=seed)

    def store(run, attempt, fold, *rest):
        if fold.fold.number == 2:
            raise StopRequested("stopped before the fold was stored")
        store_fold(run, attempt, fold, *rest)

    monkeypatch.setattr(certifying, "certify_predictions", certify)
    with monkeypatch.context() as stopping:
        stopping.setattr(pipeline, "store_fold", store)
        assert run_training(run).status == JobStatus.QUEUED
    assert run_training(run).status == JobStatus.SUCCEEDED
    assert proved == [1, 2, 2]
    run.refresh_from_db()
    assert state_of(run.causality) == "passed"
    assert [entry["fold"] for entry in run.causality["folds"]] == [1, 2]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_other_code_that_selects_otherwise_goes_on_with_what_the_fold_began_with(monkeypatch):
    user, workspace = make_people()
    experiment = create_experiment(
        workspace=workspace,
        user=user,
        name="Stopped",
        versions=[demo_version(workspace, user)],
        spec=quick_spec(features={"select_top": 8}),
    )
    run = launch_experiment(experiment, user=user)[0]
    real, select = RunningAttempt.progress, learned.select_features

    def progress(self, fraction, message="", *, step=None):
        if message.startswith("Fold 2 of 2, epoch"):
            self.request_stop(StopReason.DRAIN)
        real(self, fraction, message, step=step)

    def otherwise(*given, **options):
        found = select(*given, **options)
        return dataclasses.replace(found, names=found.names[::-1])

    with monkeypatch.context() as before:
        before.setattr(RunningAttempt, "progress", progress)
        before.setattr(provenance, "code_version", lambda: "0.0.9")
        assert run_training(run).status == JobStatus.QUEUED
    began = newest_selection(run)
    monkeypatch.setattr(learned, "select_features", otherwise)
    job = run_training(run)
    assert job.status == JobStatus.SUCCEEDED, job.message
    run.refresh_from_db()
    assert state_of(run.causality) == "passed"
    by = [entry["certified_by"] for entry in run.causality["folds"]]
    assert by == ["0.0.9", run.code_version]
    assert tuple(run.folds.get(number=2).state["selection"]["names"]) == began


def newest_selection(run):
    """The names that the newest checkpoint of fold 2 was trained on."""
    stored = run.checkpoints.filter(fold=2).latest("step")
    state = read_state(run.checkpoint_folder / stored.name)
    return tuple(state["state"]["notes"]["selection"]["names"])
