"""Upload, preview, confirmation and correction through the API, with the jobs run here."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models import F

from accounts.models import AuditEvent, Role, Scope
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus
from markets.models import Dataset, DatasetVersion, Import
from markets.services.datasets import delete_version
from markets.services.imports import dataset_to_extend, forget_old_uploads
from tests.api import bearer, refusal
from tests.factories import make_user
from tests.path import run_job

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/imports/"
HEADER = "timestamp,open,high,low,close,volume"


def csv(hours, header=HEADER, **changed):
    rows = [f"2024-01-01T{hour:02d}:00:00Z,10,12,9,11,{hour}" for hour in hours]
    for name, row in changed.items():
        rows[int(name.removeprefix("row"))] = row
    return "\n".join([header, *rows, ""]).encode()


GOOD = csv(range(6))
RENAMED = csv(range(6), header="Zeit,Auf,Hoch,Tief,Zu,Menge")
MAP = dict(
    zip(
        ("timestamp", "open", "high", "low", "close", "volume"),
        ("Zeit", "Auf", "#3", "#4", "Zu", "Menge"),
        strict=True,
    )
)


@pytest.fixture
def client(alice):
    return bearer(alice)


def post(client, content=GOOD, path=PATH, **fields):
    file = SimpleUploadedFile("candles.csv", content)
    return client.post(path, {"file": file, "symbol": "BTC/USDT", **fields})


def staged(client, content=GOOD, path=PATH, **fields):
    """The import as the API shows it once its first job has ended."""
    answer = post(client, content, path, **fields)
    assert answer.status_code == 202, answer.content
    return finished(client, answer.json())


def finished(client, body):
    run_job(Job.objects.get(pk=body["job"]))
    return client.get(f"{PATH}{body['id']}/").json()


def confirm(client, body, data=None, path="confirm", **headers):
    return client.post(f"{PATH}{body['id']}/{path}/", data or {}, format="json", **headers)


def confirmed(client, content=GOOD, **fields):
    body = staged(client, content, **fields)
    return finished(client, confirm(client, body).json())


def test_staged_file_is_previewed_and_imports_nothing(client):
    body = staged(client, venue="binance")
    assert Job.objects.get().kind == JobKind.DETECT
    assert (body["status"], body["awaits_confirmation"]) == ("succeeded", True)
    preview = body["preview"]
    assert (preview["timeframe"], preview["format"], preview["is_refused"]) == ("1h", "csv", False)
    assert len(preview["rows"]) == 6
    assert (body["settings"]["venue"], body["dataset"]) == ("binance", None)
    assert not Dataset.objects.exists()


def test_confirmed_file_becomes_a_version(client, alice):
    body = staged(client)
    answer = confirm(client, body, {"venue": "kraken"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert not answer.json()["awaits_confirmation"]
    done = finished(client, answer.json())
    assert (done["status"], done["version"]) == ("succeeded", 1)
    assert Dataset.objects.get().instrument.venue == "kraken"
    assert Import.objects.get().upload is None
    actions = AuditEvent.objects.filter(user=alice).order_by("at").values_list("action", flat=True)
    assert list(actions) == ["upload", "confirm"]


def test_head_that_would_be_refused_is_a_finding_of_the_preview(client):
    body = staged(client, csv(range(6), row3="2024-01-01T03:00:00Z,10,8,9,11,3"))
    assert body["status"] == "succeeded"
    assert body["preview"]["is_refused"]
    (problem,) = body["preview"]["problems"]
    assert (problem["code"], problem["line"]) == ("ohlc_violation", 5)
    assert "Line 5" in body["message"]


def test_failed_import_is_corrected_by_mapping_without_sending_the_file_again(client):
    body = staged(client, RENAMED, path="/api/datasets/")
    assert (body["status"], body["code"]) == ("failed", "columns_not_found")
    assert body["preview"]["header"] == ["Zeit", "Auf", "Hoch", "Tief", "Zu", "Menge"]
    assert len(body["preview"]["sample"]) == 5
    assert body["awaits_confirmation"]
    done = finished(client, confirm(client, body, {"column_map": MAP}).json())
    assert (done["status"], done["version"]) == ("succeeded", 1)


def test_preview_can_be_asked_again_with_other_settings(client):
    body = staged(client, RENAMED)
    assert body["preview"]["is_refused"]
    answer = confirm(client, body, {"column_map": MAP}, "preview")
    seen = finished(client, answer.json())
    assert not seen["preview"]["is_refused"]
    assert (seen["settings"]["column_map"], seen["dataset"]) == (MAP, None)


def test_nothing_to_confirm_is_409_with_the_reason(client):
    body = post(client).json()
    assert refusal(confirm(client, body), 409)["code"] == "job_active"
    run_job(Job.objects.get())
    run_job(Job.objects.get(pk=confirm(client, body).json()["job"]))
    assert refusal(confirm(client, body), 409)["code"] == "already_imported"
    assert refusal(confirm(client, body, path="preview"), 409)["code"] == "already_imported"


def test_upload_of_yesterday_is_gone_and_says_so(client):
    body = staged(client)
    Job.objects.update(ended_at=F("ended_at") - timedelta(hours=25))
    assert forget_old_uploads() == 1
    assert refusal(confirm(client, body), 409)["code"] == "upload_expired"
    assert not client.get(f"{PATH}{body['id']}/").json()["awaits_confirmation"]


def test_same_key_confirms_once(client):
    body = staged(client)
    answers = [confirm(client, body, HTTP_IDEMPOTENCY_KEY="go") for _ in range(2)]
    assert [answer.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
    assert answers[0].json()["job"] == answers[1].json()["job"]
    other = confirm(client, body, {"venue": "okx"}, HTTP_IDEMPOTENCY_KEY="go")
    assert refusal(other, 409)["code"] == "idempotency_conflict"


def test_key_of_the_upload_is_remembered_after_the_confirmation(client):
    def send():
        file = SimpleUploadedFile("candles.csv", GOOD)
        content = {"file": file, "symbol": "BTC/USDT"}
        return client.post(PATH, content, HTTP_IDEMPOTENCY_KEY="stage")

    body = send().json()
    run_job(Job.objects.get())
    confirm(client, body)
    again = send()
    assert (again.status_code, again["Idempotency-Replayed"]) == (202, "true")
    assert again.json()["id"] == body["id"]
    assert Import.objects.count() == 1


def test_wrong_setting_is_named_and_changes_nothing(client):
    body = staged(client)
    assert "timezone" in refusal(confirm(client, body, {"timezone": "Mars/Base"}), 400)["fields"]
    fields = refusal(confirm(client, body, {"timefame": "1h"}), 400)["fields"]
    assert 'did you mean "timeframe"?' in fields["timefame"]
    assert client.post(f"{PATH}{body['id']}/confirm/", [1], format="json").status_code == 400
    assert Job.objects.count() == 1


def test_viewer_and_reader_may_look_but_not_confirm(client, alice):
    body = staged(client)
    viewer = bearer(make_user("bob", alice.first_workspace(), Role.VIEWER))
    assert viewer.get(f"{PATH}{body['id']}/").status_code == 200
    assert refusal(confirm(viewer, body), 403)["code"] == "needs_editor"
    assert confirm(bearer(alice, scope=Scope.READ), body).status_code == 403
    assert refusal(confirm(bearer(make_user("charlie")), body), 404)["code"] == "not_found"


def test_list_shows_the_imports_without_their_previews(
    client, alice, django_assert_max_num_queries
):
    for _ in range(3):
        staged(client)
    with django_assert_max_num_queries(8):
        body = client.get(PATH).json()
    assert body["count"] == 3
    assert "preview" not in body["results"][0]
    assert bearer(make_user("charlie")).get(PATH).json()["count"] == 0


def test_longer_file_makes_the_next_version_and_tells_what_it_adds(client, alice):
    done = confirmed(client)
    body = staged(client, csv(range(9)))
    assert dataset_to_extend(Import.objects.get(pk=body["id"])).pk == done["dataset"]
    longer = finished(client, confirm(client, body).json())
    assert (longer["dataset"], longer["version"]) == (done["dataset"], 2)
    shown = client.get(f"/api/datasets/{done['dataset']}/versions/2/").json()
    assert shown["difference"]["added"] == {"before": 0, "inside": 0, "after": 3}
    assert shown["difference"]["is_extension"]
    assert "history_changed" not in {notice["code"] for notice in shown["notices"]}


def test_changed_and_vanished_bars_are_noticed_with_their_count(client):
    done = confirmed(client)
    assert done["version"] == 1
    rows = [hour for hour in range(9) if hour != 4]
    confirmed(client, csv(rows, row2="2024-01-01T02:00:00Z,10,12,9,11,999"))
    shown = client.get(f"/api/datasets/{done['dataset']}/versions/2/").json()
    (notice,) = [item for item in shown["notices"] if item["code"] == "history_changed"]
    assert notice["count"] == 2
    assert "1 changed, 1 vanished" in notice["message"]
    assert notice in shown["report"]["notices"]


def test_newer_part_alone_is_no_changed_history(client):
    done = confirmed(client)
    confirmed(client, csv(range(4, 9)))
    shown = client.get(f"/api/datasets/{done['dataset']}/versions/2/").json()
    assert (shown["difference"]["removed_bars"], shown["difference"]["removed_inside"]) == (4, 0)
    assert "history_changed" not in {notice["code"] for notice in shown["notices"]}


def test_equal_candles_are_the_version_there_is(client):
    done = confirmed(client)
    again = confirmed(client, GOOD.replace(b",", b";"))
    assert (again["dataset"], again["version"]) == (done["dataset"], 1)
    assert "no new version was made" in again["message"]
    assert DatasetVersion.objects.get().difference is None
    assert Import.objects.get(pk=again["id"]).found_known_candles
    assert not Import.objects.get(pk=done["id"]).found_known_candles


def test_detection_that_was_stopped_can_still_be_imported(client):
    body = post(client).json()
    Job.objects.update(status=JobStatus.CANCELLED, ended_at=F("created_at"))
    assert client.get(f"{PATH}{body['id']}/").json()["awaits_confirmation"]
    assert finished(client, confirm(client, body).json())["version"] == 1


def test_confirmations_at_the_same_moment_start_one_job(alice, client):
    row = staged(client)

    def confirm(_):
        try:
            return bearer(alice).post(f"{PATH}{row['id']}/confirm/", {}, format="json").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(confirm, range(6))) == [202, *[409] * 5]
    assert Job.objects.filter(kind=JobKind.IMPORT).count() == 1


def test_the_number_of_a_deleted_version_is_not_given_again(client):
    def imported(hours):
        row = finished(client, post(client, csv(range(hours)), "/api/datasets/").json())
        return DatasetVersion.objects.get(dataset=row["dataset"], number=row["version"])

    imported(6)
    delete_version(imported(7))
    assert imported(8).number == 3


def test_an_upload_that_finds_the_disk_full_is_refused_and_leaves_nothing(client, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(default_storage, "save", full)
    answer = post(client)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert not Import.objects.exists()
    assert not Job.objects.exists()
