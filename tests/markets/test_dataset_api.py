from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest

from accounts.models import AuditEvent, Scope
from artifacts.store import local_path
from jobs.models import Job
from markets.models import Acceptance, Dataset, DatasetVersion, Import
from tests import factories
from tests.api import bearer, refusal

pytestmark = pytest.mark.django_db
FINDING = "Missing bars: found 4.10 %, expected at most 2.00 %."


@pytest.fixture
def client(alice):
    return bearer(alice)


@pytest.fixture
def version(alice):
    return factories.make_version(alice.first_workspace())


@pytest.fixture
def found(alice):
    return factories.make_version(alice.first_workspace(), symbol="BAD/USDT", findings=(FINDING,))


def path(version, end=""):
    return f"/api/datasets/{version.dataset_id}/versions/{version.number}/{end}"


def test_findings_are_in_the_answer_until_they_are_accepted(client, alice, found):
    latest = client.get(f"/api/datasets/{found.dataset_id}/").json()["latest_version"]
    assert latest["needs_acceptance"]
    assert latest["findings"][0]["message"] == FINDING
    answer = client.post(path(found, "accept/"), {"reason": "Known outage."}, format="json")
    assert answer.status_code == 201
    assert answer.json()["accepted_by"] == "alice"
    assert client.get(path(found)).json()["needs_acceptance"] is False
    assert Acceptance.objects.get().reason == "Known outage."
    assert AuditEvent.objects.get(action="accept").user == alice


def test_a_second_acceptance_and_one_of_nothing_are_conflicts(client, version, found):
    body = {"reason": "Known outage."}
    client.post(path(found, "accept/"), body, format="json")
    for row in (found, version):
        answer = client.post(path(row, "accept/"), body, format="json")
        assert refusal(answer, 409)["code"] == "nothing_to_accept"


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 2001}])
def test_an_acceptance_needs_a_reason(client, found, body):
    answer = client.post(path(found, "accept/"), body, format="json")
    assert "reason" in refusal(answer, 400)["fields"]


def test_a_dataset_gets_another_name(client, version):
    address = f"/api/datasets/{version.dataset_id}/"
    assert client.patch(address, {"name": "Mine"}, format="json").json()["name"] == "Mine"
    assert "name" in refusal(client.patch(address, {"name": ""}, format="json"), 400)["fields"]
    assert "rows" in refusal(client.patch(address, {"rows": 3}, format="json"), 400)["fields"]


def test_an_unused_version_and_dataset_are_deleted(client, alice, version):
    longer = factories.make_version(
        alice.first_workspace(), candles=factories.holed_candles(days=41)
    )
    assert client.delete(path(longer)).status_code == 204
    assert Dataset.objects.get().latest == version
    assert client.delete(f"/api/datasets/{version.dataset_id}/").status_code == 204
    assert not Dataset.objects.exists()
    assert AuditEvent.objects.filter(action="delete").count() == 2


def test_what_is_used_is_409_and_the_users_are_listed(client, version):
    factories.make_experiment(version.workspace, version)
    for address in (path(version), f"/api/datasets/{version.dataset_id}/"):
        body = refusal(client.delete(address), 409)
        assert body["code"] == "in_use"
        assert body["fields"] == {"experiment": "Tiny transformer"}
    assert DatasetVersion.objects.exists()
    (use,) = client.get(path(version, "uses/")).json()
    assert (use["kind"], use["name"]) == ("experiment", "Tiny transformer")


def test_reading_tokens_change_nothing(alice, version):
    reader = bearer(alice, scope=Scope.READ)
    assert refusal(reader.delete(path(version)), 403)["code"] == "missing_scope"
    assert reader.get(path(version, "candles.csv")).status_code == 200


def test_resampling_is_a_job_that_a_key_starts_once(client, version):
    address = f"/api/datasets/{version.dataset_id}/resample/"
    answers = [
        client.post(address, {"timeframe": "4h"}, format="json", HTTP_IDEMPOTENCY_KEY="one")
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    row = Import.objects.get()
    assert (row.parent, str(row.job_id)) == (version, answers[0].json()["job"])
    assert answers[1]["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"timeframe": "15m"}, "timeframe"),
        ({"timeframe": "1h"}, "timeframe"),
        ({"timeframe": "7m"}, "timeframe"),
        ({}, "timeframe"),
        ({"timeframe": "4h", "version": 9}, "version"),
        ({"timeframe": "4h", "versoin": 1}, "versoin"),
    ],
)
def test_a_wrong_resampling_names_its_field_and_starts_nothing(client, version, body, field):
    answer = client.post(f"/api/datasets/{version.dataset_id}/resample/", body, format="json")
    assert field in refusal(answer, 400)["fields"]
    assert not Job.objects.exists()


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_candles_are_taken_away_as_csv_and_parquet(client, alice, version):
    text = b"".join(client.get(path(version, "candles.csv"), HTTP_ACCEPT="text/csv")).decode()
    assert text.count("\n") == version.rows + 1
    sealed = local_path(version.file).read_bytes()
    answer = client.get(path(version, "candles.parquet"))
    assert b"".join(answer) == sealed
    assert pq.read_table(io.BytesIO(sealed)).num_rows == version.rows
    exports = AuditEvent.objects.filter(action="export", user=alice)
    assert [event.data["format"] for event in exports.order_by("at")] == ["csv", "parquet"]


def test_lost_candles_are_409(client, version):
    local_path(version.file).unlink()
    for end in ("candles.csv", "candles.parquet"):
        assert refusal(client.get(path(version, end)), 409)["code"] == "data_changed"
