import socket
import time

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from embedded.lock import RunningUp, UpLock
from jobs.models import Job
from jobs.statuses import JobStatus
from tests import factories
from web import health

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


def test_an_empty_workspace_is_shown_the_three_steps(client, alice):
    page = client.get("/").content.decode()
    assert "From candles to a verdict" in page
    assert "Load demo data" in page


def test_the_dashboard_shows_what_runs_and_the_last_verdicts(client, alice):
    workspace = alice.first_workspace()
    backtest = factories.make_backtest(factories.make_run(factories.make_experiment(workspace)))
    factories.make_job(workspace, status=JobStatus.RUNNING, message="Fold 2 of 4")
    page = client.get("/").content.decode()
    assert "Fold 2 of 4" in page
    assert f"/backtests/{backtest.pk}/" in page
    assert "From candles to a verdict" not in page


def test_the_dashboard_names_what_each_job_works_on_and_running_ones_first(client, alice):
    workspace = alice.first_workspace()
    for _ in range(12):
        factories.make_job(workspace, status=JobStatus.QUEUED)
    run = factories.make_run(
        factories.make_experiment(workspace, name="Hourly"), status=JobStatus.RUNNING
    )
    page = client.get("/").content.decode()
    assert f'<a href="/runs/{run.pk}/">Hourly, seed 0</a>' in page
    assert page.count('<span class="muted">—</span>') >= 9


def test_the_dashboard_asks_as_often_for_many_jobs_as_for_one(client, alice):
    """Each waiting job says behind which other it waits."""
    experiment = factories.make_experiment(alice.first_workspace())

    def asked() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            client.get("/")
        return [query["sql"] for query in queries.captured_queries]

    def add_waiting(seed: int) -> None:
        run = factories.make_run(experiment, seed=seed, status=JobStatus.QUEUED)
        Job.objects.filter(pk=factories.make_backtest(run).job_id).update(
            status=JobStatus.QUEUED, ended_at=None, after=run.job
        )

    add_waiting(0)
    asked()  # what is kept for the next request
    one = asked()
    for seed in range(1, 5):
        add_waiting(seed)
    many = asked()
    assert len(many) == len(one)
    of_jobs = [sql for sql in many if '"jobs_job"' in sql]
    assert any('"backtests_studyvariant"."place"' in sql for sql in of_jobs)
    assert not any(column in sql for sql in of_jobs for column in ("causality", "comparison"))


def test_a_visitor_is_sent_to_sign_in(client):
    assert client.get("/").headers["Location"].startswith("/login/")


def test_a_stranger_sees_nothing_of_another_workspace_on_the_dashboard(client, alice):
    other = factories.make_user("charlie").first_workspace()
    factories.make_job(other, status=JobStatus.RUNNING, message="Secret work")
    assert "Secret work" not in client.get("/").content.decode()


def test_the_glossary_explains_every_measure(client, alice):
    page = client.get("/help/glossary/").content.decode()
    for anchor in ("m-sharpe", "m-max_drawdown", "h-auc", "verdict", "holdout"):
        assert f'id="{anchor}"' in page


def test_healthz_asks_no_database(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.get("/healthz").json() == {"status": "ok"}


def test_readyz_is_degraded_without_workers(client, monkeypatch):
    monkeypatch.setitem(health.CHECKS, "broker", lambda: "")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["checks"]["database"]["ok"]
    assert not answer.json()["checks"]["workers"]["ok"]


def test_readyz_is_503_without_the_database(client, monkeypatch):
    def away() -> str:
        raise OperationalError("connection refused")

    monkeypatch.setitem(health.CHECKS, "database", away)
    monkeypatch.setitem(health.CHECKS, "broker", lambda: "")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["detail"].startswith("OperationalError")


@pytest.fixture
def silent_database(monkeypatch):
    """A server that takes connections and never says a word, as a stopped Postgres does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(connection.settings_dict, "PORT", str(server.getsockname()[1]))
        yield


@pytest.mark.parametrize(
    ("limit_s", "said"), [(health.ANSWER_S, "ConnectionTimeout"), (0.2, "no answer within 0.2 s")]
)
def test_readyz_is_503_in_time_while_the_database_is_silent(
    client, monkeypatch, silent_database, limit_s, said
):
    monkeypatch.setitem(health.CHECKS, "broker", lambda: "")
    monkeypatch.setattr(health, "ANSWER_S", limit_s)
    begun = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - begun < limit_s + 1
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert checks["database"]["detail"].startswith(said)
    assert not checks["workers"]["ok"]
    assert list(checks) == list(health.CHECKS)


@pytest.fixture
def up(settings, tmp_path):
    """The lock and the note of an `up` on a state folder of its own."""
    settings.STATE = tmp_path
    lock = UpLock(tmp_path)
    assert lock.acquire()
    yield lock
    lock.release()


def test_readyz_and_dashboard_name_the_services_that_keep_dying(client, alice, up, monkeypatch):
    monkeypatch.setitem(health.CHECKS, "broker", lambda: "")
    up.tell(RunningUp(1, "x", is_ready=True, troubled=("beat", "worker-data")))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    check = answer.json()["checks"]["services"]
    assert check == {"ok": False, "detail": "keep dying: beat, worker-data; see logs/up.log"}
    assert "keep dying: beat" in client.get("/").content.decode()


def test_services_that_live_on_are_no_trouble(client, up):
    up.tell(RunningUp(1, "x", is_ready=True))
    assert health.services() == ""
    up.release()
    assert health.services() == ""


def test_the_theme_switch_works_without_javascript(client):
    answer = client.post("/theme/", {"next": "/login/"})
    assert answer.cookies["theme"].value == "light"
    assert answer.headers["Location"] == "/login/"
    assert 'data-theme="light"' in client.get("/login/").content.decode()


def test_the_theme_switch_redirects_to_this_site_only(client):
    answer = client.post("/theme/", {"next": "https://elsewhere.example/"})
    assert answer.headers["Location"] == "/"


def test_no_page_has_inline_script_or_handlers(client, alice):
    page = client.get("/").content.decode()
    assert "onclick" not in page
    assert "hx-on" not in page
    assert page.count("<script") == page.count("<script src=")


def test_an_unknown_address_is_a_page_with_a_request_id(client, alice):
    answer = client.get("/nothing/")
    assert answer.status_code == 404
    assert answer.headers["X-Request-ID"] in answer.content.decode()
