from datetime import timedelta

import pytest
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.html import strip_tags

from accounts.models import Role
from jobs import views
from jobs.models import Job, JobLogLine
from jobs.statuses import JobStatus
from markets.models import Import
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def running(alice):
    return factories.make_job(alice.first_workspace(), status=JobStatus.RUNNING)


def test_the_list_shows_queues_and_jobs(client, running):
    page = client.get("/jobs/").content.decode()
    assert f"/jobs/{running.pk}/" in page
    assert "no worker" in page


def test_the_list_needs_at_most_eight_queries_however_long_it_is(
    client, alice, django_assert_max_num_queries
):
    for _ in range(12):
        factories.make_job(alice.first_workspace())
    with django_assert_max_num_queries(8):
        client.get("/jobs/")


def test_a_job_shows_its_attempts_events_and_log(client, running):
    page = client.get(f"/jobs/{running.pk}/").content.decode()
    assert "It has begun." in page
    assert "Claimed" in page


def test_the_log_is_filtered_on_the_server(client, running):
    page = client.get(f"/jobs/{running.pk}/", {"level": "warning"}).content.decode()
    assert "A step was slow." in page
    assert "It has begun." not in page


def test_the_page_of_a_job_that_went_wrong_opens_on_the_end_of_its_log(client, running):
    running.log_lines.all().delete()
    rows = (
        JobLogLine(job=running, number=n, at=timezone.now(), level="info", text=f"Line <{n}>")
        for n in range(1, 61)
    )
    JobLogLine.objects.bulk_create(rows)
    address = f"/jobs/{running.pk}/"
    assert client.get(address).content.decode().count("Line &lt;") == 60
    Job.objects.filter(pk=running.pk).update(status=JobStatus.FAILED, ended_at=timezone.now())
    page = client.get(address).content.decode()
    assert page.count("Line &lt;") == 50
    assert "Line &lt;60&gt;" in page
    assert '<a href="?level=#log">' in page
    assert client.get(address, {"level": ""}).content.decode().count("Line &lt;") == 60


def test_the_log_can_be_downloaded(client, running):
    answer = client.get(f"/jobs/{running.pk}/log/")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "warning A step was slow." in answer.content.decode()


def test_the_live_box_polls_while_the_job_runs(client, running):
    answer = client.get(f"/jobs/{running.pk}/status/")
    assert answer.status_code == 200
    assert 'hx-trigger="every 2s"' in answer.content.decode()
    assert len(answer.content) <= 4096


def test_an_unchanged_live_box_is_304(client, alice):
    job = factories.make_job(alice.first_workspace(), status=JobStatus.QUEUED)
    first = client.get(f"/jobs/{job.pk}/status/")
    again = client.get(f"/jobs/{job.pk}/status/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_the_live_box_stops_when_the_job_has_ended(client, alice):
    job = factories.make_job(alice.first_workspace(), status=JobStatus.FAILED, message="Line 3.")
    answer = client.get(f"/jobs/{job.pk}/status/")
    assert answer.status_code == 286
    assert "hx-trigger" not in answer.content.decode()
    assert "Line 3." in answer.content.decode()


def test_cancel_asks_the_job_to_stop(client, running):
    assert client.post(f"/jobs/{running.pk}/cancel/").status_code == 302
    assert Job.objects.get(pk=running.pk).status == JobStatus.CANCELLING


def test_cancel_of_an_ended_job_says_so(client, alice):
    job = factories.make_job(alice.first_workspace())
    page = client.post(f"/jobs/{job.pk}/cancel/", follow=True).content.decode()
    assert "already ended" in page


def test_a_viewer_sees_no_cancel_and_is_refused(client, running):
    bob = factories.make_user("bob", running.workspace, Role.VIEWER)
    client.force_login(bob)
    assert "Stop it" not in client.get(f"/jobs/{running.pk}/").content.decode()
    assert client.post(f"/jobs/{running.pk}/cancel/").status_code == 403


@pytest.mark.parametrize("end", ["", "status/", "log/"])
def test_a_stranger_gets_404(client, running, end):
    client.force_login(factories.make_user("charlie"))
    assert client.get(f"/jobs/{running.pk}/{end}").status_code == 404


def test_a_stranger_cannot_cancel(client, running):
    client.force_login(factories.make_user("charlie"))
    assert client.post(f"/jobs/{running.pk}/cancel/").status_code == 404


def test_an_unknown_sort_or_page_is_404(client, alice):
    assert client.get("/jobs/?sort=password").status_code == 404
    assert client.get("/jobs/?page=99").status_code == 404


def test_a_job_that_ends_while_a_page_reads_stands_beside_what_it_left(alice, monkeypatch):
    workspace = alice.first_workspace()
    row = factories.make_import(workspace, status=JobStatus.RUNNING)
    reads = []

    def read_then_end(rows, **wanted):
        reads.append(get_object_or_404(rows, **wanted))
        Import.objects.filter(pk=row.pk).update(preview={"rows_read": 864})
        Job.objects.filter(pk=row.job_id).update(
            status=JobStatus.SUCCEEDED, ended_at=timezone.now()
        )
        return reads[-1]

    monkeypatch.setattr(views, "get_object_or_404", read_then_end)
    seen = views.with_job(Import.objects.filter(pk=row.pk))
    assert len(reads) == 2
    assert seen.preview == {"rows_read": 864}
    assert not seen.job.is_terminal


def attempt_of(job, *, started_s_ago: float = 0.0, **values):
    now = timezone.now()
    return job.attempts.create(
        number=2,
        worker=job.pk,
        host="here",
        pid=2,
        started_at=now - timedelta(seconds=started_s_ago),
        progress_at=now,
        **values,
    )


def live_box(client, job) -> str:
    page = client.get(f"/jobs/{job.pk}/status/").content.decode()
    return strip_tags(page).replace("\u00a0", " ")


@pytest.fixture
def retried(running):
    """A job at 42 % whose first attempt was lost."""
    running.attempts.update(ended_at=timezone.now())
    return running


def test_the_time_left_counts_from_the_start_of_the_last_attempt(client, retried):
    # 42 % in 42 s of this attempt; the first claim of the job was 95 s ago.
    attempt_of(retried, started_s_ago=42)
    assert "about 58 s left" in live_box(client, retried)


def test_what_earlier_attempts_have_done_says_nothing_of_the_pace(client, retried):
    attempt = attempt_of(retried, started_s_ago=42, told={"found_done": 0.35})
    assert "about 5 min 48 s left" in live_box(client, retried)
    attempt.told = {"found_done": 0.40}
    attempt.save()
    assert " left" not in live_box(client, retried)


def test_an_attempt_that_has_told_nothing_yet_has_no_time_left(client, retried):
    attempt = attempt_of(retried, started_s_ago=42)
    attempt.progress_at = None
    attempt.save()
    assert " left" not in live_box(client, retried)


def test_steps_tell_the_time_they_need_at_most_or_nothing(client, retried):
    attempt = attempt_of(retried, started_s_ago=42, told={"left_s": 125.0})
    assert "at most 2 min 05 s of training steps left" in live_box(client, retried)
    attempt.told = {"left_s": None}
    attempt.save()
    assert " left" not in live_box(client, retried)
