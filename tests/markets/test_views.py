from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import AuditEvent, Role
from artifacts.store import local_path
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus
from markets.models import Dataset, Import, Source
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]

CSV = b"timestamp,open,high,low,close,volume\n" + b"".join(
    b"2024-01-01T0%d:00:00Z,1,2,0.5,1.5,10\n" % hour for hour in range(5)
)


def send(client, content=CSV, name="candles.csv", **fields):
    body = {
        "file": SimpleUploadedFile(name, content),
        "symbol": "BTC/USDT",
        "kind": "spot",
        "timeframe": "auto",
        "timestamp_unit": "auto",
        "timezone": "UTC",
        "on_violation": "reject",
        "key": "one",
        **fields,
    }
    return client.post("/datasets/new/", body)


def test_the_list_shows_timeframe_range_and_missing_bars(client, version):
    page = client.get("/datasets/").content.decode()
    assert "1h" in page
    assert "2024-01-01" in page
    assert "2024-02-09" in page
    assert "0.62\u00a0%" in page


def test_the_list_needs_at_most_eight_queries(client, workspace, django_assert_max_num_queries):
    for name in ("AAA/USDT", "BBB/USDT", "CCC/USDT"):
        factories.make_version(workspace, symbol=name)
    with django_assert_max_num_queries(8):
        client.get("/datasets/")


def test_a_search_without_result_offers_to_clear_it(client, version):
    page = client.get("/datasets/", {"q": "doge"}).content.decode()
    assert "No dataset fits “doge”" in page
    assert "Clear the search" in page


def test_a_synthetic_dataset_is_labelled_on_list_and_page(client, workspace):
    version = factories.make_version(workspace, source=Source.SYNTHETIC)
    assert "synthetic" in client.get("/datasets/").content.decode()
    page = client.get(f"/datasets/{version.dataset_id}/").content.decode()
    assert "nothing to predict" in page


def test_the_quality_tab_says_what_is_missing_in_words(client, version):
    page = client.get(f"/datasets/{version.dataset_id}/").content.decode()
    assert "1 gap, 6 of 960 bars missing (0.62\u00a0%); nothing altered." in page


def test_the_page_names_the_experiments_that_use_a_version(client, version):
    experiment = factories.make_experiment(version.workspace, version)
    page = client.get(f"/datasets/{version.dataset_id}/?tab=used").content.decode()
    assert f"/experiments/{experiment.pk}/" in page


def test_the_candle_chart_is_a_figure_with_a_summary(client, version):
    answer = client.get(f"/datasets/{version.dataset_id}/versions/1/chart/")
    figure = answer.json()["figure"]
    assert figure["data"][0]["type"] == "candlestick"
    assert len(figure["data"][0]["x"]) == version.rows
    assert "UTC" in figure["layout"]["meta"]["summary"]


def test_the_chart_can_be_zoomed_and_refuses_nonsense(client, version):
    address = f"/datasets/{version.dataset_id}/versions/1/chart/"
    part = client.get(address, {"from": "2024-01-02", "to": "2024-01-03"}).json()
    assert len(part["figure"]["data"][0]["x"]) == 24
    assert client.get(address, {"from": "yesterday"}).status_code == 400


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1 no more PAR1")]
)
def test_the_chart_of_candles_that_are_gone_or_damaged_is_404(client, version, damage):
    damage(local_path(version.file))
    answer = client.get(f"/datasets/{version.dataset_id}/versions/1/chart/")
    assert answer.status_code == 404
    candles = client.get(f"/api/datasets/{version.dataset_id}/versions/1/candles/")
    assert (candles.status_code, candles.json()["code"]) == (409, "data_changed")


def test_the_table_twin_shows_the_ends_of_the_chart(client, version):
    address = f"/datasets/{version.dataset_id}/versions/1/chart/"
    drawn = client.get(address).json()["figure"]["data"][0]["x"]
    rows = client.get(address, {"as": "rows"}).content.decode()
    assert drawn[0] in rows
    assert drawn[-1] in rows
    assert client.get(address, {"as": "table"}).content.decode().count("<h1>") == 1


def test_the_candles_can_be_downloaded(client, version):
    answer = client.get(f"/datasets/{version.dataset_id}/versions/1/candles.parquet")
    assert b"".join(answer.streaming_content)[:4] == b"PAR1"


def test_an_upload_queues_a_preview_and_opens_its_page(client, workspace):
    answer = send(client)
    row = Import.objects.get(workspace=workspace)
    assert answer.headers["Location"] == f"/imports/{row.pk}/"
    assert (row.job.kind, row.job.status) == (JobKind.DETECT, JobStatus.QUEUED)


def test_a_double_click_makes_one_import(client, workspace):
    first, second = send(client), send(client)
    assert first.headers["Location"] == second.headers["Location"]
    assert Job.objects.filter(workspace=workspace).count() == 1


def test_an_empty_file_is_refused_beside_the_field_and_keeps_what_was_typed(client, workspace):
    answer = send(client, content=b"", venue="binance")
    page = answer.content.decode()
    assert answer.status_code == 400
    assert 'id="id_file_error"' in page
    assert 'value="binance"' in page
    assert not Import.objects.exists()


def test_text_named_parquet_is_refused_beside_the_field(client, workspace):
    answer = send(client, name="candles.parquet")
    assert answer.status_code == 400
    assert 'id="id_file_error"' in answer.content.decode()
    assert not Job.objects.exists()


def test_a_bad_symbol_is_named_beside_the_field(client, workspace):
    answer = send(client, symbol="no symbol!")
    assert answer.status_code == 400
    assert 'id="id_symbol_error"' in answer.content.decode()


def test_demo_data_is_one_click(client, workspace):
    answer = client.post("/datasets/demo/", {"key": "demo"})
    assert AuditEvent.objects.get().action == "demo"
    row = Import.objects.get(workspace=workspace)
    assert answer.headers["Location"] == f"/imports/{row.pk}/"
    assert row.source == Source.SYNTHETIC


def test_a_failed_import_shows_code_line_and_the_form_again(client, workspace):
    row = factories.make_import(
        workspace, status=JobStatus.FAILED, code="ohlc_violation", message="Line 812: high < low."
    )
    page = client.get(f"/imports/{row.pk}/").content.decode()
    assert "ohlc_violation" in page
    assert "Line 812: high &lt; low." in page
    assert "this one is gone" in page
    assert not Dataset.objects.exists()


def test_a_running_import_polls_and_an_ended_one_stops(client, workspace):
    running = factories.make_import(workspace)
    assert client.get(f"/imports/{running.pk}/status/").status_code == 200
    ended = factories.make_import(workspace, status=JobStatus.SUCCEEDED)
    assert client.get(f"/imports/{ended.pk}/status/").status_code == 286


def test_a_hostile_file_name_is_shown_as_text(client, workspace):
    row = factories.make_import(workspace)
    Import.objects.filter(pk=row.pk).update(sent_name="<script>alert(1)</script>.csv")
    page = client.get(f"/imports/{row.pk}/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_viewer_cannot_upload(client, workspace):
    client.force_login(factories.make_user("bob", workspace, Role.VIEWER))
    assert client.get("/datasets/new/").status_code == 403
    assert send(client).status_code == 403
    assert "/datasets/new/" not in client.get("/datasets/").content.decode()


@pytest.mark.parametrize(
    "end", ["", "versions/1/", "versions/1/chart/", "versions/1/candles.parquet"]
)
def test_a_stranger_gets_404_for_a_dataset(client, version, end):
    client.force_login(factories.make_user("charlie"))
    assert client.get(f"/datasets/{version.dataset_id}/{end}").status_code == 404


def test_a_stranger_gets_404_for_an_import(client, workspace):
    row = factories.make_import(workspace)
    client.force_login(factories.make_user("charlie"))
    assert client.get(f"/imports/{row.pk}/").status_code == 404
    assert client.get(f"/imports/{row.pk}/status/").status_code == 404
