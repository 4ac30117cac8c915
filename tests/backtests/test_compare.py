import pytest
from rest_framework.test import APIClient

from backtests.charts_compared import DASHES, equities_figure, losses_figure
from backtests.comparing import RUN_AGAIN
from jobs.statuses import JobStatus
from modeling.presets import PRESETS
from tests import factories
from tests.api import bearer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def pair(alice):
    """Two finished runs of one experiment on the same candles; they differ in the seed alone."""
    experiment = factories.make_experiment(alice.first_workspace())
    runs = [factories.make_run(experiment, seed=seed) for seed in (0, 1)]
    for run in runs:
        factories.make_backtest(run)
    return runs


def address(runs, **more):
    ids = ",".join(str(run.pk) for run in runs)
    return f"/compare/?runs={ids}" + "".join(f"&{key}={value}" for key, value in more.items())


def test_only_what_differs_is_shown_until_all_is_asked_for(client, pair):
    page = client.get(address(pair)).content.decode()
    assert page.count('<td class="muted">Code</td>') == 1  # the seed
    assert "Learning rate</th>" not in page
    whole = client.get(address(pair, show="all")).content.decode()
    assert "Learning rate" in whole
    assert whole.count('<td class="muted">Code</td>') == 5


def test_shape_of_a_network_is_no_setting_of_a_run_without_one(alice, client):
    runs = []
    for name in ("tiny", "linear"):
        experiment = factories.make_experiment(alice.first_workspace())
        experiment.model_spec = PRESETS[name]
        experiment.save()
        runs.append(factories.make_run(experiment))
    body = bearer(alice).get(f"/api/compare/?runs={runs[0].pk},{runs[1].pk}").json()
    cells = {row["path"]: row["values"] for row in body["settings"]}
    assert cells["network.kind"] == ["transformer", "linear"]
    assert cells["network.d_model"] == [32, None]
    differing = {row["path"] for row in body["settings"] if row["differs"]}
    assert "network.kind" in differing
    assert not any(path.startswith("network.") for path in differing - {"network.kind"})
    page = client.get(address(runs)).content.decode()
    assert "<td><strong>Transformer</strong></td><td><strong>None (linear)</strong></td>" in page


def test_figures_stand_with_interval_and_difference_to_the_reference(client, pair):
    pair[1].metrics["action"]["auc"]["value"] = 0.53
    pair[1].save()
    page = client.get(address(pair)).content.decode()
    assert "[0.480, 0.540]" in page
    assert "+0.020" in page
    turned = client.get(address(pair, reference=pair[1].pk)).content.decode()
    assert "−0.020" in turned


def test_an_undefined_figure_is_a_dash_with_its_reason(client, pair):
    page = client.get(address(pair)).content.decode()
    assert "fewer than 30 daily returns" in page
    assert "the test rows have one class only" in page


def test_other_candles_are_said_in_words(client, pair):
    workspace = pair[0].workspace
    other = factories.make_version(workspace, symbol="ETH/USDT")
    type(other).objects.filter(pk=other.pk).update(sha256="cd" * 32)
    run = factories.make_run(factories.make_experiment(workspace, other))
    page = client.get(address([pair[0], run])).content.decode()
    assert "Not comparable" in page
    assert "other candles" in page
    assert "Not comparable" not in client.get(address(pair)).content.decode()


@pytest.mark.parametrize("kind", ["runs", "backtests"])
def test_columns_of_different_code_are_told_on_the_page_and_by_the_api(client, alice, pair, kind):
    rows = pair if kind == "runs" else [run.backtests.get() for run in pair]
    query = f"?{kind}={rows[0].pk},{rows[1].pk}"
    assert "Different code" not in client.get(f"/compare/{query}").content.decode()
    assert bearer(alice).get(f"/api/compare/{query}").json()["mixed_code"] is None
    pair[1].code_version = "0.1.0+new"
    pair[1].save()
    assert RUN_AGAIN in client.get(f"/compare/{query}").content.decode()
    found = bearer(alice).get(f"/api/compare/{query}").json()["mixed_code"]
    assert [row["runs"] for row in found["versions"]] == [[pair[0].pk], [pair[1].pk]]


def test_a_run_that_has_not_begun_is_of_no_other_code(client, pair):
    waiting = factories.make_run(pair[0].experiment, seed=2, status=JobStatus.QUEUED)
    waiting.code_version = ""
    waiting.save()
    assert "Different code" not in client.get(address([pair[0], waiting])).content.decode()


def test_backtests_with_other_costs_are_not_comparable(client, pair):
    first, second = (run.backtests.get() for run in pair)
    second.spec = second.spec.parse({"costs": {"taker_bps": 9.0}})
    second.save()
    page = client.get(f"/compare/?backtests={first.pk}&backtests={second.pk}").content.decode()
    assert "other costs" in page
    assert "Taker fee" in page


@pytest.mark.parametrize("extra", ["", "&show=all"])
def test_a_row_of_somebody_else_is_404(client, pair, extra):
    stranger = factories.make_user("charlie").first_workspace()
    foreign = factories.make_run(factories.make_experiment(stranger))
    for path in ("/compare/", "/compare/loss/", "/compare/equity/", "/compare/table.csv"):
        query = f"?runs={pair[0].pk},{foreign.pk}{extra}"
        assert client.get(path + query).status_code == 404
    assert client.get(address(pair, reference=foreign.pk)).status_code == 404


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("runs=1,two", "Found &#x27;two&#x27;"),
        ("runs=" + ",".join(map(str, range(11))), "Found 11 runs; expected at most 10"),
        ("runs=1&backtests=2", "expected one of the two"),
    ],
)
def test_an_unusable_choice_is_400_with_the_reason(client, alice, query, said):
    answer = client.get(f"/compare/?{query}")
    assert answer.status_code == 400
    assert said in answer.content.decode()


def test_fewer_than_two_ask_for_more(client, pair):
    assert "two to ten" in client.get("/compare/").content.decode()
    page = client.get(address(pair[:1])).content.decode()
    assert "Pick one more" in page
    assert f'value="{pair[1].pk}"' in page


def test_runs_that_have_not_begun_are_compared_without_figures(client, pair):
    waiting = factories.make_run(pair[0].experiment, seed=2, status=JobStatus.QUEUED)
    assert "not scored yet" in client.get(address([pair[0], waiting])).content.decode()


def test_the_page_needs_at_most_fifteen_queries(client, pair, django_assert_max_num_queries):
    with django_assert_max_num_queries(15):
        client.get(address(pair))


def test_the_csv_holds_full_values_and_runs_no_formula(client, pair):
    type(pair[0].experiment).objects.update(name="=1+1")
    text = client.get(f"/compare/table.csv?runs={pair[0].pk},{pair[1].pk}").content.decode()
    assert "Action,AUC,,0.51,0.51,0.0" in text.replace(",,0.0", ",0.0")
    assert "\n=" not in text


def test_curves_lie_over_each_other_each_with_its_own_dash(client, pair):
    for kind in ("loss", "equity"):
        query = f"?runs={pair[0].pk},{pair[1].pk}"
        figure = client.get(f"/compare/{kind}/{query}").json()["figure"]
        dashes = [trace["line"]["dash"] for trace in figure["data"]]
        assert len(set(dashes)) == 2
        assert sum(len(trace["x"]) for trace in figure["data"]) <= 2000


def test_ten_lines_have_ten_dashes_and_no_line_is_an_empty_figure():
    assert len(set(DASHES)) == 10
    assert equities_figure({})["data"] == losses_figure({})["data"] == []


def test_the_api_gives_the_same_differences(alice, pair):
    api = APIClient()
    api.force_login(alice)
    body = api.get(f"/api/compare/?runs={pair[0].pk},{pair[1].pk}").json()
    assert [column["id"] for column in body["columns"]] == [run.pk for run in pair]
    assert [row["label"] for row in body["settings"] if row["differs"]] == ["Seed"]
    auc = next(row for row in body["measures"] if row["key"] == "action.auc")
    assert [cell["difference"] for cell in auc["cells"]] == [None, 0.0]
    assert api.get(f"/api/compare/?runs={pair[0].pk}").status_code == 400
    assert api.get(f"/api/compare/?runs={pair[0].pk},999999").status_code == 404


@pytest.mark.parametrize(
    ("path", "name"), [("/runs/", "runs"), ("/experiments/", "runs"), ("/backtests/", "backtests")]
)
def test_lists_lead_to_the_comparison(client, pair, path, name):
    page = client.get(path).content.decode()
    assert f'form="compare" name="{name}" value="' in page
    assert 'action="/compare/"' in page
