"""A leak alarm keeps verdicts back until an editor explains it, and stays beside them afterwards."""

import json

import pytest

from accounts.models import AuditEvent, Role
from backtests.models import Backtest
from backtests.pipeline import run_backtest
from backtests.services import launch_backtest
from backtests.specs import BacktestSpec
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.workers import claimant
from tests import factories
from tests.api import bearer, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
REASON = "all folds: accuracy 0.710 is above 0.580, with 900 effective samples."
TEXT = "The candles are a <b>test signal</b> that we planted."


@pytest.fixture
def run(alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    run.leak_alarm = {"raised": True, "reasons": [REASON]}
    run.save()
    return run


@pytest.fixture
def withheld(run):
    return launched(run, "Look")


def launched(run, name, **policy):
    """A further backtest of the run, made by the job's own body."""
    row = launch_backtest(
        workspace=run.workspace,
        user=run.workspace.memberships.get().user,
        name=name,
        run=run,
        spec=BacktestSpec.parse({"policy": policy}),
    )
    run_backtest(row, RunningAttempt(claim(row.job_id, claimant())))
    return Backtest.objects.get(pk=row.pk)


def explain(client, run, text=TEXT):
    return client.post(f"/runs/{run.pk}/explanation/", {"text": text})


def test_the_page_of_the_run_asks_for_an_explanation_and_hides_the_verdicts(client, run):
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert REASON in page
    assert "Explain the alarm" in page
    assert "Not better than logistic" not in page


def test_an_explanation_shows_the_verdicts_and_stays_beside_the_alarm(client, run, withheld):
    assert withheld.verdict == "withheld"
    assert explain(client, run).status_code == 302
    page = client.get(f"/runs/{run.pk}/").content.decode()
    shown = Backtest.objects.get(pk=withheld.pk)
    report = client.get(f"/backtests/{withheld.pk}/").content.decode()
    assert shown.verdict == shown.report["verdict"]["word"] == "undecided"
    assert shown.report["verdict"]["deciding"] in shown.report["verdict"]["comparisons"]
    for text in (page, report):
        assert REASON in text
        assert "test signal" in text
        assert "<b>test signal</b>" not in text
        assert "by alice" in text
    assert "Not better than logistic" in page
    assert "Verdict withheld" not in report
    assert "Leak alarm" in [badge["label"] for badge in shown.report["badges"]]


def test_nothing_that_is_withheld_is_told_in_any_answer(client, run, withheld):
    sentence = withheld.withheld["sentence"]
    api = bearer(run.workspace.memberships.get().user)
    answers = [
        client.get(f"/backtests/{withheld.pk}/"),
        client.get(f"/backtests/{withheld.pk}/report.json"),
        client.get("/backtests/"),
        client.get("/"),
        client.get("/trials/"),
        client.get(f"/runs/{run.pk}/"),
        client.get(f"/experiments/{run.experiment_id}/"),
        client.get("/experiments/"),
        client.get(f"/jobs/{withheld.job_id}/"),
        api.get(f"/api/backtests/{withheld.pk}/"),
        api.get(f"/api/runs/{run.pk}/"),
        api.get(f"/api/jobs/{withheld.job_id}/"),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert sentence not in answer.content.decode()
        assert "ndecided" not in answer.content.decode()


def test_a_backtest_after_the_explanation_has_its_verdict_at_once(client, run):
    explain(client, run)
    row = launched(run, "Later")
    assert (row.verdict, row.withheld) == ("undecided", {})
    document = json.loads(client.get(f"/backtests/{row.pk}/report.json").content)
    assert document["run"]["alarm_explanation"] == TEXT
    assert document["run"]["leak_alarm"]["raised"]


def test_every_version_of_an_explanation_is_in_the_audit(client, run):
    explain(client, run)
    explain(client, run, "Rather this.")
    events = AuditEvent.objects.filter(action="explain_alarm").order_by("at")
    assert [event.data["text"] for event in events] == [TEXT, "Rather this."]
    assert [event.user.username for event in events] == ["alice", "alice"]
    assert events[0].data["reasons"] == [REASON]
    assert "Rather this." in client.get(f"/runs/{run.pk}/").content.decode()


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 5001])
def test_an_explanation_without_words_or_without_end_is_refused(client, run, text):
    answer = explain(client, run, text)
    assert answer.status_code == 400
    assert "expected" in answer.content.decode()
    body = refusal(
        bearer(run.workspace.memberships.get().user).post(
            f"/api/runs/{run.pk}/explanation/", {"text": text}, format="json"
        ),
        400,
    )
    assert "text" in body["fields"]
    run.refresh_from_db()
    assert run.is_withheld


def test_the_api_explains_by_the_same_rules(run, withheld):
    api = bearer(run.workspace.memberships.get().user)
    path = f"/api/runs/{run.pk}/explanation/"
    assert api.get(f"/api/runs/{run.pk}/").json()["verdict"] is None
    body = api.post(path, {"text": TEXT}, format="json").json()
    assert body["alarm_explanation"] == TEXT
    assert body["leak_alarm"]["reasons"] == [REASON]
    assert api.get(f"/api/runs/{run.pk}/").json()["verdict"] == run.verdict
    assert api.get(f"/api/backtests/{withheld.pk}/").json()["verdict"] == "undecided"
    assert "reason" in refusal(api.post(path, {"reason": "x"}, format="json"), 400)["fields"]


def test_a_viewer_may_read_but_not_explain(client, run):
    viewer = factories.make_user("victor", run.workspace, Role.VIEWER)
    client.force_login(viewer)
    assert "Explain the alarm" not in client.get(f"/runs/{run.pk}/").content.decode()
    assert explain(client, run).status_code == 403
    answer = bearer(viewer).post(f"/api/runs/{run.pk}/explanation/", {"text": TEXT}, format="json")
    assert refusal(answer, 403)["code"] == "needs_editor"


def test_a_stranger_finds_no_such_run(client, run):
    charlie = factories.make_user("charlie")
    client.force_login(charlie)
    assert explain(client, run).status_code == 404
    path = f"/api/runs/{run.pk}/explanation/"
    refusal(bearer(charlie).post(path, {"text": TEXT}, format="json"), 404)
    assert not AuditEvent.objects.filter(action="explain_alarm").exists()


def test_where_no_alarm_was_raised_there_is_nothing_to_explain(client, alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    assert explain(client, run).status_code == 409
    path = f"/api/runs/{run.pk}/explanation/"
    assert refusal(bearer(alice).post(path, {"text": TEXT}, format="json"), 409)["code"] == (
        "no_alarm"
    )


def test_an_alarm_that_comes_later_keeps_back_what_was_shown_before(run):
    run.leak_alarm = {"raised": False, "reasons": []}
    run.save()
    shown = launched(run, "Before")
    assert shown.verdict == "undecided"
    run.leak_alarm = {"raised": True, "reasons": [REASON]}
    run.save()
    launched(run, "After", side="long_only")
    shown = Backtest.objects.get(pk=shown.pk)
    assert (shown.verdict, shown.withheld["word"]) == ("withheld", "undecided")
