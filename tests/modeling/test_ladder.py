"""The ladder of a run: every rung a row, in order, with its intervals, its best or its reason."""

import pytest
from django.utils import timezone

from jobs.statuses import JobStatus
from modeling.baselines import ladder as ladders
from modeling.baselines.rungs import WITH_ACTION, RungFailed
from modeling.ladders import planned_folds, run_ladder
from modeling.measures import RUNGS, head_verdicts, in_order, rung_words
from modeling.models import BaselineScore
from modeling.specs import EvaluationSpec
from tests import factories
from tests.path import demo_version, finished_backtest, finished_run, make_people, quick_spec


@pytest.fixture
def run(db):
    workspace = factories.make_user("alice").first_workspace()
    return factories.make_run(factories.make_experiment(workspace))


def ladder_on_page(client, run):
    client.force_login(run.workspace.memberships.get().user)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    return page[page.index('<h2 id="ladder"') :]


@pytest.mark.django_db(transaction=True)
def test_a_run_has_a_row_for_every_rung_and_its_backtest_an_account_or_the_reason(monkeypatch):
    def failing(case, between):
        raise RungFailed("memory ran out at step 3; try batches below 256")

    user, workspace = make_people()
    monkeypatch.setattr(ladders, "LADDER", {**ladders.LADDER, "dlinear": failing})
    run = finished_run(user, demo_version(workspace, user), quick_spec())
    rows = {row.rung: row for row in run.baselines.all()}
    assert set(rows) == set(ladders.LADDER)
    reason = "Failed in all 2 folds. Fold 1: memory ran out at step 3; try batches below 256"
    assert rows["dlinear"].metrics == {} and rows["dlinear"].reason.startswith(reason)
    assert all(row.metrics for rung, row in rows.items() if rung != "dlinear")
    assert rows["har"].metrics["volatility"]["r2"]["interval"]
    sets = set(run.prediction_sets.values_list("rung", flat=True))
    assert sets == {"model", *WITH_ACTION} - {"dlinear"}
    text = " ".join(run.job.log_lines.values_list("text", flat=True))
    assert "Fold 2 of 2: baselines done. Prior 0.0 s" in text
    assert "Fold 2 of 2: DLinear memory ran out" in text
    report = finished_backtest(run).report
    accounts = {"flat", "buy_and_hold", "ma_cross", "macd", "rsi", *sets} - {"model"}
    assert set(report["numbers"]["rungs"]) == accounts
    assert list(report["failed_rungs"]) == ["dlinear"]


def test_rungs_stand_in_order_with_the_best_one_named(client, run):
    verdict = {"word": "ties", "rung": "har", "metric": "r2", "sentence": "Not better than HAR."}
    r2 = {"value": 0.5, "interval": [0.41, 0.59]}
    run.verdict = {"volatility": verdict}
    run.save()
    BaselineScore.objects.create(run=run, rung="har", metrics={"volatility": {"r2": r2}})
    table = ladder_on_page(client, run)
    names = ("This model", "Prior", "HAR", "Logistic regression")
    places = [table.index(f'<th scope="row">{name}') for name in names]
    assert places == sorted(places)
    row = table[places[2] : places[3]]
    assert "[0.410, 0.590]" in row
    assert table.count('<span class="badge-word">Best rung') == row.count("Best rung") == 1


def test_a_rung_that_failed_shows_its_reason(client, run):
    reason = "Fold 3: stopped: the baselines had 30 s on this fold"
    BaselineScore.objects.create(run=run, rung="gradient_boosting", metrics={}, reason=reason)
    assert reason in ladder_on_page(client, run)


@pytest.fixture
def open_run(db):
    """A run that trains its third of four folds."""
    workspace = factories.make_user("alice").first_workspace()
    run = factories.make_run(factories.make_experiment(workspace), status=JobStatus.RUNNING)
    for number, r2, auc in ((1, 0.2, 0.5), (2, 0.4, 0.6)):
        scores = {"volatility": {"r2": {"value": r2}}, "action": {"auc": {"value": auc}}}
        har = {"volatility": {"r2": {"value": 0.3} if number == 1 else {"value": None}}}
        run.folds.create(
            number=number,
            finished_at=timezone.now(),
            metrics={"har": har, "model": scores, "prior": {}},
            state={"failed": {"har": "memory ran out"}} if number == 2 else {},
        )
    return run


def test_while_folds_end_the_ladder_shows_the_mean_of_those_that_have(open_run):
    found = run_ladder(open_run, open_run.folds.all())
    assert (found["ended"], found["planned"]) == (2, 4)
    model, prior, har = found["rows"]
    assert (model["label"], prior["label"], har["label"]) == ("This model", "Prior", "HAR")
    auc, _, _, _, r2, _ = (cell["value"] for cell in model["cells"])
    assert (auc, r2) == (pytest.approx(0.55), pytest.approx(0.3))


def test_a_rung_without_a_score_in_one_fold_has_no_mean_and_says_why(open_run):
    har = run_ladder(open_run, open_run.folds.all())["rows"][2]
    assert har["reason"] == "Fold 2: memory ran out"
    assert (har["cells"][4]["value"], har["cells"][4]["reason"]) == (None, "no value in fold 2")


def test_a_fold_that_has_not_ended_fills_no_ladder(client, open_run):
    assert "So far: the mean of 2 of 4 folds." in ladder_on_page(client, open_run)
    open_run.folds.update(finished_at=None)
    assert run_ladder(open_run, open_run.folds.all())["rows"] == []


def test_a_finished_run_shows_its_joined_scores_and_no_mean(client, run):
    assert "So far:" not in ladder_on_page(client, run)


def test_folds_are_planned_by_scheme():
    planned = [
        planned_folds(EvaluationSpec(scheme=scheme, folds=6))
        for scheme in ("anchored", "rolling", "single", "cpcv")
    ]
    assert planned == [6, 6, 1, 28]


def test_rungs_are_named_and_ordered_once_for_all_pages():
    assert in_order(["new", "dlinear", "flat", "model"]) == ["model", "flat", "dlinear", "new"]
    words = [rung_words(rung) for rung in ("har", "dlinear", "buy_and_hold", "ma_cross")]
    assert words == ["HAR", "DLinear", "buy and hold", "moving averages"]
    assert set(ladders.LADDER) < set(RUNGS)


def test_the_logistic_rung_is_called_ridge_where_it_forecasts_volatility():
    assert rung_words("logistic", "volatility") == "ridge regression"
    assert rung_words("logistic", "risk") == "logistic regression"
    rows = head_verdicts({"volatility": {"word": "loses", "rung": "logistic"}})
    assert [row["rung"] for row in rows] == ["Ridge regression"]
