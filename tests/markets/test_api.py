from __future__ import annotations

import gzip
import io
import json

import pyarrow.parquet as pq
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import AuditEvent
from artifacts.models import StoredFile
from artifacts.store import local_path
from jobs.models import Job
from markets.models import Dataset, Import
from tests.api import bearer, raw_post, refusal
from tests.factories import make_user, make_version

pytestmark = pytest.mark.django_db

PATH = "/api/datasets/"
ROWS = "timestamp,open,high,low,close,volume\n" + "".join(
    f"2024-01-01T0{hour}:00:00Z,10,12,9,11,5\n" for hour in range(4)
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture
def client(alice):
    return bearer(alice)


def sent(content=ROWS.encode(), name="candles.csv", **fields):
    return {"file": SimpleUploadedFile(name, content), "symbol": "BTC/USDT", **fields}


def test_upload_is_queued_and_answers_at_once(client, alice):
    answer = client.post(PATH, sent(venue="binance", timeframe="1h"))
    assert answer.status_code == 202
    body = answer.json()
    job = Job.objects.get()
    assert (body["status"], body["job"], body["dataset"]) == ("queued", str(job.pk), None)
    row = Import.objects.get(pk=body["id"])
    assert (row.spec.symbol, row.spec.venue, row.sent_name) == (
        "BTC/USDT",
        "binance",
        "candles.csv",
    )
    assert local_path(row.upload).read_bytes() == ROWS.encode()
    assert client.get(f"/api/imports/{row.pk}/").json()["status"] == "queued"
    assert AuditEvent.objects.get(action="upload").user == alice


@pytest.mark.parametrize("fields", [{}, {"venue": ""}, {"venue": " "}])
def test_an_upload_without_a_venue_takes_the_one_that_its_name_begins_with(client, fields):
    answer = client.post(PATH, sent(name="kraken_BTCUSDT.csv", **fields))
    assert Import.objects.get(pk=answer.json()["id"]).spec.venue == "kraken"
    answer = client.post(PATH, sent(name="BTCUSDT.csv", **fields))
    assert Import.objects.get(pk=answer.json()["id"]).spec.venue == ""


@pytest.mark.parametrize(
    ("content", "name", "status", "code"),
    [
        (b"", "candles.csv", 400, "empty_file"),
        (ROWS.encode(), "candles.parquet", 400, "extension_mismatch"),
        (PNG, "candles.csv", 415, "unsupported_type"),
        (b"PK\x03\x04" + bytes(40), "candles.zip", 415, "unsupported_type"),
        (b"\x80\x04\x95" + bytes(40), "model.pkl", 415, "unsupported_type"),
        (gzip.compress(PNG), "candles.csv.gz", 415, "unsupported_type"),
    ],
)
def test_file_is_refused_by_its_look_and_leaves_nothing(client, content, name, status, code):
    body = refusal(client.post(PATH, sent(content, name)), status)
    assert body["code"] == code
    assert list(body["fields"]) == ["file"]
    assert_nothing_left()


def assert_nothing_left():
    assert not Job.objects.exists()
    assert not Import.objects.exists()
    assert not Dataset.objects.exists()
    assert not StoredFile.objects.exists()
    scratch = settings.STATE / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir())


def test_file_over_the_limit_is_413_and_leaves_nothing(client, settings):
    settings.UPLOAD_MAX_BYTES = 100
    assert refusal(client.post(PATH, sent()), 413)["code"] == "too_large"
    assert_nothing_left()


def test_quota_of_stored_bytes_is_429_and_leaves_nothing(client, settings):
    settings.QUOTA_STORED_BYTES = 50
    assert refusal(client.post(PATH, sent()), 429)["code"] == "quota_stored"
    assert_nothing_left()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"symbol": "not a symbol!"}, "symbol"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": "BTC\x00"}, "symbol"),
        ({"venue": "http://127.0.0.1"}, "venue"),
        ({"kind": "option"}, "kind"),
        ({"timeframe": "7m"}, "timeframe"),
        ({"timestamp_unit": "minutes"}, "timestamp_unit"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"on_violation": "ignore"}, "on_violation"),
        ({"column_map": "{"}, "column_map"),
        ({"column_map": "[" * 100_000}, "column_map"),
        ({"column_map": "[]"}, "column_map"),
        ({"column_map": '{"open": "a", "open": "b"}'}, "column_map"),
        ({"column_map": '{"open": "a\\u0000"}'}, "column_map"),
        ({"column_map": '{"price": "a"}'}, "column_map"),
        ({"column_map": '{"open": 3}'}, "column_map.open"),
        ({"timefame": "1h"}, "timefame"),
        ({"symbol": ["BTCUSDT", "ETHUSDT"]}, "symbol"),
    ],
)
def test_wrong_field_is_named_and_leaves_nothing(client, fields, named):
    assert named in refusal(client.post(PATH, sent(**fields)), 400)["fields"]
    assert_nothing_left()


def test_unknown_field_comes_with_a_guess(client):
    fields = refusal(client.post(PATH, sent(timefame="1h")), 400)["fields"]
    assert 'did you mean "timeframe"?' in fields["timefame"]


def test_missing_symbol_and_missing_file_are_named(client):
    content = {"file": SimpleUploadedFile("a.csv", ROWS.encode())}
    assert list(refusal(client.post(PATH, content), 400)["fields"]) == ["symbol"]
    assert list(refusal(client.post(PATH, {"symbol": "BTC"}), 400)["fields"]) == ["file"]
    assert list(refusal(client.post(PATH, {"file": "text", "symbol": "B1"}), 400)["fields"]) == [
        "file"
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
    ],
)
def test_damaged_form_is_400(client, body):
    refusal(raw_post(client, PATH, body, "multipart/form-data; boundary=x"), 400)
    refusal(raw_post(client, PATH, body, "multipart/form-data"), 400)
    assert_nothing_left()


def test_form_with_too_many_or_too_large_fields_is_refused(client):
    many = {f"f{number}": "1" for number in range(1100)}
    refusal(client.post(PATH, many), 400)
    refusal(client.post(PATH, {"symbol": "x" * 2_000_000}), 413)
    assert_nothing_left()


def test_sent_name_is_text_only(client):
    content = sent(name="a\u202e<b>.csv")
    row = Import.objects.get(pk=client.post(PATH, content).json()["id"])
    assert row.sent_name == "a<b>.csv"
    assert "a<b>" not in row.upload.key


def test_same_key_and_file_start_one_import(client):
    answers = [client.post(PATH, sent(), HTTP_IDEMPOTENCY_KEY="key-1") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert "Idempotency-Replayed" not in answers[0]
    assert answers[1]["Idempotency-Replayed"] == "true"
    assert Job.objects.count() == Import.objects.count() == AuditEvent.objects.count() == 1


@pytest.mark.parametrize("other", [{"content": ROWS.encode() + b"\n"}, {"timeframe": "1h"}])
def test_same_key_with_another_body_is_a_conflict(client, other):
    client.post(PATH, sent(), HTTP_IDEMPOTENCY_KEY="key-1")
    answer = client.post(PATH, sent(**other), HTTP_IDEMPOTENCY_KEY="key-1")
    assert refusal(answer, 409)["code"] == "idempotency_conflict"
    assert Job.objects.count() == 1


def test_key_belongs_to_one_workspace(client):
    client.post(PATH, sent(), HTTP_IDEMPOTENCY_KEY="key-1")
    other = bearer(make_user("charlie")).post(PATH, sent(), HTTP_IDEMPOTENCY_KEY="key-1")
    assert other.status_code == 202
    assert "Idempotency-Replayed" not in other


def test_dataset_shows_its_latest_version(client, alice):
    version = make_version(alice.first_workspace())
    body = client.get(f"{PATH}{version.dataset_id}/").json()
    latest = body.pop("latest_version")
    assert body == {
        "id": version.dataset_id,
        "name": version.dataset.name,
        "symbol": "BTC/USDT",
        "venue": "binance",
        "kind": "spot",
        "timeframe": "1h",
    }
    assert (latest["number"], latest["rows"], latest["sha256"]) == (1, 954, version.sha256)
    assert (latest["gap_count"], latest["missing_bars"], latest["duplicates_dropped"]) == (1, 6, 3)
    assert latest["first_at"].endswith("Z")
    assert client.get(PATH).json()["results"][0]["latest_version"] == latest


def test_candles_come_whole_or_aggregated(client, alice):
    version = make_version(alice.first_workspace())
    path = f"{PATH}{version.dataset_id}/versions/1/candles/"
    whole = client.get(path).json()
    assert (len(whole["time"]), whole["aggregated"], whole["timeframe"]) == (954, False, "1h")
    assert whole["time"][0] == f"{version.first_at:%Y-%m-%dT%H:%M:%SZ}"
    stored = pq.read_table(io.BytesIO(local_path(version.file).read_bytes()))
    assert whole["close"] == stored["close"].to_pylist()
    few = client.get(f"{path}?max=10").json()
    assert few["aggregated"]
    assert 1 <= len(few["time"]) <= 10
    assert max(few["high"]) == max(whole["high"])
    assert sum(few["volume"]) == pytest.approx(sum(whole["volume"]))


def test_span_of_candles_is_half_open(client, alice):
    version = make_version(alice.first_workspace())
    path = f"{PATH}{version.dataset_id}/versions/1/candles/"
    times = client.get(f"{path}?from=2024-01-05T00:00:00Z&to=2024-01-05T03:00:00Z").json()["time"]
    assert times == [f"2024-01-05T0{hour}:00:00Z" for hour in range(3)]
    assert client.get(f"{path}?from=2024-01-05T02:00:00%2B02:00&max=1").json()["time"] == times[:1]
    assert client.get(f"{path}?from=2030-01-01").json()["time"] == []
    assert client.get(f"{path}?from=2024-01-09&to=2024-01-05").json()["time"] == []


@pytest.mark.parametrize(
    "query",
    [
        "max=0",
        "max=2001",
        "max=-1",
        "max=0000000011999",
        "max=%00",
        "max=" + "9" * 5000,
        "from=yesterday",
        "from=%00",
        "to=2024-13-01",
        "limit=3",
    ],
)
def test_wrong_range_names_the_parameter(client, alice, query):
    version = make_version(alice.first_workspace())
    answer = client.get(f"{PATH}{version.dataset_id}/versions/1/candles/?{query}")
    assert query.split("=")[0] in refusal(answer, 400)["fields"]


def test_extreme_instants_are_no_error(client, alice):
    version = make_version(alice.first_workspace())
    path = f"{PATH}{version.dataset_id}/versions/1/candles/"
    for query in (
        "from=0001-01-01&to=9999-12-31",
        "from=0001-01-01T00:00:00%2B23:00&to=9999-12-31T23:59:59-23:00",
    ):
        assert len(client.get(f"{path}?{query}").json()["time"]) == 954


def test_failed_import_says_why(client, alice):
    body = client.post(PATH, sent()).json()
    Job.objects.update(
        status="failed", ended_at="2024-01-01T00:00Z", code="ohlc_violation", message="Line 3."
    )
    shown = client.get(f"/api/imports/{body['id']}/").json()
    assert (shown["status"], shown["code"], shown["message"]) == (
        "failed",
        "ohlc_violation",
        "Line 3.",
    )


def test_lists_need_few_queries(client, alice, django_assert_max_num_queries):
    for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT"):
        make_version(alice.first_workspace(), symbol=symbol)
    with django_assert_max_num_queries(8):
        assert client.get(PATH).json()["count"] == 3


def test_answer_is_plain_json(client, alice):
    make_version(alice.first_workspace())
    json.loads(client.get(PATH).content, parse_constant=pytest.fail)
