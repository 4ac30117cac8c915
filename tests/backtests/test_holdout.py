"""The sealed hold-out: nothing is known of it before it is opened, and every opening counts."""

import json
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

import modeling.tasks  # noqa: F401 — registers the bodies of jobs
from accounts.models import AuditEvent, Role
from backtests.models import Backtest
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.execution import run_body
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus, Queue
from jobs.workers import claimant
from modeling.models import Experiment, HoldoutOpening, PredictionSet, Trial
from tests import factories, path
from tests.api import bearer, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def experiment(alice):
    return factories.make_experiment(alice.first_workspace())


@pytest.fixture
def run(experiment):
    return factories.make_run(experiment)


def ask(client, run, *, follow=False, **over):
    data = {"run": run.pk, "name": run.experiment.name} | over
    return client.post(f"/experiments/{run.experiment_id}/holdout/", data, follow=follow)


def ask_api(user, run, headers=None, **over):
    data = {"run": run.pk, "name": run.experiment.name} | over
    path = f"/api/experiments/{run.experiment_id}/holdout/"
    return bearer(user).post(path, data, format="json", headers=headers)


def test_opening_queues_the_scoring_and_its_backtest_and_is_counted(client, alice, run):
    assert ask(client, run).status_code == 302
    opening = HoldoutOpening.objects.get()
    experiment = Experiment.objects.get()
    assert (opening.from_at, opening.until_at) == (experiment.holdout_at, experiment.holdout_until)
    assert (opening.job.kind, opening.job.queue) == (JobKind.PREDICT, Queue.TRAINING)
    assert experiment.holdout_openings == 1
    backtest = Backtest.objects.get()
    assert (backtest.is_holdout, backtest.is_own, backtest.job.after) == (True, False, opening.job)
    event = AuditEvent.objects.get(action="open_holdout")
    assert (event.user, event.subject) == (alice, experiment.name)
    assert event.data == {"experiment": experiment.pk, "run": run.pk, "openings_before": 0}
    assert "opened <strong>1 time</strong>" in page_of(client, experiment)


def page_of(client, experiment):
    return client.get(f"/experiments/{experiment.pk}/").content.decode()


@pytest.mark.parametrize("name", ["", "tiny transformer", "Tiny"])
def test_the_name_must_be_typed_in_full(client, alice, run, name):
    answer = ask(client, run, name=name)
    assert answer.status_code == 400
    assert "Expected the name of the experiment" in answer.content.decode()
    assert "name" in refusal(ask_api(alice, run, name=name), 400)["fields"]
    assert not HoldoutOpening.objects.exists()


def test_a_run_is_scored_once_and_another_run_counts_again(client, alice, experiment, run):
    assert ask_api(alice, run).status_code == 202
    refused = refusal(ask_api(alice, run), 409)
    assert refused["code"] == "already_opened"
    assert "is being scored on the hold-out" in refused["detail"]
    Job.objects.filter(kind=JobKind.PREDICT).update(
        status=JobStatus.SUCCEEDED, ended_at=timezone.now()
    )
    assert "was scored on the hold-out already" in refusal(ask_api(alice, run), 409)["detail"]
    assert ask(client, run).status_code == 409
    second = ask_api(alice, factories.make_run(experiment, seed=1))
    assert second.json()["openings_before"] == 1
    body = bearer(alice).get(f"/api/experiments/{experiment.pk}/holdout/").json()
    assert (body["openings_seen"], len(body["openings"])) == (2, 2)


def test_the_same_key_opens_once(alice, run):
    headers = {"Idempotency-Key": "one"}
    first, again = (ask_api(alice, run, headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert again["Idempotency-Replayed"] == "true"
    assert AuditEvent.objects.filter(action="open_holdout").count() == 1


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED])
def test_only_a_run_that_has_succeeded_may_open_it(client, alice, experiment, status):
    run = factories.make_run(experiment, status=status)
    assert refusal(ask_api(alice, run), 409)["code"] == "run_not_finished"
    assert ask(client, run).status_code == 409
    assert "can be opened once a run has succeeded" in page_of(client, experiment)


def test_a_run_of_another_experiment_cannot_open_it(client, alice, experiment, run):
    other = factories.make_run(
        factories.make_experiment(run.workspace, experiment.version, "Other")
    )
    data = {"run": other.pk, "name": experiment.name}
    assert client.post(f"/experiments/{experiment.pk}/holdout/", data).status_code == 404
    answer = bearer(alice).post(f"/api/experiments/{experiment.pk}/holdout/", data, format="json")
    assert "run" in refusal(answer, 400)["fields"]


def test_an_experiment_without_a_hold_out_has_none_to_open(alice, experiment, run):
    Experiment.objects.update(holdout_at=experiment.holdout_until)
    assert refusal(ask_api(alice, run), 409)["code"] == "no_holdout"


def test_a_viewer_may_not_open_and_a_stranger_finds_nothing(run):
    viewer = factories.make_user("victor", run.workspace, Role.VIEWER)
    charlie = factories.make_user("charlie")
    assert refusal(ask_api(viewer, run), 403)["code"] == "needs_editor"
    refusal(ask_api(charlie, run), 404)
    for user, status in ((viewer, 403), (charlie, 404)):
        client = Client()
        client.force_login(user)
        assert ask(client, run).status_code == status
    assert not HoldoutOpening.objects.exists()


def test_a_scoring_that_failed_is_tried_again_without_another_count(alice, run):
    first = ask_api(alice, run).json()
    Job.objects.filter(pk=first["job"]).update(status=JobStatus.FAILED, ended_at=timezone.now())
    again = ask_api(alice, run)
    assert again.status_code == 202
    assert again.json()["id"] == first["id"]
    assert again.json()["job"] != first["job"]
    assert Experiment.objects.get().holdout_openings == 1
    assert "Idempotency-Replayed" not in again


def test_trying_a_scoring_again_is_audited_by_page_and_api(client, alice, experiment, run):
    ask(client, run)
    for tried in (1, 2):
        Job.objects.filter(kind=JobKind.PREDICT).update(
            status=JobStatus.FAILED, ended_at=timezone.now()
        )
        assert f'<option value="{run.pk}">' in page_of(client, experiment)
        if tried == 1:
            answer = ask(client, run, follow=True)
            assert "its opening was counted before" in answer.content.decode()
        else:
            assert ask_api(alice, run).status_code == 202
        assert AuditEvent.objects.filter(action="score_holdout_again").count() == tried
    event = AuditEvent.objects.filter(action="score_holdout_again").latest("pk")
    assert (event.user, event.subject) == (alice, experiment.name)
    assert event.data == {"experiment": experiment.pk, "run": run.pk, "openings_before": 0}
    assert AuditEvent.objects.filter(action="open_holdout").count() == 1


def test_the_form_says_which_runs_try_again_and_that_this_is_not_counted(client, experiment, run):
    fresh = factories.make_run(experiment, seed=1)
    ask(client, run)
    Job.objects.filter(kind=JobKind.PREDICT).update(
        status=JobStatus.FAILED, ended_at=timezone.now()
    )
    page = page_of(client, experiment)
    again = f"Seed 0, run {run.pk} (scoring failed; tries again, not counted)</option>"
    assert again in page
    assert f"Seed 1, run {fresh.pk}</option>" in page
    assert "audited, but not counted again" in page


def test_a_scoring_that_somebody_else_resumes_is_answered_409_with_the_page(client, run):
    ask(client, run)
    job = HoldoutOpening.objects.get().job
    Job.objects.filter(pk=job.pk).update(status=JobStatus.FAILED, ended_at=timezone.now())
    factories.make_job(run.workspace, kind=JobKind.PREDICT, status="queued", resumed_from=job)
    answer = ask(client, run)
    assert answer.status_code == 409
    assert "This job has not ended yet" in answer.content.decode()


def test_an_opening_over_a_quota_is_429_and_not_counted(client, alice, run, settings):
    settings.JOBS_QUEUED_TRAININGS = 0
    assert refusal(ask_api(alice, run), 429)["code"] == "quota_queued"
    answer = ask(client, run)
    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    assert "the limit is 0" in answer.content.decode()
    assert Experiment.objects.get().holdout_openings == 0


def test_an_experiment_on_the_same_sealed_bars_inherits_the_count(client, alice, run):
    twin = factories.make_experiment(run.workspace, run.experiment.version, "Later")
    report = factories.make_backtest(factories.make_run(twin))
    elsewhere = factories.make_experiment(
        run.workspace, factories.make_version(run.workspace, symbol="ETH/USDT"), "Other"
    )
    earlier = factories.make_experiment(run.workspace, run.experiment.version, "Shorter")
    Experiment.objects.filter(pk=earlier.pk).update(
        holdout_at=run.experiment.holdout_at - timedelta(days=9),
        holdout_until=run.experiment.holdout_at,
    )
    ask_api(alice, run)
    seen = {
        row.name: bearer(alice).get(f"/api/experiments/{row.pk}/holdout/").json()["openings_seen"]
        for row in (run.experiment, twin, elsewhere, earlier)
    }
    assert seen == {"Tiny transformer": 1, "Later": 1, "Other": 0, "Shorter": 0}
    assert "1 of them by another experiment" in page_of(client, twin)
    page = client.get(f"/backtests/{report.pk}/").content.decode()
    assert "Hold-out opened once, 1 of them by another experiment" in page
    document = json.loads(client.get(f"/backtests/{report.pk}/report.json").content)
    assert "holdout_opened" in [badge["code"] for badge in document["badges"]]


def test_before_the_opening_no_path_answers_anything_about_sealed_bars(client, alice, run):
    sealed = run.experiment.holdout_at
    span = {"from": f"{sealed:%Y-%m-%dT%H:%M:%SZ}"}
    stored = PredictionSet.objects.get()
    api = bearer(alice)
    assert api.get(f"/api/predictions/{stored.pk}/", span).json() == []
    holdout = api.get(f"/api/experiments/{run.experiment_id}/holdout/").json()
    assert (holdout["openings"], holdout["openings_seen"]) == ([], 0)
    assert "Nobody has looked" in page_of(client, run.experiment)
    body = {
        "name": "Peek",
        "source": {"predictions": stored.pk},
        "spec": {"span": {"to_at": f"{sealed + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"}},
    }
    asked = api.post("/api/backtests/", body, format="json")
    assert asked.status_code in (202, 400)
    if asked.status_code == 202:
        from backtests.pipeline import run_backtest
        from jobs.errors import JobFailed

        row = Backtest.objects.get()
        with pytest.raises(JobFailed, match=r"span\.to_at"):
            run_backtest(row, RunningAttempt(claim(row.job_id, claimant())))
    assert stored.last_at + run.experiment.version.bar <= sealed


def test_the_sealed_span_of_older_experiments_is_filled_in(experiment):
    until = experiment.holdout_until
    Experiment.objects.update(holdout_until=until - timedelta(days=400))
    module = import_module("modeling.migrations.0003_holdout_openings_and_the_trial_ledger")
    with connection.cursor() as cursor:
        cursor.execute(module.SEALED_UNTIL)
    assert Experiment.objects.get().holdout_until == until


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_opened_hold_out_is_predicted_scored_and_backtested_behind_the_seal(client):
    from modeling.holdout import score_holdout

    user, workspace = path.make_people()
    run = path.finished_run(user, path.demo_version(workspace, user), path.quick_spec())
    own = path.finished_backtest(run)
    walked = run.prediction_sets.get(rung="model", is_holdout=False)
    weights = run.weights_sha256
    client.force_login(user)
    assert ask(client, run).status_code == 302
    opening = HoldoutOpening.objects.get()
    lease = claim(opening.job_id, claimant())
    run_body(
        opening.job, RunningAttempt(lease), lambda job, attempt: score_holdout(opening, attempt)
    )
    opening.refresh_from_db()
    assert Job.objects.get(pk=opening.job_id).status == JobStatus.SUCCEEDED, opening.job.message
    found = opening.predictions
    bar = run.experiment.version.bar
    assert found.is_holdout
    assert walked.last_at + bar <= opening.from_at < found.first_at + bar
    assert found.last_at + bar <= opening.until_at
    assert len(opening.metrics["action"]["auc"]["interval"]) == 2
    run.refresh_from_db()
    assert run.weights_sha256 == weights
    backtest = Backtest.objects.get(is_holdout=True)
    assert path.run_job(backtest.job).status == "succeeded"
    backtest = Backtest.objects.get(is_holdout=True)
    assert backtest.first_at == found.first_at
    labels = [badge["label"] for badge in backtest.report["badges"]]
    assert "Scored on the hold-out" in labels
    assert "Hold-out opened once" in labels
    origins = sorted(Trial.objects.values_list("origin", flat=True))
    assert origins == ["holdout", "run"]
    assert backtest.trial.origin == "holdout"
    assert "holdout_opened" in [badge["code"] for badge in Backtest.objects.get(pk=own.pk).badges]
    api = bearer(user)
    assert api.get(f"/api/runs/{run.pk}/").json()["predictions"] == walked.pk
    assert api.get(f"/api/predictions/{found.pk}/").status_code == 200
    body = {"name": "Again", "source": {"predictions": found.pk}}
    assert refusal(api.post("/api/backtests/", body, format="json"), 409)["code"] == "holdout_set"
    for address in (f"/experiments/{run.experiment_id}/", f"/runs/{run.pk}/", "/trials/"):
        assert client.get(address).status_code == 200


def test_the_pages_need_few_queries_however_often_it_was_opened(
    client, alice, experiment, django_assert_max_num_queries
):
    runs = [factories.make_run(experiment, seed=seed) for seed in range(4)]
    report = factories.make_backtest(runs[0])
    for run in runs[:3]:
        ask_api(alice, run)
    with django_assert_max_num_queries(16):
        client.get(f"/experiments/{experiment.pk}/")
    with django_assert_max_num_queries(15):
        client.get(f"/backtests/{report.pk}/")
