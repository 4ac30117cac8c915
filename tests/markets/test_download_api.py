from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Role
from jobs.models import Job
from markets.models import Import, Source
from tests.api import bearer, refusal
from tests.factories import make_import, make_user, make_version

pytestmark = pytest.mark.django_db

PATH = "/api/downloads/"
BODY = {
    "venue": "binance",
    "symbol": "BTC/USDT",
    "timeframe": "5m",
    "from_at": "2024-01-01T00:00:00Z",
}


@pytest.fixture
def client(alice):
    return bearer(alice)


def asked(client, headers=None, **fields):
    return client.post(PATH, {**BODY, **fields}, format="json", headers=headers or {})


def test_download_is_queued_and_answers_at_once(client, alice):
    answer = asked(client)
    assert answer.status_code == 202
    body = answer.json()
    job = Job.objects.get()
    assert (body["status"], body["job"], job.kind) == ("queued", str(job.pk), "download")
    row = Import.objects.get(pk=body["id"])
    assert (row.source, row.download.venue, row.sent_name) == (
        Source.EXCHANGE,
        "binance",
        "BTC/USDT 5m from Binance",
    )
    assert AuditEvent.objects.get(action="download").user == alice


@pytest.mark.parametrize(
    "venue", ["http://127.0.0.1", "169.254.169.254", "binance.evil.example", "", "ftx", 7, None]
)
def test_venue_that_is_none_of_the_eight_is_refused_and_nothing_is_sent(client, venue, monkeypatch):
    def no_socket(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.getaddrinfo", no_socket)
    body = refusal(asked(client, venue=venue), 400)
    assert list(body["fields"]) == ["venue"]
    assert not Job.objects.exists()


@pytest.mark.parametrize("name", ["url", "proxy", "apiKey", "secret", "hostname"])
def test_address_or_credential_is_an_unknown_field(client, name):
    body = refusal(asked(client, **{name: "https://example.com"}), 400)
    assert list(body["fields"]) == [name]


def test_repeated_request_starts_one_download(client):
    key = {"Idempotency-Key": "once"}
    first, second = asked(client, key), asked(client, key)
    assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])
    assert second["Idempotency-Replayed"] == "true"
    assert refusal(asked(client, key, symbol="ETH/USDT"), 409)["code"] == "idempotency_conflict"
    assert AuditEvent.objects.filter(action="download").count() == 1


def test_viewer_may_not_download(alice):
    viewer = make_user("bob", alice.first_workspace(), Role.VIEWER)
    client = bearer(viewer)
    version = make_version(alice.first_workspace())
    row = make_import(alice.first_workspace())
    assert refusal(asked(client), 403)["code"] == "needs_editor"
    for path in (f"/api/datasets/{version.dataset_id}/newer/", f"/api/imports/{row.pk}/resume/"):
        assert refusal(client.post(path), 403)["code"] == "needs_editor"


def test_newer_bars_are_asked_from_the_last_bar_on(client, alice):
    version = make_version(alice.first_workspace())
    answer = client.post(f"/api/datasets/{version.dataset_id}/newer/")
    assert answer.status_code == 202
    row = Import.objects.get(pk=answer.json()["id"])
    assert (row.download.from_at, row.download.to_at) == (version.last_at, None)
    assert row.parent == version


def test_newer_bars_of_a_synthetic_dataset_are_refused(client, alice):
    version = make_version(alice.first_workspace(), source=Source.SYNTHETIC)
    body = refusal(client.post(f"/api/datasets/{version.dataset_id}/newer/"), 400)
    assert list(body["fields"]) == ["dataset"]


def test_only_a_download_that_ended_early_goes_on(client, alice):
    answer = asked(client)
    path = f"/api/imports/{answer.json()['id']}/resume/"
    assert refusal(client.post(path), 409)["code"] == "job_active"
    Job.objects.update(status="failed", ended_at=timezone.now())
    again = client.post(path)
    assert again.status_code == 202
    assert again.json()["job"] != answer.json()["job"]
    assert AuditEvent.objects.filter(action="resume").count() == 1
    upload = make_import(alice.first_workspace(), status="failed")
    refused = refusal(client.post(f"/api/imports/{upload.pk}/resume/"), 409)
    assert refused["code"] == "no_checkpoint"
