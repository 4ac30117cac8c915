from __future__ import annotations

import pytest

from accounts.models import AuditEvent
from jobs.models import Job
from tests.api import bearer, refusal
from tests.factories import make_job, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return make_user("alice")


def test_job_shows_its_state_and_its_log(alice):
    job = make_job(
        alice.first_workspace(), status="failed", code="ohlc_violation", message="Line 3 is wrong."
    )
    body = bearer(alice).get(f"/api/jobs/{job.pk}/").json()
    assert (body["status"], body["code"], body["message"]) == (
        "failed",
        "ohlc_violation",
        "Line 3 is wrong.",
    )
    assert body["attempt"] == 1
    assert [line["text"] for line in body["log"]] == ["It has begun.", "A step was slow."]
    for name in ("created_at", "started_at", "ended_at", "heartbeat_at"):
        assert body[name].endswith("Z")
    assert body["log"][0]["at"].endswith("Z")


def test_queued_job_says_where_it_stands(alice):
    make_job(alice.first_workspace(), status="queued")
    second = make_job(alice.first_workspace(), status="queued")
    body = bearer(alice).get(f"/api/jobs/{second.pk}/").json()
    assert body["message"].startswith("Waiting: position")
    assert body["attempt"] is None
    assert body["heartbeat_at"] is None


def test_cancel_of_a_queued_job_ends_it_and_is_audited(alice):
    job = make_job(alice.first_workspace(), status="queued")
    answer = bearer(alice).post(f"/api/jobs/{job.pk}/cancel/")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert AuditEvent.objects.filter(action="cancel", subject=str(job.pk)).count() == 1


def test_cancel_of_a_running_job_may_be_repeated(alice):
    job = make_job(alice.first_workspace(), status="running")
    client = bearer(alice)
    statuses = [client.post(f"/api/jobs/{job.pk}/cancel/").json()["status"] for _ in range(2)]
    assert statuses == ["cancelling", "cancelling"]


@pytest.mark.parametrize("status", ["succeeded", "failed", "errored", "cancelled"])
def test_cancel_of_an_ended_job_is_a_conflict(alice, status):
    job = make_job(alice.first_workspace(), status=status)
    answer = bearer(alice).post(f"/api/jobs/{job.pk}/cancel/")
    assert refusal(answer, 409)["code"] == "job_finished"
    assert Job.objects.get().status == status


def test_list_needs_the_same_queries_for_any_number_of_jobs(alice, django_assert_max_num_queries):
    for _ in range(5):
        make_job(alice.first_workspace(), status="queued")
    client = bearer(alice)
    client.get("/api/jobs/")
    with django_assert_max_num_queries(8):
        assert client.get("/api/jobs/").json()["count"] == 5
