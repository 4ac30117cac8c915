"""The spread over the paths of a combinatorial run, as the report shows it."""

import pytest

from backtests.measures import PATH_MEASURES
from backtests.report_page import path_rows
from modeling.evaluation.paths import spread_of
from modeling.models import PredictionSet
from tests import factories
from tests.api import bearer, refusal

RETURNS = [0.02, -0.01, 0.05, 0.0, 0.01, -0.03, 0.04]


def report_of(returns=RETURNS):
    found = {key: spread_of([1.0] * len(returns)) for key in PATH_MEASURES}
    found["total_return"] = spread_of(returns)
    found["sharpe"] = spread_of([None] * len(returns))
    return {"numbers": {"paths": found}}


def test_the_spread_of_a_figure_leaves_out_what_is_undefined():
    assert spread_of([3.0, None, 1.0, 2.0]) == {
        "min": 1.0,
        "median": 2.0,
        "max": 3.0,
        "values": [3.0, None, 1.0, 2.0],
    }
    assert spread_of([None]) == {"min": None, "median": None, "max": None, "values": [None]}


def test_every_path_is_a_row_and_ends_and_middle_follow():
    rows = path_rows(report_of())
    assert [row["label"] for row in rows[:2]] == ["Path 1", "Path 2"]
    assert [row["label"] for row in rows[-3:]] == ["Lowest", "Median", "Highest"]
    shown = [row["cells"][0]["value"] for row in rows]
    assert shown == [*RETURNS, -0.03, 0.01, 0.05]
    assert [row["is_headline"] for row in rows] == [True] + [False] * 9
    assert rows[0]["cells"][1]["value"] is None


def test_a_run_with_one_path_has_no_such_rows():
    assert path_rows({"numbers": {}}) == []


@pytest.mark.django_db
def test_the_report_page_shows_the_paths_below_the_rungs(client):
    user = factories.make_user("alice")
    run = factories.make_run(factories.make_experiment(user.first_workspace()))
    row = factories.make_backtest(run)
    client.force_login(user)
    assert "All paths" not in client.get(f"/backtests/{row.pk}/").content.decode()
    row.report["numbers"] |= report_of()["numbers"]
    row.save()
    page = client.get(f"/backtests/{row.pk}/").content.decode()
    assert "All paths" in page and "Path 7" in page and "fixed beforehand" in page


@pytest.mark.django_db
def test_a_backtest_takes_the_first_path_and_no_other():
    user = factories.make_user("alice")
    run = factories.make_run(factories.make_experiment(user.first_workspace()))
    stored = run.prediction_sets.get()
    PredictionSet.objects.update(path=1)
    stored.pk, stored.path = None, 3
    stored.save()
    api = bearer(user)
    body = {"name": "B", "source": {"predictions": stored.pk}}
    answer = refusal(api.post("/api/backtests/", body, format="json"), 409)
    assert answer["code"] == "other_path" and "path 3" in answer["detail"]
    shown = api.get(f"/api/runs/{run.pk}/").json()
    assert [part["path"] for part in shown["paths"]] == [1, 3]
    assert shown["predictions"] == shown["paths"][0]["predictions"]
