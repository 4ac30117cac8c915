from __future__ import annotations

import csv
import io
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlencode

from accounts.models import AuditEvent, Role
from artifacts.store import local_path
from jobs.models import Job
from markets.candles.difference import diff_candles
from markets.candles.frame import candles_sha256, read_candles
from markets.candles.synthetic import synthetic_candles
from markets.candles.validation import validate_candles
from markets.models import Dataset, DatasetVersion, Import
from markets.sources.reading import read_source
from markets.specs import ImportSpec
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


def page_of(client, version, **query):
    address = f"/datasets/{version.dataset_id}/versions/{version.number}/"
    return client.get(address, query).content.decode()


def post(client, version, action, **body):
    return client.post(f"{version.get_absolute_url()}{action}/", body)


# Quality


def test_a_gap_links_to_the_candles_around_it(client, version):
    gap = version.report["gaps"][0]
    page = page_of(client, version)
    assert gap["after"] == "2024-01-09T07:00:00Z"
    query = urlencode({"from": "2024-01-06T19:00Z", "to": "2024-01-12T01:00Z"})
    assert query.replace("&", "&amp;") in page
    there = client.get(f"{version.get_absolute_url()}?{query}").content.decode()
    assert "data-range" in there
    assert "2024-01-06T19:00:00Z" in there


def test_columns_used_are_named_in_the_order_of_a_candle(client, version):
    shuffled = {name: name.title() for name in ("low", "high", "open", "close", "timestamp")}
    told = {"columns": {"used": shuffled, "ignored": []}, "file": {"delimiter": ","}}
    DatasetVersion.objects.filter(pk=version.pk).update(report=version.report | told)
    shown = "timestamp ← Timestamp, open ← Open, high ← High, low ← Low, close ← Close\n"
    assert shown in page_of(client, version)
    assert "delimiter comma" in page_of(client, version)


def test_a_span_that_is_no_time_is_refused(client, version):
    assert client.get(version.get_absolute_url(), {"from": "yesterday"}).status_code == 400
    assert client.get(version.get_absolute_url(), {"at": "0000"}).status_code == 400


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31", "2024-01-20"])
def test_any_day_can_be_jumped_to(client, version, at):
    assert client.get(version.get_absolute_url(), {"at": at}).status_code == 200


def test_ranges_lead_earlier_and_later_but_not_beyond_the_ends(client, version):
    page = page_of(client, version)
    assert "Last day" in page
    assert ">Earlier<" not in page
    middle = page_of(client, version, **{"from": "2024-01-10T00:00Z", "to": "2024-01-12T00:00Z"})
    assert ">Earlier<" in middle
    assert ">Later<" in middle
    end = page_of(client, version, **{"from": "2024-02-08T00:00Z", "to": "2030-01-01T00:00Z"})
    assert ">Later<" not in end


def test_many_gaps_are_paged_and_in_either_order(client, version):
    gaps = [
        {"after": f"2024-01-{1 + i // 24:02d}T{i % 24:02d}:00:00Z", "missing_bars": 1 + i}
        for i in range(150)
    ]
    DatasetVersion.objects.filter(pk=version.pk).update(report=version.report | {"gaps": gaps})
    assert "2024-01-07 05:00 UTC" in page_of(client, version)
    assert "2024-01-07 05:00 UTC" not in page_of(client, version, gaps="time")
    assert "2024-01-07 05:00 UTC" in page_of(client, version, gaps="time", gap_page="2")
    assert client.get(version.get_absolute_url(), {"gap_page": "9"}).status_code == 404


def test_the_page_says_what_changed_against_the_version_before(client, version, workspace):
    longer = factories.make_version(workspace, candles=factories.holed_candles(days=41))
    old = read_candles(local_path(version.file), 60)
    new = read_candles(local_path(longer.file), 60)
    DatasetVersion.objects.filter(pk=longer.pk).update(difference=diff_candles(old, new))
    page = page_of(client, longer)
    assert "Against the version before" in page
    assert "The first changed bars" in page


def test_pages_of_a_dataset_need_at_most_fifteen_queries(
    client, version, workspace, django_assert_max_num_queries
):
    for number in range(3):
        factories.make_experiment(workspace, version, f"Number {number}")
    for tab in ("quality", "used", "versions"):
        with django_assert_max_num_queries(15):
            page_of(client, version, tab=tab)


# Acceptance


def test_findings_are_shown_and_accepted_with_a_reason(client, workspace):
    version = factories.make_version(workspace, findings=("Missing bars: found 4.10 %.",))
    page = page_of(client, version)
    assert "Missing bars: found 4.10 %." in page
    assert "Use in experiment" not in page
    assert post(client, version, "accept", reason=" ").status_code == 400
    assert post(client, version, "accept", reason="Known outage.").status_code == 302
    page = page_of(client, version)
    assert "Known outage." in page
    assert "Use in experiment" in page
    assert AuditEvent.objects.get(action="accept").data == {"reason": "Known outage."}
    assert post(client, version, "accept", reason="Again.").status_code == 409


def test_a_viewer_changes_nothing(client, workspace):
    version = factories.make_version(workspace, findings=("Flat.",))
    client.force_login(factories.make_user("bob", workspace, Role.VIEWER))
    for action in ("accept", "resample", "delete"):
        assert post(client, version, action, reason="x", timeframe="4h").status_code == 403
    rename = client.post(f"/datasets/{version.dataset_id}/rename/", {"name": "Mine"})
    assert rename.status_code == 403
    assert "Accept findings" not in page_of(client, version)


# Rename, resample, delete


def test_a_dataset_gets_another_name(client, version):
    address = f"/datasets/{version.dataset_id}/rename/"
    assert client.post(address, {"name": "Bitcoin, hourly"}).status_code == 302
    assert Dataset.objects.get().name == "Bitcoin, hourly"
    refused = client.post(address + "?tab=used", {"name": ""})
    assert refused.status_code == 400
    assert "name-error" in refused.content.decode()


def test_resampling_starts_one_job_for_a_double_click(client, version):
    first, second = (post(client, version, "resample", timeframe="4h", key="k") for _ in range(2))
    row = Import.objects.get()
    assert first["Location"] == second["Location"] == f"/imports/{row.pk}/"
    assert row.parent == version
    assert client.get(first["Location"]).status_code == 200


def test_a_timeframe_that_cannot_be_made_is_said_beside_the_field(client, version):
    refused = client.post(f"{version.get_absolute_url()}resample/?tab=used", {"timeframe": "15m"})
    assert refused.status_code == 400
    assert "timeframe-error" in refused.content.decode()
    assert not Job.objects.exists()


def test_an_unused_version_is_deleted_after_asking(client, version, workspace):
    longer = factories.make_version(workspace, candles=factories.holed_candles(days=41))
    asked = client.get(f"{longer.get_absolute_url()}delete/").content.decode()
    assert "will be gone for good" in asked
    answer = post(client, longer, "delete")
    assert answer["Location"] == f"/datasets/{version.dataset_id}/"
    assert AuditEvent.objects.get(action="delete").subject == str(longer)


def test_deleting_what_is_used_is_409_and_names_the_users(client, version):
    experiment = factories.make_experiment(version.workspace, version)
    for address in (
        f"{version.get_absolute_url()}delete/",
        f"/datasets/{version.dataset_id}/delete/",
    ):
        answer = client.post(address)
        assert answer.status_code == 409
        assert f"/experiments/{experiment.pk}/" in answer.content.decode()
    assert DatasetVersion.objects.exists()


def test_asking_to_delete_a_dataset_needs_as_many_queries_for_many_versions(
    client, version, workspace, django_assert_max_num_queries
):
    for days in range(41, 45):
        other = factories.make_version(workspace, candles=factories.holed_candles(days=days))
        experiment = factories.make_experiment(workspace, other, f"Over {days} days")
    with django_assert_max_num_queries(15):
        page = client.get(f"/datasets/{version.dataset_id}/delete/").content.decode()
    assert f"/experiments/{experiment.pk}/" in page


def test_a_deleted_dataset_leads_back_to_the_list(client, version):
    assert client.post(f"/datasets/{version.dataset_id}/delete/")["Location"] == "/datasets/"
    assert client.get("/datasets/").status_code == 200


# Export


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_exported_csv_reads_back_to_the_same_checksum(client, workspace, tmp_path):
    candles = synthetic_candles(days=100)
    version = factories.make_version(workspace, candles=candles)
    answer = client.get(f"{version.get_absolute_url()}candles.csv")
    path = tmp_path / "candles.csv"
    path.write_bytes(b"".join(answer))
    rows = list(csv.reader(io.StringIO(path.read_text())))
    assert rows[0] == ["timestamp", "open", "high", "low", "close", "volume"]
    assert rows[1][0] == f"{version.first_at:%Y-%m-%dT%H:%M:%SZ}"
    assert len(rows) == version.rows + 1
    spec = ImportSpec(symbol="BTCUSDT")
    read, _ = validate_candles(read_source(path, path.name, spec), spec, time.time_ns())
    assert candles_sha256(read) == version.sha256
    assert AuditEvent.objects.get(action="export").data == {"format": "csv"}


def test_exports_of_lost_candles_are_404(client, version):
    local_path(version.file).unlink()
    for name in ("candles.csv", "candles.parquet"):
        assert client.get(f"{version.get_absolute_url()}{name}").status_code == 404


# Catalogue


def test_the_list_is_filtered_by_source_timeframe_and_state(client, version, workspace):
    factories.make_version(workspace, symbol="SYN/USDT", source="synthetic")
    factories.make_version(workspace, symbol="BAD/USDT", findings=("Flat.",))
    days = synthetic_candles(days=50, timeframe_minutes=1440)
    factories.make_version(workspace, symbol="DAY/USDT", candles=days)
    assert shown(client, source="synthetic") == {"SYN/USDT"}
    assert shown(client, timeframe="1d") == {"DAY/USDT"}
    assert shown(client, state="unaccepted") == {"BAD/USDT"}
    assert shown(client, q="binance", timeframe="1h") == {"BTC/USDT", "SYN/USDT", "BAD/USDT"}


def shown(client, **query):
    page = client.get("/datasets/", query)
    return {dataset.instrument.symbol for dataset in page.context["listing"].page}


def test_an_empty_result_names_the_filter(client, version):
    page = client.get("/datasets/", {"q": "doge", "timeframe": "4h"}).content.decode()
    assert "“doge”" in page
    assert "timeframe 4h" in page


def test_links_to_orders_and_pages_keep_the_filters(client, version):
    page = client.get("/datasets/", {"timeframe": "1h", "q": "btc"}).content.decode()
    assert "?sort=rows&amp;q=btc&amp;timeframe=1h" in page


def test_the_import_of_a_deleted_version_is_no_waiting_import(client, workspace):
    factories.make_import(workspace, status="succeeded")
    failed = factories.make_import(workspace, status="failed")
    assert list(client.get("/datasets/").context["imports"]) == [failed]


def test_the_list_needs_as_many_queries_for_many_datasets(client, workspace):
    def queries():
        with CaptureQueriesContext(
            connection,
        ) as seen:
            client.get("/datasets/")
        return len(seen)

    factories.make_version(workspace)
    few = queries()
    for number in range(12):
        factories.make_version(workspace, symbol=f"A{number}/USDT")
    assert queries() == few <= 8


def test_a_hostile_name_breaks_no_page(client, workspace):
    hostile = "<script>alert(1)</script>"
    version = factories.make_version(workspace, name=hostile)
    for address in (
        "/datasets/",
        version.get_absolute_url(),
        f"{version.get_absolute_url()}delete/",
    ):
        assert hostile not in client.get(address).content.decode()
