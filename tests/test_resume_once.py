"""Every request of the API that goes on with ended work starts it once for its Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Q
from django.utils import timezone

from accounts.models import AuditEvent, User, Workspace
from jobs.models import Job
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from tests.api import bearer, refusal
from tests.factories import make_experiment, make_run, make_version

pytestmark = pytest.mark.django_db

Request = tuple[str, dict[str, Any]]


def space_of(alice: User) -> Workspace:
    workspace = alice.first_workspace()
    assert workspace is not None
    return workspace


def end_everything() -> None:
    open_jobs = Job.objects.exclude(status=JobStatus.SUCCEEDED)
    open_jobs.update(status=JobStatus.FAILED, ended_at=timezone.now())


def resume_of_a_run(alice: User) -> Request:
    run = make_run(make_experiment(space_of(alice)), status=JobStatus.CANCELLED)
    return f"/api/runs/{run.pk}/resume/", {}


def resume_of_a_download(alice: User) -> Request:
    body = {"symbol": "BTC/USDT", "venue": "binance", "timeframe": "5m"}
    start = (timezone.now() - timedelta(days=3)).isoformat()
    made = bearer(alice).post("/api/downloads/", body | {"from_at": start}, format="json")
    assert made.status_code == 202, made.content
    end_everything()
    return f"/api/imports/{made.json()['id']}/resume/", {}


def resume_of_a_study(alice: User) -> Request:
    workspace = space_of(alice)
    version = make_version(workspace, candles=synthetic_candles(days=100, timeframe_minutes=5))
    body = {"experiment": make_experiment(workspace, version).pk, "seeds": [0]}
    made = bearer(alice).post("/api/studies/", body | {"variants": ["bias_off"]}, format="json")
    assert made.status_code == 202, made.content
    assert bearer(alice).post(f"/api/studies/{made.json()['id']}/cancel/").status_code == 202
    return f"/api/studies/{made.json()['id']}/resume/", {}


def second_scoring_of_a_holdout(alice: User) -> Request:
    run = make_run(make_experiment(space_of(alice)))
    path = f"/api/experiments/{run.experiment_id}/holdout/"
    body = {"run": run.pk, "name": run.experiment.name}
    assert bearer(alice).post(path, body, format="json").status_code == 202
    end_everything()
    return path, body


RESUMES = (
    resume_of_a_run,
    resume_of_a_download,
    resume_of_a_study,
    second_scoring_of_a_holdout,
)


def ask(alice: User, request: Request, key: str) -> Any:
    path, body = request
    return bearer(alice).post(path, body, format="json", headers={"Idempotency-Key": key})


@pytest.mark.parametrize("ended", RESUMES, ids=lambda ended: ended.__name__)
def test_a_repeated_request_goes_on_once(alice: User, ended: Callable[[User], Request]) -> None:
    request = ended(alice)
    first = ask(alice, request, "once")
    assert first.status_code == 202, first.content
    jobs, events = Job.objects.count(), AuditEvent.objects.count()
    for _ in range(2):
        again = ask(alice, request, "once")
        assert again.status_code == 202, again.content
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json() == first.json()
    assert (Job.objects.count(), AuditEvent.objects.count()) == (jobs, events)
    assert Job.objects.get(~Q(idempotency_key="")).idempotency_key == "once"


@pytest.mark.parametrize("ended", RESUMES, ids=lambda ended: ended.__name__)
def test_a_request_with_another_key_is_told_that_it_goes_on_already(
    alice: User, ended: Callable[[User], Request]
) -> None:
    request = ended(alice)
    assert ask(alice, request, "once").status_code == 202
    body = refusal(ask(alice, request, "twice"), 409)
    assert body["code"] in ("job_active", "job_finished", "already_opened")


@pytest.mark.parametrize("ended", RESUMES, ids=lambda ended: ended.__name__)
def test_the_key_of_other_work_is_refused_and_nothing_goes_on(
    alice: User, ended: Callable[[User], Request]
) -> None:
    other = make_experiment(space_of(alice))
    launched = ask(alice, (f"/api/experiments/{other.pk}/runs/", {}), "taken")
    assert launched.status_code == 202, launched.content
    Job.objects.update(status=JobStatus.SUCCEEDED, ended_at=timezone.now())
    request = ended(alice)
    jobs = Job.objects.count()
    assert refusal(ask(alice, request, "taken"), 409)["code"] == "idempotency_conflict"
    assert Job.objects.count() == jobs


def test_the_key_of_an_earlier_resume_names_the_newest_job(alice: User) -> None:
    request = resume_of_a_run(alice)
    first = ask(alice, request, "once").json()["id"]
    end_everything()
    later = ask(alice, request, "later").json()["id"]
    assert ask(alice, request, "once").json()["id"] == later != first
