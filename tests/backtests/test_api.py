from __future__ import annotations

import csv
import functools
import io
import json
import time
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings as project

from accounts.models import AuditEvent
from backtests.models import Backtest
from jobs.models import Job
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment, TrainingRun
from tests.api import bearer, refusal
from tests.factories import (
    make_backtest,
    make_experiment,
    make_job,
    make_run,
    make_stored,
    make_user,
    make_version,
)

pytestmark = pytest.mark.django_db
PATH = "/api/experiments/"


@pytest.fixture
def client(alice):
    return bearer(alice)


@functools.cache
def long_candles():
    return synthetic_candles(days=90, timeframe_minutes=5, end_at=datetime(2024, 3, 1, tzinfo=UTC))


@pytest.fixture
def version(alice):
    return make_version(alice.first_workspace(), candles=long_candles())


@pytest.fixture
def body(version):
    chosen = [{"dataset": version.dataset_id, "version": version.number}]
    return {"name": "Mine", "datasets": chosen, "preset": "tiny"}


def post(client, path, data, **headers):
    return client.post(path, data, format="json", **headers)


def test_experiment_of_a_preset_with_parts_over_it(client, body, version):
    answer = post(client, PATH, body | {"spec": {"training": {"epochs": 3}}, "notes": "why"})
    assert answer.status_code == 201
    made = answer.json()
    assert made["spec"]["training"]["epochs"] == 3
    assert made["spec"]["training"]["batch"] == 256
    assert made["spec"]["network"]["d_model"] == 32
    assert set(made["spec"]) == {
        "data",
        "features",
        "windows",
        "target",
        "network",
        "training",
        "evaluation",
        "backtest",
    }
    assert made["datasets"] == body["datasets"]
    assert made["runs"] == []
    assert version.first_at < Experiment.objects.get().holdout_at < version.last_at
    assert client.get(f"{PATH}{made['id']}/").json() == made | {
        "verdict": None,
        "verdict_alarm": None,
    }
    assert client.get(PATH).json()["results"] == [made]
    assert not Job.objects.exists()


def test_stored_spec_makes_an_equal_experiment(client, body):
    first = post(client, PATH, body).json()
    again = post(client, PATH, {**body, "preset": "tiny", "spec": first["spec"]}).json()
    assert again["spec"] == first["spec"]
    assert again["spec_sha256"] == first["spec_sha256"]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "{{7*7}}", '"><img onerror=x>', "名前", "x" * 200]
)
def test_any_printable_name_is_kept_as_it_is(client, body, name):
    assert post(client, PATH, body | {"name": name}).json()["name"] == name


@pytest.mark.parametrize(
    ("spec", "field", "text"),
    [
        ({"training": {"learning_rate": 0}}, "training.learning_rate", "at least 1e-07"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate", "at least 1e-07"),
        ({"training": {"learning_rate": "abc"}}, "training.learning_rate", "number"),
        ({"training": {"learning_rate": 1e9}}, "training.learning_rate", "at most 1.0"),
        ({"training": {"learning_rate": None}}, "training.learning_rate", "number"),
        ({"training": {"learnig_rate": 1}}, "training.learnig_rate", 'mean "learning_rate"'),
        ({"trainig": {}}, "trainig", 'mean "training"'),
        ({"training": []}, "training", "expected"),
        ({"training": {"epochs": 10**400}}, "training.epochs", "at most"),
        ({"training": {"epochs": "9" * 5000}}, "training.epochs", "expected"),
        ({"training": {"seeds": []}}, "training.seeds", "at least 1"),
        ({"training": {"seeds": [1, 1]}}, "training.seeds", "different"),
        ({"training": {"seeds": [-1]}}, "training.seeds", "0 to 2147483647"),
        ({"training": {"devices": 2}}, "training.devices", "found 2; expected at most 1"),
        ({"training": {"devices": 9}}, "training.devices", "at most 8"),
        ({"network": {"heads": 7, "d_model": 512}}, "network.heads", "heads must divide 512"),
        ({"network": {"layers": 1_000_000}}, "network.layers", "at most 24"),
        (
            {"network": {"patch_bars": 64}, "windows": {"context_bars": 32}},
            "network.patch_bars",
            "context of 32",
        ),
        ({"windows": {"context_bars": 0}}, "windows.context_bars", "at least"),
        ({"windows": {"context_bars": 5000}}, "windows.context_bars", "at most 4096"),
        ({"evaluation": {"holdout_fraction": 0.95}}, "evaluation.holdout_fraction", "at most 0.5"),
        ({"evaluation": {"folds": 500}}, "evaluation.folds", "at most 20"),
        ({"evaluation": {"scheme": "kfold"}}, "evaluation.scheme", "anchored"),
        ({"evaluation": {"embargo_bars": 10_000}}, "datasets", ""),
        ({"features": {"feature_set": "basic-16"}}, "features.feature_set", 'mean "basic-15"'),
        ({"features": {"feature_set": ["no_such"]}}, "features.feature_set", "unknown name"),
        ({"features": {"scales": [1, 7]}}, "features.scales", "divide a UTC day"),
        ({"features": {"scales": [0]}}, "features.scales", "beginning with 1"),
        ({"data": {"from_at": "2030-01-01T00:00:00Z"}}, "data.from_at", "no bar"),
        ({"data": {"from_at": "2024-02-28T00:00:00Z"}}, "datasets", "needs"),
        ({"data": {"from_at": "2024-01-01T00:00:00"}}, "data.from_at", "timezone"),
        ({"backtest": {"costs": {"taker_bps": -1}}}, "backtest.costs.taker_bps", "at least"),
        ({"backtest": {"policy": {"threshold": 2}}}, "backtest.policy.threshold", "below 1"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
def test_wrong_spec_is_named_with_what_is_allowed(client, body, spec, field, text):
    found = refusal(post(client, PATH, body | {"spec": spec}), 400)
    assert field in found["fields"], found
    assert text in found["fields"][field]
    assert len(found["detail"]) < 1000
    assert not Experiment.objects.exists()


def test_several_unknown_keys_are_all_named(client, body):
    found = refusal(post(client, PATH, body | {"spec": {"trainig": {}, "netwrok": {}}}), 400)
    assert set(found["fields"]) == {"trainig", "netwrok"}
    found = refusal(post(client, PATH, body | {"nmae": "a", "id": 3, "x" * 500: 1}), 400)
    assert {"nmae", "id"} <= set(found["fields"])
    assert 'did you mean "name"?' in found["fields"]["nmae"]


def test_network_over_the_quota_is_counted_and_refused_at_once(client, body):
    spec = {"network": {"d_model": 1024, "heads": 16, "layers": 24, "d_ff": 8192}}
    began = time.perf_counter()
    found = refusal(post(client, PATH, body | {"spec": spec}), 400)
    assert time.perf_counter() - began < 2
    assert "200\u2009000\u2009000" in found["fields"]["network.d_model"]


@pytest.mark.parametrize("over", [{"spec": []}, {"spec": None}, {"spec": "tiny"}, {"spec": 3}])
def test_spec_must_be_an_object(client, body, over):
    assert list(refusal(post(client, PATH, body | over), 400)["fields"]) == ["spec"]


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": None}, "name"),
        ({"name": ["a"]}, "name"),
        ({"preset": "huge"}, "preset"),
        ({"preset": ["tiny"]}, "preset"),
        ({"notes": "x" * 10_001}, "notes"),
        ({"datasets": []}, "datasets"),
        ({"datasets": {}}, "datasets"),
        ({"datasets": [3]}, "datasets.0"),
        ({"datasets": [{"dataset": 1}]}, "datasets.0.version"),
        ({"datasets": [{"dataset": 1, "version": 1, "weight": 2}]}, "datasets.0.weight"),
        ({"datasets": [{"dataset": 0, "version": 1}]}, "datasets.0.dataset"),
        ({"datasets": [{"dataset": 10**40, "version": 1}]}, "datasets"),
        ({"datasets": [{"dataset": True, "version": "x"}]}, "datasets.0.version"),
    ],
)
def test_wrong_field_of_an_experiment_is_named(client, body, over, field):
    assert field in refusal(post(client, PATH, body | over), 400)["fields"]
    assert not Experiment.objects.exists()


def test_dataset_of_a_stranger_is_not_found(client, body):
    foreign = make_version(make_user("charlie").first_workspace())
    chosen = [{"dataset": foreign.dataset_id, "version": 1}]
    for path in (PATH, f"{PATH}estimate/"):
        found = refusal(post(client, path, body | {"datasets": chosen}), 400)
        assert found["fields"]["datasets"] == "not found"


def test_estimate_stores_nothing(client, body):
    shown = post(client, f"{PATH}estimate/", body).json()
    assert shown["parameters"] == 50_662
    assert shown["weight_mib"] == pytest.approx(50_662 * 4 / 2**20)
    assert 0 < shown["seconds_low"] <= shown["seconds_high"]
    assert shown["windows"] > 0
    assert shown["storage_mib"] > shown["weight_mib"]
    assert not Experiment.objects.exists()


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_experiment_does_not_change(client, alice, method):
    experiment = make_experiment(alice.first_workspace())
    answer = getattr(client, method)(f"{PATH}{experiment.pk}/", {}, format="json")
    assert "do not change; clone it" in refusal(answer, 405)["detail"]
    assert Experiment.objects.filter(pk=experiment.pk).exists()


def launch(client, experiment, data=None, key=""):
    headers = {"HTTP_IDEMPOTENCY_KEY": key} if key else {}
    return post(client, f"{PATH}{experiment.pk}/runs/", data or {}, **headers)


def test_launch_queues_a_run_and_its_backtest(client, alice):
    experiment = make_experiment(alice.first_workspace())
    answer = launch(client, experiment, {"seed": 7})
    assert answer.status_code == 202
    run = TrainingRun.objects.get()
    assert answer.json()["id"] == run.pk
    assert (answer.json()["seed"], answer.json()["status"]) == (7, "queued")
    assert answer.json()["runs"] == [run.pk]
    assert Backtest.objects.get().job.after_id == run.job_id
    assert AuditEvent.objects.filter(action="launch").count() == 1


def test_same_key_starts_one_run(client, alice):
    experiment = make_experiment(alice.first_workspace())
    first, second = launch(client, experiment, key="k"), launch(client, experiment, key="k")
    assert first.json()["id"] == second.json()["id"]
    assert second["Idempotency-Replayed"] == "true"
    assert TrainingRun.objects.count() == Backtest.objects.count() == 1
    answer = launch(client, experiment, {"seed": 5}, key="k")
    assert refusal(answer, 409)["code"] == "idempotency_conflict"


@pytest.mark.parametrize("seed", [-1, 2**31, "x", 1.5, None, [1]])
def test_wrong_seed_is_named(client, alice, seed):
    experiment = make_experiment(alice.first_workspace())
    assert list(refusal(launch(client, experiment, {"seed": seed}), 400)["fields"]) == ["seed"]
    assert not Job.objects.exists()


def test_full_queue_is_429_with_retry_after(client, alice, settings):
    settings.JOBS_QUEUED_TRAININGS = 2
    for _ in range(2):
        make_job(alice.first_workspace(), kind="training", status="queued")
    answer = launch(client, make_experiment(alice.first_workspace()))
    assert refusal(answer, 429)["code"] == "quota_queued"
    assert int(answer["Retry-After"]) > 0
    assert not TrainingRun.objects.exists()


def test_too_many_launches_are_429_with_retry_after(client, alice, settings):
    settings.JOBS_LAUNCHES_PER_HOUR = 1
    experiment = make_experiment(alice.first_workspace())
    assert launch(client, experiment).status_code == 202
    answer = launch(client, experiment, {"seed": 1})
    assert refusal(answer, 429)["code"] == "quota_launches"
    assert 0 < int(answer["Retry-After"]) <= 3600


@pytest.fixture
def run(alice):
    return make_run(make_experiment(alice.first_workspace()))


def test_further_backtest_of_a_finished_run(client, run):
    source = {"predictions": run.prediction_sets.get().pk}
    data = {"name": "Dear", "source": source, "spec": {"costs": {"taker_bps": 20}}}
    answer = post(client, "/api/backtests/", data, HTTP_IDEMPOTENCY_KEY="k")
    assert answer.status_code == 202
    row = Backtest.objects.get()
    assert (row.spec.costs.taker_bps, row.is_own, row.name) == (20, False, "Dear")
    again = post(client, "/api/backtests/", data, HTTP_IDEMPOTENCY_KEY="k")
    assert again.json()["id"] == row.pk == answer.json()["id"]
    assert again["Idempotency-Replayed"] == "true"
    data["name"] = "Other"
    refusal(post(client, "/api/backtests/", data, HTTP_IDEMPOTENCY_KEY="k"), 409)


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"source": {}}, "source.predictions"),
        ({"source": {"predictions": 10**40}}, "source.predictions"),
        ({"source": {"predictions": "x"}}, "source.predictions"),
        ({"source": {"prediction": 1}}, "source.prediction"),
        ({"source": 3}, "source"),
        ({"name": ""}, "name"),
        ({"spec": []}, "spec"),
        ({"spec": {"cost": {}}}, "cost"),
        ({"spec": {"sizing": {"x": 1}}}, "sizing.x"),
    ],
)
def test_wrong_field_of_a_backtest_is_named(client, run, over, field):
    data = {"name": "B", "source": {"predictions": run.prediction_sets.get().pk}} | over
    assert field in refusal(post(client, "/api/backtests/", data), 400)["fields"]
    assert not Backtest.objects.exists()


def test_predictions_of_a_stranger_are_not_found(run):
    source = {"predictions": run.prediction_sets.get().pk}
    client = bearer(make_user("charlie"))
    found = refusal(post(client, "/api/backtests/", {"name": "B", "source": source}), 400)
    assert found["fields"] == {"source.predictions": "not found"}


@pytest.mark.parametrize("status", ["running", "failed"])
def test_backtest_of_an_unfinished_run_is_a_conflict(client, run, status):
    ended = None if status == "running" else "2024-01-01T00:00Z"
    Job.objects.filter(pk=run.job_id).update(status=status, ended_at=ended)
    source = {"predictions": run.prediction_sets.get().pk}
    answer = post(client, "/api/backtests/", {"name": "B", "source": source})
    assert refusal(answer, 409)["code"] == "run_not_finished"


def test_finished_backtest_shows_its_measures(client, run):
    row = make_backtest(run)
    shown = client.get(f"/api/backtests/{row.pk}/").json()
    assert (shown["status"], shown["verdict"], shown["run"]) == ("succeeded", "ties", run.pk)
    assert shown["metrics"]["trades"] == 60
    assert shown["metrics"]["cagr"] is None
    assert shown["benchmark"]["total_return"] == row.benchmark_return
    assert shown["assumptions"][0]["label"] == "Fills"
    assert shown["spec"] == row.spec.to_json()
    assert client.get("/api/backtests/").json()["results"][0]["id"] == row.pk


@pytest.mark.parametrize("part", ["trades/", "trades.csv", "equity/", "report.json"])
def test_unfinished_backtest_has_no_results(client, run, part):
    row = make_backtest(run, status="queued")
    answer = client.get(f"/api/backtests/{row.pk}/{part}")
    assert refusal(answer, 409)["code"] == "backtest_not_finished"


def test_report_keeps_its_figures_under_numbers(client, run):
    row = make_backtest(run)
    report = client.get(f"/api/backtests/{row.pk}/report.json").json()
    assert report["numbers"] == row.report["numbers"]
    assert report["run"]["weights_sha256"] == run.weights_sha256
    assert report["spec_sha256"] == row.spec_sha256
    assert report["verdict"]["word"] == "ties"


def test_equity_is_thinned_with_nulls_for_what_is_not_finite(client, run, alice):
    row = make_backtest(run)
    path = f"/api/backtests/{row.pk}/equity/"
    whole = client.get(path).json()
    assert whole["time"][0].endswith("Z")
    few = client.get(f"{path}?max=20").json()
    assert len(few["time"]) <= 20
    assert min(few["equity"]) == min(whole["equity"])
    assert "max" in refusal(client.get(f"{path}?max=2001"), 400)["fields"]
    columns = {"time": [0, 10**9], "equity": [1.0, float("nan")], "benchmark": [1.0, 2.0]}
    row.equity = make_stored(
        alice.first_workspace(), lambda path: pq.write_table(pa.table(columns), path)
    )
    row.save()
    found = json.loads(client.get(path).content, parse_constant=pytest.fail)
    assert found["equity"] == [1.0, None]


def test_trades_come_by_pages_and_as_csv(client, run):
    row = make_backtest(run)
    path = f"/api/backtests/{row.pk}/trades/"
    shown = client.get(path).json()
    assert shown["count"] == len(shown["results"]) > 10
    assert shown["results"][0]["number"] == 1
    assert shown["results"][-1]["exit_time"] is None
    refusal(client.get(f"{path}?page=2"), 404)
    for page in ("0", "x", "%00", "9" * 5000):
        refusal(client.get(f"{path}?page={page}"), 400)
    answer = client.get(f"/api/backtests/{row.pk}/trades.csv", HTTP_ACCEPT="text/csv")
    assert answer["Content-Disposition"] == 'attachment; filename="trades.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert len(lines) == shown["count"]
    assert float(lines[0]["entry_price"]) == shown["results"][0]["entry_price"]


def test_text_in_a_csv_cannot_become_a_formula(client, run, alice):
    row = make_backtest(run)
    table = pq.read_table(project.MEDIA_ROOT / row.trades.key)
    place = table.column_names.index("reason")
    reasons = ["=1+1", "+1", "-1", "@a", "\tb", "\rc", *["signal"] * (len(table) - 6)]
    table = table.set_column(place, "reason", pa.array(reasons))
    row.trades = make_stored(alice.first_workspace(), lambda path: pq.write_table(table, path))
    row.save()
    answer = client.get(f"/api/backtests/{row.pk}/trades.csv")
    lines = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    expected = ["'=1+1", "'+1", "'-1", "'@a", "'\tb", "' c"]
    assert [line["reason"] for line in lines[:6]] == expected
    assert any(line["pnl"].startswith("-") for line in lines)


def test_lists_need_few_queries(client, run, django_assert_max_num_queries):
    make_backtest(run)
    for path, most in ((PATH, 8), ("/api/backtests/", 8), (f"{PATH}{run.experiment_id}/", 15)):
        with django_assert_max_num_queries(most):
            assert client.get(path).status_code == 200
