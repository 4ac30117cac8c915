"""The page of a prediction set: chart, table and API agree, every head has a tab, the seal holds."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from rest_framework.test import APIClient

from accounts.models import AuditEvent
from artifacts.store import local_path
from jobs.statuses import JobStatus
from markets.reading import iso_times
from modeling.evaluation.table import read_predictions
from modeling.models import BaselineScore, PredictionSet
from tests import factories, predicted, registry

pytestmark = pytest.mark.django_db

HEADS = ("action", "regime", "confidence", "volatility", "risk")
COLUMNS = {"Score": "action", "Confidence": "confidence", "Predicted σ": "volatility"}


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def run(alice):
    return predicted.make_predicted_run(alice.first_workspace())


@pytest.fixture
def own(run):
    return run.prediction_sets.get()


def page_of(client, run, **query):
    return client.get(f"/runs/{run.pk}/predictions/", query).content.decode()


def chart_of(client, row, **query):
    return client.get(f"/runs/{row.run_id}/predictions/{row.pk}/of/1/chart/", query).json()


def trace(answer, name):
    return next(item for item in answer["figure"]["data"] if item["name"] == name)


def rows_of(client, row, **query):
    """Heading → text cells of the table twin, and the times."""
    query = {"as": "rows", **query}
    html = client.get(
        f"/runs/{row.run_id}/predictions/{row.pk}/of/1/chart/", query
    ).content.decode()
    headings = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", html)
    rows = re.findall(r"<tr><th scope=\"row\" class=\"num\">([^<]*)</th>(.*?)</tr>", html)
    cells = [[time, *re.findall(r"<td[^>]*>([^<]*)</td>", rest)] for time, rest in rows]
    return dict(zip(headings, zip(*cells, strict=True), strict=True))


def plain(text):
    return float(text.replace("−", "-").replace("\u2009", ""))


def stored(row):
    return read_predictions(local_path(row.file))


def six(value):
    return float(f"{value:.6g}")


@pytest.mark.parametrize("head", HEADS)
def test_every_head_has_a_tab_with_scores_intervals_and_a_curve(client, run, own, head):
    page = page_of(client, run, head=head)
    assert 'aria-current="page"' in page.split('aria-label="Heads"')[1].split("</nav>")[0]
    assert f"/runs/{run.pk}/predictions/{own.pk}/of/1/curves/{head}/" in page
    assert "95 % intervals" in page
    assert "8 without a known outcome left out" in page
    figure = client.get(f"/runs/{run.pk}/predictions/{own.pk}/of/1/curves/{head}/").json()["figure"]
    assert {len(item["x"]) for item in figure["data"]} == {15}


def test_confidence_curve_is_the_one_that_was_stored_with_the_scores(client, run, own):
    figure = client.get(f"/runs/{run.pk}/predictions/{own.pk}/of/1/curves/confidence/").json()[
        "figure"
    ]
    bins = run.metrics["confidence"]["reliability"]["value"]
    assert figure["data"][0]["x"] == [six(said) for said, _, _ in bins]
    assert figure["data"][0]["y"] == [six(came) for _, came, _ in bins]


def test_regime_and_risk_show_what_was_taken_for_what(client, run):
    page = page_of(client, run, head="regime")
    counts = run.metrics["regime"]["confusion"]["value"]
    assert "Said volatile" in page
    assert f"{int(counts[2][1])} <span" in page
    assert "Said high" in page_of(client, run, head="risk")


def test_uncalibrated_confidence_says_so_with_its_figures(client, run):
    page = page_of(client, run, head="confidence")
    assert "uncalibrated" in page
    assert "at most 0.05 wanted" in page


def test_confidence_cuts_and_volatility_bands_stand_on_their_tabs(client, run):
    page = page_of(client, run, head="confidence")
    assert "When only the surer trades are taken" in page
    assert "Predicted bull" in page
    page = page_of(client, run, head="volatility")
    assert "Inside the 80 % band" in page
    assert "Volatility bands" in page
    assert "Volatility bands" not in page_of(client, run, head="risk")


def test_verdict_and_rungs_stand_on_the_tab_and_a_failed_rung_has_its_reason(client, run):
    BaselineScore.objects.create(run=run, rung="dlinear", reason="Fold 2: it diverged.")
    page = page_of(client, run, head="regime")
    assert "Not better than logistic regression at naming the coming regime." in page
    assert "Fold 2: it diverged." in page


def rungs_on(page):
    """Heads of the columns, and the text of each row by its name."""
    table = page.split('id="head-rungs"')[1].split("</table>")[0]
    table = re.sub(r"<br>", " ", table)
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)
    rows = {}
    for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)[1:]:
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        label, *rest = (re.sub(r"<[^>]*>", "", cell).strip() for cell in cells)
        rows[label] = rest
    return [re.sub(r"<[^>]*>", "", head) for head in heads], rows


def test_every_score_of_a_rung_stands_beside_ours_with_its_interval(client, run):
    scores = {
        "r2": {"value": 0.5312, "interval": [0.4901, 0.5523]},
        "qlike": {"value": 0.4417, "interval": [0.4102, 0.4799]},
    }
    for rung in ("persistence", "har"):
        BaselineScore.objects.create(run=run, rung=rung, metrics={"volatility": scores})
    heads, rows = rungs_on(page_of(client, run, head="volatility"))
    assert heads == ["Rung", "Verdict", "R²", "QLIKE", "Inside the 80 % band"]
    assert rows["HAR"] == rows["Persistence"]
    assert rows["HAR"] == ["—", "0.531 [0.490, 0.552]", "0.442 [0.410, 0.480]", "—"]
    ours = run.metrics["volatility"]["qlike"]
    assert rows["This model"][2].startswith(f"{ours['value']:.3f} [{ours['interval'][0]:.3f}, ")


def test_rungs_that_an_earlier_release_scored_show_what_they_have(client, run):
    old = {"brier": {"value": 0.2311}, "auc": {"value": None, "reason": "one class only"}}
    BaselineScore.objects.create(run=run, rung="dlinear", metrics={"confidence": old})
    page = page_of(client, run, head="confidence")
    heads, rows = rungs_on(page)
    assert heads[2:] == ["AUC", "Brier score", "Brier skill", "Calibration error"]
    assert rows["DLinear"] == ["—", "—", "0.2311", "—", "—"]
    assert 'title="one class only"' in page
    assert "Each confidence is about the trades of its own row" in page


def test_withheld_verdicts_stay_away(client, run):
    run.leak_alarm = {"raised": True, "reasons": ["AUC 0.71"]}
    run.save()
    page = page_of(client, run, head="regime")
    assert "leak alarm" in page
    assert "Not better than" not in page


def test_head_with_too_few_samples_says_how_many_it_has(client, run, own):
    table = predicted.heads_of(factories.candles_of(run.experiment.version).slice(0, 150))
    own.file = factories.make_stored(
        run.workspace, lambda path: predicted.write_predictions(path, table, "BTC"), "few.parquet"
    )
    own.rows = 150
    own.save()
    figure = client.get(f"/runs/{run.pk}/predictions/{own.pk}/of/1/curves/risk/").json()["figure"]
    assert figure["data"] == []
    assert figure["layout"]["meta"]["summary"] == "Found 142 test samples; a curve needs 200."


@pytest.mark.parametrize("span", [{}, {"from": "2024-02-05T00:00Z", "to": "2024-02-06T12:00Z"}])
def test_chart_table_and_api_agree_at_ends_and_extremes(client, run, own, span):
    answer, table = chart_of(client, own, **span), rows_of(client, own, **span)
    api = APIClient()
    api.force_login(run.experiment.workspace.memberships.get().user)
    listed = {}
    for start in ("2024-02-01T00:00Z", "2024-02-07T00:00Z"):
        query = {"from": span.get("from", start), "to": span.get("to", "2024-03-01T00:00Z")}
        found = api.get(f"/api/predictions/{own.pk}/", query).json()
        listed |= {row["open_at"][:16].replace("T", " "): row for row in found}
    assert len(listed) > 400
    for heading, name in COLUMNS.items():
        drawn = trace(
            answer,
            {"Score": "Action score", "Predicted σ": "Predicted volatility"}.get(heading, heading),
        )
        points = {x[:16]: y for x, y in zip(drawn["x"], drawn["y"], strict=True) if y is not None}
        listed_values = [row[name] for row in listed.values()]
        times = table["Time (UTC)"]
        assert [plain(cell) for cell in table[heading]] == list(points.values())
        assert times[0] == min(listed) == min(points)
        assert times[-1] == max(listed) == max(points)
        for time in (times[0], times[-1]):
            assert points[time] == six(listed[time][name])
        assert max(points.values()) == six(max(listed_values))
        assert min(points.values()) == six(min(listed_values))


def test_marks_are_the_bars_whose_score_reaches_the_threshold_of_their_fold(client, run, own):
    table = stored(own)
    level = np.where(table["fold"] == 1, 0.6, 0.5)
    window = {"from": "2024-02-05T00:00Z", "to": "2024-02-06T12:00Z"}
    times = np.array([text[:16].replace("T", " ") for text in iso_times(table["open_at"])])
    inside = (times >= "2024-02-05 00:00") & (times < "2024-02-06 12:00")
    answer = chart_of(client, own, **window)
    assert answer["note"] == ""
    for name, reached in (
        ("Long decision", table["action"] >= level),
        ("Short decision", table["action"] <= -level),
    ):
        assert [x[:16] for x in trace(answer, name)["x"]] == times[inside & reached].tolist()
    assert "Marked are" in chart_of(client, own)["note"]


def test_fold_borders_purge_embargo_and_gap_are_where_they_were_cut(client, run, own):
    answer = chart_of(client, own)
    strip = {item["name"]: item for item in answer["figure"]["data"] if item.get("yaxis") == "y7"}
    second = stored(own)
    border = second["open_at"][second["fold"] == 2][0]
    label = 48 * 300 * 10**9
    start = str(np.datetime64(int(border - label), "ns").astype("datetime64[s]")).replace("T", " ")
    assert strip["Purge"]["x"] == [start]
    assert strip["Purge"]["width"] == [48 * 300_000]
    assert sum(strip["Embargo"]["width"]) == 287 * 300_000
    assert strip["Gap"]["customdata"] == ["12 bars without a prediction"]
    assert [note["text"] for note in answer["figure"]["layout"]["annotations"]] == [
        "fold 1",
        "fold 2",
    ]


def test_answers_are_small_and_need_few_queries(client, run, own, django_assert_max_num_queries):
    with django_assert_max_num_queries(15):
        page = page_of(client, run, head="regime")
    assert len(page) < 100_000
    with django_assert_max_num_queries(15):
        answer = chart_of(client, own)
    assert len(json.dumps(answer)) < 500_000
    assert max(len(item["x"]) for item in answer["figure"]["data"]) <= 510


def test_jump_to_a_date_works_without_a_script(client, run, own):
    page = page_of(client, run, at="2024-02-05", head="risk")
    assert "2024-02-05T00:00:00Z" in page
    assert "?head=risk&amp;from=2024-02-04" in page
    assert "as=table&amp;from=2024-02-05" in page
    assert "Later" in page
    assert client.get(f"/runs/{run.pk}/predictions/", {"at": "never"}).status_code == 400


def test_table_lists_at_most_five_hundred_rows_and_leads_to_every_bar(client, run, own):
    address = f"/runs/{run.pk}/predictions/{own.pk}/of/1/chart/"
    page = client.get(address, {"as": "table"}).content.decode()
    assert page.count('<th scope="row"') <= 500
    assert "Thinned to" in page
    assert f'href="/runs/{run.pk}/predictions/?set={own.pk}"' in page
    found = re.search(r"\?as=table&amp;(from=[^\"]*)\">List every bar", page)
    assert found is not None
    page = client.get(f"{address}?as=table&{found[1].replace('&amp;', '&')}").content.decode()
    assert page.count('<th scope="row"') == 500
    assert "List every bar" not in page
    assert "Later" in page


def test_nothing_lies_behind_the_seal(client, run, own):
    sealed = run.experiment.holdout_at
    edge = f"{sealed:%Y-%m-%d %H:%M}"
    answer = chart_of(client, own, **{"from": "2024-01-01T00:00Z", "to": "2024-03-01T00:00Z"})
    for item in answer["figure"]["data"]:
        assert all(x < edge for x in item["x"])
    behind = {"from": f"{sealed:%Y-%m-%dT%H:%M}Z", "to": "2024-03-01T00:00Z"}
    empty = chart_of(client, own, **behind)
    assert empty["figure"]["layout"]["meta"]["summary"] == "No predictions in this span."
    assert (
        "No predictions in this span"
        in client.get(
            f"/runs/{run.pk}/predictions/{own.pk}/of/1/chart/", {"as": "table", **behind}
        ).content.decode()
    )
    assert "are sealed" in page_of(client, run)


def test_opened_holdout_has_its_own_chart_scores_and_words(client, run, own):
    row = predicted.open_holdout_of(run)
    page = page_of(client, run, set=row.pk, head="volatility")
    assert "opened hold-out" in page
    assert "are sealed" not in page_of(client, run)
    assert f"{run.opening.metrics['volatility']['r2']['value']:.3f}" in page
    first = trace(chart_of(client, row), "Action score")["x"][0]
    # A bar is sealed when it closes behind the instant.
    assert first > f"{run.experiment.holdout_at - row.bar:%Y-%m-%d %H:%M:%S}"
    assert f"?set={row.pk}&amp;head=risk" in page


def test_predictions_of_a_learned_rung_have_a_page_of_their_own(client, run, own):
    row = PredictionSet.objects.create(
        workspace=run.workspace,
        run=run,
        rung="logistic",
        **{
            name: getattr(own, name)
            for name in ("file_id", "sha256", "rows", "first_at", "last_at", "folds")
        },
    )
    page = page_of(client, run, set=row.pk)
    assert "Logistic regression" in page
    assert "0.515" in page
    assert chart_of(client, row)["figure"]["data"]


def as_combinatorial(run, own):
    """Path 1 and path 2 of the same file; fold 2 is the split that tests groups 1 and 3."""
    values = {name: getattr(own, name) for name in ("file_id", "sha256", "rows", "folds")}
    values |= {"first_at": own.first_at, "last_at": own.last_at, "workspace": run.workspace}
    PredictionSet.objects.filter(pk=own.pk).update(path=1)
    block = {"from_at": "2024-02-04T10:00:00Z", "to_at": "2024-02-04T20:00:00Z", "samples": 99}
    for fold in run.folds.all():
        groups = (1, 2) if fold.number == 1 else (1, 3)
        fold.splits["slices"]["test"]["parts"] = [{**block, "group": group} for group in groups]
        fold.save()
    return PredictionSet.objects.create(run=run, path=2, **values)


def test_each_path_of_combinatorial_splits_has_its_chart(client, run, own):
    second = as_combinatorial(run, own)
    page = page_of(client, run)
    assert "This model, path 1" in page
    assert "This model, path 2" in page
    page = page_of(client, run, set=second.pk)
    assert "Path 1 is scored and judged" in page


def test_combinatorial_cuts_lie_on_both_sides_of_what_the_path_takes(client, run, own):
    second = as_combinatorial(run, own)

    def strip(row, name):
        drawn = chart_of(client, row)["figure"]["data"]
        return [
            cut
            for item in drawn
            if item.get("yaxis") == "y7" and item["name"] == name
            for cut in zip(item["x"], item["width"], strict=True)
        ]

    before, behind = (("2024-02-04 05:55:00", 48 * 300_000), ("2024-02-04 16:00:00", 48 * 300_000))
    # Nobody learned before group 1 and between 1 and 2; path 2 takes only group 1 of the second split.
    assert strip(own, "Purge") == [behind, before]
    assert ("2024-02-04 20:00:00", 287 * 300_000) in strip(own, "Embargo")
    assert strip(second, "Purge") == [behind]


def test_set_of_another_run_and_unknown_words_are_404(client, run, own, alice):
    other = predicted.make_predicted_run(alice.first_workspace(), predicted.minutes(13))
    foreign = other.prediction_sets.get()
    for address in (
        f"/runs/{run.pk}/predictions/?set={foreign.pk}",
        f"/runs/{run.pk}/predictions/?set=x",
        f"/runs/{run.pk}/predictions/?head=mood",
        f"/runs/{run.pk}/predictions/{foreign.pk}/of/1/chart/",
        f"/runs/{run.pk}/predictions/{foreign.pk}.csv",
        f"/runs/{run.pk}/predictions/{own.pk}/of/1/curves/mood/",
    ):
        assert client.get(address).status_code == 404


@pytest.mark.parametrize("name", ["realised_regime", "realised_risk"])
def test_api_and_csv_tell_the_class_that_came_true_and_nothing_where_it_is_unknown(
    client, run, own, name
):
    api = APIClient()
    api.force_login(run.experiment.workspace.memberships.get().user)
    span = {"from": f"{own.last_at - 19 * run.experiment.version.bar:%Y-%m-%dT%H:%M:%SZ}"}
    told = [row[name] for row in api.get(f"/api/predictions/{own.pk}/", span).json()]
    truth = stored(own)[name][-20:].tolist()
    assert told == [*truth[:12], *[None] * 8]
    assert truth[12:] == [-1] * 8 and len({*truth[:12]}) > 1
    text = b"".join(client.get(f"/runs/{run.pk}/predictions/{own.pk}.csv")).decode()
    written = [row[name] for row in csv.DictReader(text.splitlines())][-20:]
    assert written == ["" if value is None else str(value) for value in told]


def test_csv_and_parquet_hold_the_whole_set_and_are_audited(client, run, own):
    address = f"/runs/{run.pk}/predictions/{own.pk}"
    text = b"".join(client.get(f"{address}.csv")).decode()
    rows = list(csv.DictReader(text.splitlines()))
    table = stored(own)
    assert len(rows) == own.rows
    assert [float(row["action"]) for row in rows] == table["action"].tolist()
    assert rows[-1]["realised_return"] == ""
    packed = b"".join(client.get(f"{address}.parquet").streaming_content)
    assert packed == local_path(own.file).read_bytes()
    assert AuditEvent.objects.filter(action="export").count() == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (JobStatus.RUNNING, "no predictions yet"),
        (JobStatus.FAILED, "ended as failed and left no predictions"),
    ],
)
def test_run_without_predictions_says_why_and_leads_to_it(client, alice, status, words):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()), status=status)
    page = page_of(client, run)
    assert words in page
    assert f'href="/runs/{run.pk}/"' in page


def test_predictions_of_a_registered_model_have_the_same_page(client, run, own):
    registry.loadable(run)
    row = registry.make_prediction(registry.make_model(run))
    address = f"/models/{row.model_id}/predictions/{row.pk}/"
    page = client.get(address, {"head": "volatility"}).content.decode()
    assert "Predicted volatility" not in page
    assert f"{run.metrics['volatility']['r2']['value']:.3f}" in page
    assert f"{address}curves/volatility/" in page
    figure = client.get(f"{address}curves/volatility/").json()["figure"]
    assert sum(figure["data"][0]["customdata"]) == own.rows - 8
    chart = client.get(f"{address}chart/").json()["figure"]
    assert "yaxis7" in chart["layout"]
    assert not [item for item in chart["data"] if item["name"] in ("Purge", "Embargo")]


def test_model_without_scores_says_why_and_draws_no_curve(client, run, own):
    registry.loadable(run)
    row = registry.make_prediction(registry.make_model(run))
    row.metrics = {}
    row.save()
    address = f"/models/{row.model_id}/predictions/{row.pk}/"
    assert "Not scored: fewer than 200" in client.get(address).content.decode()
    figure = client.get(f"{address}curves/action/").json()["figure"]
    assert figure["layout"]["meta"]["summary"] == "Found 0 test samples; a curve needs 200."


def test_damaged_file_is_404(client, run, own):
    local_path(own.file).unlink()
    assert client.get(f"/runs/{run.pk}/predictions/{own.pk}/of/1/chart/").status_code == 404
    assert client.get(f"/runs/{run.pk}/predictions/{own.pk}/of/1/curves/risk/").status_code == 404
    assert client.get(f"/runs/{run.pk}/predictions/{own.pk}.csv").status_code == 404
