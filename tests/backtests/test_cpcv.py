"""The whole path under combinatorial cross-validation: 28 small trainings, seven paths, one verdict."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

import numpy as np
import pytest

from artifacts.store import verified_path
from backtests.openings import open_and_backtest
from backtests.services import create_experiment, launch_experiment
from jobs.attempts import RunningAttempt, StopReason
from jobs.statuses import JobStatus
from modeling.baselines import ladder
from modeling.evaluation.table import read_predictions
from modeling.models import Trial
from modeling.registry import launch_prediction, register_model
from modeling.windows.cpcv import NEWEST_SPLIT, PATHS, SPLITS, path_splits
from tests import path
from tests.api import bearer, refusal
from tests.twins import body_of, forget_the_twin, judged_beside_a_twin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def small_spec(version):
    """Just so many bars that every slice of every split has its samples."""
    from_at = version.last_at - timedelta(days=20)
    return path.quick_spec(
        data={"from_at": f"{from_at:%Y-%m-%dT%H:%M:%SZ}"},
        features={"scales": [1, 3]},
        windows={"context_bars": 32},
        target={"regime_bars": 12},
        evaluation={"scheme": "cpcv", "embargo_bars": 12},
    )


@pytest.fixture
def cheap_ladder(monkeypatch):
    slow = ("gradient_boosting", "dlinear")
    cheap = {name: rung for name, rung in ladder.LADDER.items() if name not in slow}
    monkeypatch.setattr(ladder, "LADDER", cheap)


def test_28_splits_are_trained_once_and_join_into_seven_paths(client, cheap_ladder, monkeypatch):
    user, workspace = path.make_people()
    version = path.demo_version(workspace, user)
    experiment = create_experiment(
        workspace=workspace, user=user, name="Paths", versions=[version], spec=small_spec(version)
    )
    run = launch_experiment(experiment, user=user)[0]
    stop_in_the_third_split(run, monkeypatch)
    before = dict(run.folds.values_list("number", "finished_at"))
    assert sorted(before) == [1, 2]
    job = path.run_training(run)
    assert (job.status, job.message[-11:]) == (JobStatus.SUCCEEDED, "on 7 paths."), job.message
    run.refresh_from_db()
    after = dict(run.folds.values_list("number", "finished_at"))
    assert sorted(after) == list(range(1, len(SPLITS) + 1))
    assert before.items() <= after.items()
    every_path_predicts_every_bar_once(run)
    every_score_has_its_spread(run)
    backtest = path.finished_backtest(run)
    the_report_takes_path_1_and_shows_all(backtest, run)
    assert Trial.objects.count() == 1
    answers_and_pages_show_the_paths(client, user, run, backtest)
    seeds_that_say_the_same_are_judged_as_one_of_them(client, run, backtest)
    a_registered_split_predicts_nothing_it_has_learned_from(run, version, user)
    the_hold_out_is_scored_with_the_newest_split(run, user)


def stop_in_the_third_split(run, monkeypatch):
    real = RunningAttempt.progress

    def progress(self, fraction, message="", *, step=None):
        if message.startswith("Fold 3 of 28, epoch"):
            self.request_stop(StopReason.DRAIN)
        real(self, fraction, message, step=step)

    with monkeypatch.context() as stopping:
        stopping.setattr(RunningAttempt, "progress", progress)
        assert path.run_training(run).status == JobStatus.QUEUED


def every_path_predicts_every_bar_once(run):
    sets = {row.path: row for row in run.prediction_sets.filter(rung="model")}
    assert sorted(sets) == list(range(1, PATHS + 1))
    tables = {number: read_predictions(verified_path(row.file)) for number, row in sets.items()}
    for number, table in tables.items():
        assert np.all(np.diff(table["open_at"]) > 0)
        np.testing.assert_array_equal(table["open_at"], tables[1]["open_at"])
        assert [key for key, _ in groupby(table["fold"].tolist())] == [
            key for key, _ in groupby(path_splits(number))
        ]
        assert {part["fold"] for part in sets[number].folds} == set(path_splits(number))
    assert run.predictions_sha256 == sets[1].sha256
    assert len({row.sha256 for row in sets.values()}) == PATHS
    others = run.prediction_sets.exclude(rung="model")
    assert set(others.values_list("path", flat=True)) == {1}


def every_score_has_its_spread(run):
    auc = run.metrics["action"]["auc"]
    assert auc["spread"]["values"][0] == auc["value"]
    assert len(auc["spread"]["values"]) == PATHS
    assert auc["spread"]["min"] <= auc["spread"]["median"] <= auc["spread"]["max"]
    logistic = run.baselines.get(rung="logistic").metrics
    assert len(logistic["volatility"]["r2"]["spread"]["values"]) == PATHS


def the_report_takes_path_1_and_shows_all(backtest, run):
    numbers = backtest.report["numbers"]
    returns = numbers["paths"]["total_return"]
    assert returns["values"][0] == numbers["total_return"]
    assert len(returns["values"]) == PATHS
    assert returns["min"] == min(returns["values"])
    first = run.prediction_sets.get(rung="model", path=1)
    assert backtest.first_at == first.first_at


def answers_and_pages_show_the_paths(client, user, run, backtest):
    api = bearer(user)
    answer = api.get(f"/api/runs/{run.pk}/").json()
    sets = {row.path: row.pk for row in run.prediction_sets.filter(rung="model")}
    assert answer["predictions"] == sets[1]
    assert [part["predictions"] for part in answer["paths"]] == [
        sets[number] for number in range(1, PATHS + 1)
    ]
    parts = answer["folds"][0]["splits"]["slices"]["test"]["parts"]
    assert [part["group"] for part in parts] == [1, 2]
    assert len(api.get(f"/api/predictions/{sets[5]}/").json()) > 100
    body = {"name": "Other", "source": {"predictions": sets[3]}}
    assert refusal(api.post("/api/backtests/", body, format="json"), 409)["code"] == "other_path"
    client.force_login(user)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "Over 7 paths" in page and "group 8" in page
    report = client.get(f"/backtests/{backtest.pk}/").content.decode()
    assert "All paths" in report and "Path 7" in report and "Median" in report
    for address in (f"/runs/{run.pk}/predictions/", f"/experiments/{run.experiment_id}/"):
        assert client.get(address).status_code == 200
    assert client.get(f"/compare/?runs={run.pk}").status_code in (200, 302, 400)


def seeds_that_say_the_same_are_judged_as_one_of_them(client, run, backtest):
    row = judged_beside_a_twin(run, backtest)
    for head, metric in (("action", "auc"), ("regime", "macro_f1"), ("volatility", "r2")):
        found, own = row.metrics[head][metric], run.metrics[head][metric]
        assert found["value"] == pytest.approx(own["value"])
        assert found["interval"] == pytest.approx(own["interval"])
        assert found["spread"]["values"] == pytest.approx(own["spread"]["values"])
    worth = [found["action"]["auc"]["effective_samples"] for found in (row.metrics, run.metrics)]
    assert worth[0] == pytest.approx(worth[1])
    words = [
        {head: found["word"] for head, found in each.items()} for each in (row.heads, run.verdict)
    ]
    assert words[0] == words[1]
    assert row.leak_alarm == run.leak_alarm
    assert row.equity["has_own_thresholds"]
    numbers = backtest.report["numbers"]
    for key, spread in row.equity["paths"].items():
        assert spread["values"] == pytest.approx(numbers["paths"][key]["values"])
        assert row.equity["numbers"][key] == pytest.approx(numbers[key])
    assert row.equity["verdict"]["word"] == backtest.report["verdict"]["word"]
    page = client.get(f"/experiments/{run.experiment_id}/").content.decode()
    assert "Verdict over 2 seeds" in page and "Over 7 paths" in page
    forget_the_twin(row)


def a_registered_split_predicts_nothing_it_has_learned_from(run, version, user):
    from modeling.predicting import predict_version

    newest = register_model(run, user=user, name="Newest")
    assert newest.fold.number == NEWEST_SPLIT
    row, _ = launch_prediction(newest, version, user=user)
    body_of(row, predict_version)
    learned = newest.fold.splits["slices"]["calibration"]["to_at"]
    assert f"{row.predictions.first_at:%Y-%m-%dT%H:%M:%SZ}" >= learned


def the_hold_out_is_scored_with_the_newest_split(run, user):
    from modeling.holdout import score_holdout

    opening, _ = open_and_backtest(run, user=user, name=run.experiment.name)
    body_of(opening, score_holdout)
    table = read_predictions(verified_path(opening.predictions.file))
    assert set(table["fold"].tolist()) == {NEWEST_SPLIT}
    assert opening.predictions.path == 0
    row = run.backtests.get(is_holdout=True)
    assert path.run_job(row.job).status == "succeeded"
    row.refresh_from_db()
    assert "paths" not in row.report["numbers"]
