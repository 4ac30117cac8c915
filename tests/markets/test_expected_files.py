"""The table of the import contract, row by row: a file sent to the API, its job run, its dataset read."""

from __future__ import annotations

import pytest
from django.core.files.base import File

from jobs.models import Job
from markets.models import Dataset
from tests.api import bearer
from tests.factories import make_user
from tests.markets.sources.test_development_files import FILES
from tests.path import run_job

pytestmark = pytest.mark.django_db(transaction=True)

NOTICES = {
    "raw/binance_klines_noheader_ADABTC-1m-2021-11-27.csv": {"no_header": 1},
    "raw/cryptodatadownload_Coinbase_BTCUSD_1h.csv": {"banner_skipped": 1, "sorted": 1},
    "raw/cryptodatadownload_v2_BTC_USD-Hourly.csv": {"sorted": 1, "volume_unit_switched": 20_143},
}
UNITS = {"raw/binance_klines_BTCUSDT-1h-2023-01.csv": "ms"}
WITHOUT_CANDLES = (
    "raw/freqtrade_public_trades_list.csv",
    "raw/tardis_binance-futures_book_snapshot_5_BTCUSDT.csv",
)


@pytest.fixture
def client():
    return bearer(make_user("alice"))


def ended(client, path):
    """The import of a file as the API shows it once its job has ended."""
    with path.open("rb") as file:
        sent = {"file": File(file, path.name), "symbol": "BTC/USD"}
        answer = client.post("/api/datasets/", sent)
    assert answer.status_code == 202, answer.content
    run_job(Job.objects.get(pk=answer.json()["job"]))
    return client.get(f"/api/imports/{answer.json()['id']}/").json()


@pytest.mark.parametrize(
    ("name", "timeframe", "rows", "gaps", "missing", "zero", "outliers", "sha256"),
    FILES,
    ids=[row[0] for row in FILES],
)
def test_file_becomes_a_dataset_with_its_stated_figures(
    client, data_folder, name, timeframe, rows, gaps, missing, zero, outliers, sha256
):
    body = ended(client, data_folder / name)
    assert (body["status"], body["version"]) == ("succeeded", 1), body["message"]
    dataset = client.get(f"/api/datasets/{body['dataset']}/").json()
    version = client.get(f"/api/datasets/{body['dataset']}/versions/1/").json()
    assert (dataset["timeframe"], version["rows"]) == (timeframe, rows)
    assert (version["gap_count"], version["missing_bars"]) == (gaps, missing)
    assert (version["zero_volume_bars"], version["report"]["outlier_count"]) == (zero, outliers)
    assert version["sha256"][:12] == sha256
    counts = {notice["code"]: notice["count"] for notice in version["notices"]}
    assert counts.items() >= NOTICES.get(name, {}).items()
    unit = version["report"]["timestamp"]["unit"]
    assert unit == UNITS.get(name, unit)


@pytest.mark.parametrize("name", WITHOUT_CANDLES)
def test_file_without_candles_is_refused_and_leaves_no_dataset(client, data_folder, name):
    body = ended(client, data_folder / name)
    assert (body["status"], body["code"]) == ("failed", "columns_not_found")
    assert "open, high, low, close" in body["message"]
    assert not Dataset.objects.exists()
