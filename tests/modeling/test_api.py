from __future__ import annotations

import json

import pytest

from jobs.models import Job
from modeling.models import MetricPoint, PredictionSet, TrainingRun
from modeling.services import NOT_CAUSAL
from tests.api import bearer, refusal
from tests.factories import make_backtest, make_checkpoint, make_experiment, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(alice):
    return bearer(alice)


@pytest.fixture
def experiment(alice):
    return make_experiment(alice.first_workspace())


def test_finished_run_shows_everything_of_the_contract(client, experiment):
    run = make_run(experiment, seed=3)
    backtest = make_backtest(run)
    body = client.get(f"/api/runs/{run.pk}/").json()
    assert (body["status"], body["seed"], body["job"]) == ("succeeded", 3, str(run.job_id))
    assert [fold["number"] for fold in body["folds"]] == [1, 2]
    assert [rung["rung"] for rung in body["baselines"]] == ["logistic", "prior"]
    assert body["metrics"]["action"]["auc"]["value"] == 0.51
    assert body["causality"] == run.causality
    assert [fold["predictions"] for fold in body["causality"]["folds"]] == ["passed", "passed"]
    assert body["weights_sha256"] == run.weights_sha256 != ""
    assert body["predictions_sha256"] == run.predictions_sha256 != ""
    assert body["predictions"] == run.prediction_sets.get().pk
    assert body["backtest"] == backtest.pk
    assert body["verdict"] == run.verdict != {}


def test_leak_alarm_withholds_the_verdicts_of_the_heads(client, experiment):
    run = make_run(experiment)
    run.leak_alarm = {"raised": True, "reasons": ["Accuracy 0.71 over all folds."]}
    run.save()
    body = client.get(f"/api/runs/{run.pk}/").json()
    assert (body["verdict"], body["leak_alarm"]) == (None, run.leak_alarm)
    assert client.get("/api/runs/").json()["results"][0]["verdict"] is None


def test_queued_run_has_no_results_yet(client, experiment):
    run = make_run(experiment, status="queued")
    body = client.get(f"/api/runs/{run.pk}/").json()
    assert (body["status"], body["predictions"], body["backtest"]) == ("queued", None, None)
    assert body["folds"] == body["baselines"] == []


def test_points_go_on_after_the_last_one_seen(client, experiment):
    run = make_run(experiment)
    path = f"/api/runs/{run.pk}/metrics/"
    points = client.get(path).json()
    assert len(points) == run.points.count()
    assert [point["id"] for point in points] == sorted(point["id"] for point in points)
    assert client.get(f"{path}?after={points[-3]['id']}").json() == points[-2:]
    assert client.get(f"{path}?after={points[-1]['id']}").json() == []


@pytest.mark.parametrize("value", ["-1", "x", "%00", "1.5", "", "9" * 5000])
def test_wrong_after_is_named(client, experiment, value):
    run = make_run(experiment, status="queued")
    body = refusal(client.get(f"/api/runs/{run.pk}/metrics/?after={value}"), 400)
    assert list(body["fields"]) == ["after"]


def test_point_that_is_not_finite_is_null(client, experiment):
    run = make_run(experiment, status="queued")
    MetricPoint.objects.filter(run=run).delete()
    MetricPoint.objects.create(run=run, fold=1, name="loss", step=1, value=float("nan"))
    answer = client.get(f"/api/runs/{run.pk}/metrics/")
    assert json.loads(answer.content, parse_constant=pytest.fail)[0]["value"] is None


def test_cancel_of_a_run_repeats_and_then_conflicts(client, experiment):
    run = make_run(experiment, status="running")
    path = f"/api/runs/{run.pk}/cancel/"
    assert [client.post(path).status_code for _ in range(2)] == [202, 202]
    Job.objects.filter(pk=run.job_id).update(status="cancelled", ended_at="2024-01-01T00:00Z")
    assert refusal(client.post(path), 409)["code"] == "job_finished"


def test_resume_goes_on_from_a_checkpoint(client, experiment):
    run = make_run(experiment, status="cancelled")
    answer = client.post(f"/api/runs/{run.pk}/resume/")
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    assert Job.objects.get(pk=answer.json()["id"]).resumed_from_id == run.job_id


@pytest.mark.parametrize(
    ("status", "code"),
    [("succeeded", "job_finished"), ("running", "job_active"), ("queued", "job_active")],
)
def test_resume_is_refused_with_the_reason(client, experiment, status, code):
    run = make_run(experiment, status=status)
    assert refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)["code"] == code


def test_resume_without_a_checkpoint_is_a_conflict(client, experiment):
    run = make_run(experiment, status="failed")
    run.checkpoints.all().delete()
    assert refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)["code"] == "no_checkpoint"


def test_resume_without_the_files_of_a_checkpoint_is_a_conflict(client, experiment):
    run = make_run(experiment, status="failed")
    next(run.checkpoint_folder.glob("*.safetensors")).unlink()
    assert refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)["code"] == "no_checkpoint"


def test_resume_from_a_damaged_state_file_is_a_conflict(client, experiment):
    run = make_run(experiment, status="errored")
    checkpoint = make_checkpoint(run)
    (run.checkpoint_folder / checkpoint.name).write_bytes(b"{}")
    assert refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)["code"] == "no_checkpoint"


def test_resume_from_a_checkpoint_of_another_spec_is_a_conflict(client, experiment):
    run = make_run(experiment, status="errored")
    make_checkpoint(run, spec_sha256="0" * 64)
    body = refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)
    assert body["code"] == "checkpoint_incompatible"


def test_resume_after_a_failed_certificate_is_a_conflict(client, experiment):
    run = make_run(experiment, status="failed", code="causality")
    run.causality["passed"] = False
    run.save()
    body = refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)
    assert (body["code"], body["detail"]) == ("causality", NOT_CAUSAL)
    assert not Job.objects.filter(resumed_from=run.job_id).exists()


def test_resume_from_a_checkpoint_of_another_format_is_a_conflict(client, experiment, monkeypatch):
    run = make_run(experiment, status="errored")
    with monkeypatch.context() as later:
        later.setattr("modeling.training.checkpoint.FORMAT_VERSION", 99)
        make_checkpoint(run)
    body = refusal(client.post(f"/api/runs/{run.pk}/resume/"), 409)
    assert body["code"] == "checkpoint_incompatible"


def test_an_older_checkpoint_that_fits_is_enough_to_resume(client, experiment):
    run = make_run(experiment, status="cancelled")
    make_checkpoint(run, step=80, spec_sha256="0" * 64)
    assert client.post(f"/api/runs/{run.pk}/resume/").status_code == 202


def test_predictions_per_bar(client, experiment):
    run = make_run(experiment)
    stored = run.prediction_sets.get()
    path = f"/api/predictions/{stored.pk}/"
    rows = client.get(path).json()
    assert len(rows) == stored.rows
    first = rows[0]
    assert first["open_at"] == f"{stored.first_at:%Y-%m-%dT%H:%M:%SZ}"
    assert first["known_at"] > first["open_at"]
    assert (len(first["market_regime"]), len(first["risk"])) == (4, 3)
    assert -1 <= first["action"] <= 1
    few = client.get(f"{path}?from={rows[5]['open_at']}&to={rows[9]['open_at']}&max=3").json()
    assert few == rows[5:8]


def test_lost_prediction_file_is_no_traceback(client, experiment):
    stored = make_run(experiment).prediction_sets.get()
    PredictionSet.objects.filter(pk=stored.pk).update(rows=1)
    stored.file.key = "nowhere"
    stored.file.save()
    body = refusal(client.get(f"/api/predictions/{stored.pk}/"), 409)
    assert body["code"] == "data_changed"


def test_lists_and_details_need_few_queries(client, experiment, django_assert_max_num_queries):
    runs = [make_run(experiment, seed=seed) for seed in range(3)]
    with django_assert_max_num_queries(8):
        assert client.get("/api/runs/").json()["count"] == 3
    with django_assert_max_num_queries(15):
        client.get(f"/api/runs/{runs[0].pk}/")


def test_newest_run_comes_first(client, experiment):
    first, second = (
        make_run(experiment, status="queued"),
        make_run(experiment, seed=1, status="queued"),
    )
    shown = [row["id"] for row in client.get("/api/runs/").json()["results"]]
    assert shown == [second.pk, first.pk] == list(TrainingRun.objects.values_list("pk", flat=True))
