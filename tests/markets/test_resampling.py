from __future__ import annotations

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from artifacts.store import local_path
from jobs.models import Job
from markets.candles.frame import Candles, read_candles
from markets.candles.synthetic import synthetic_candles
from markets.models import Dataset, Import, Source
from markets.services.datasets import InUse, delete_version
from markets.services.imports import launch_import
from markets.services.resampling import launch_resampling, resampling_choices
from markets.specs import ImportSpec, ResampleSpec
from specs.declaration import InvalidSpec
from tests import factories
from tests.path import demo_version, run_job

pytestmark = pytest.mark.django_db(transaction=True)
PRICES = ("open", "high", "low", "close")


def imported(path, user, symbol):
    row = launch_import(
        workspace=user.first_workspace(),
        user=user,
        upload=SimpleUploadedFile(path.name, path.read_bytes()),
        spec=ImportSpec(symbol=symbol, venue="binance"),
    )
    return done(row)


def resampled(version, user, timeframe):
    return done(launch_resampling(version, user=user, spec=ResampleSpec(timeframe=timeframe)))


def done(row):
    job = run_job(row.job)
    assert job.status == "succeeded", job.message
    return Import.objects.select_related("version__dataset", "version__file").get(pk=row.pk).version


def candles_of(version):
    return read_candles(local_path(version.file), version.dataset.timeframe_minutes)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
@pytest.mark.parametrize("timeframe", ["15m", "1h"])
def test_resampled_five_minutes_equal_the_native_candles(data_folder, alice, symbol, timeframe):
    base = imported(data_folder / f"binance_{symbol}_5m.parquet", alice, symbol)
    ours = candles_of(resampled(base, alice, timeframe))
    native = candles_of(
        imported(data_folder / f"binance_{symbol}_{timeframe}.parquet", alice, symbol)
    )
    shared = np.isin(ours.time, native.time)
    assert shared.sum() == len(native) > 4000
    for name in PRICES:
        assert np.array_equal(getattr(ours, name)[shared], getattr(native, name))
    np.testing.assert_allclose(ours.volume[shared], native.volume, rtol=1e-9)


def test_a_resampled_version_says_what_it_was_made_from(alice, workspace):
    base = factories.make_version(workspace)
    version = resampled(base, alice, "4h")
    assert (version.source, version.parent, version.number) == (Source.RESAMPLED, base, 1)
    assert version.dataset.timeframe == "4h"
    assert version.dataset.instrument == base.dataset.instrument
    # 954 bars with a hole of six: four whole bars of four hours lose their other two hours.
    assert version.report["derived_from"] == {
        "dataset": base.dataset_id,
        "version": 1,
        "sha256": base.sha256,
        "timeframe": "1h",
        "bars_left_out": 954 - 4 * version.rows,
    }
    assert base.sha256[:12] in version.notices[0]["message"]


def test_a_dataset_of_that_timeframe_gets_its_next_version(alice, workspace):
    hours = synthetic_candles(days=40, timeframe_minutes=240)
    native = factories.make_version(workspace, candles=hours)
    base = factories.make_version(workspace)
    assert dict(resampling_choices(base))["4h"] == native.dataset
    assert dict(resampling_choices(base))["2h"] is None
    version = resampled(base, alice, "4h")
    assert (version.dataset, version.number) == (native.dataset, 2)
    assert Dataset.objects.get(pk=native.dataset_id).latest == version


def test_resampling_twice_gives_the_version_there_is(alice, workspace):
    base = factories.make_version(workspace)
    assert resampled(base, alice, "4h") == resampled(base, alice, "4h")
    last = Import.objects.select_related("job").latest("pk")
    assert "no new version was made" in last.job.message


def test_a_version_that_was_resampled_stays(alice, workspace):
    base = factories.make_version(workspace)
    resampled(base, alice, "4h")
    with pytest.raises(InUse, match="BTC/USDT 4h"):
        delete_version(base)


def test_resampled_synthetic_candles_stay_labelled_synthetic(alice, workspace):
    version = resampled(demo_version(workspace, alice), alice, "1h")
    assert version.source == Source.RESAMPLED
    assert version.is_synthetic


@pytest.mark.parametrize("timeframe", ["5m", "1h", "15m"])
def test_a_timeframe_that_is_no_longer_multiple_is_refused(alice, workspace, timeframe):
    base = factories.make_version(workspace)
    with pytest.raises(InvalidSpec) as refused:
        launch_resampling(base, user=alice, spec=ResampleSpec(timeframe=timeframe))
    assert "2h, 4h, 6h, 8h, 12h, 1d" in refused.value.fields["timeframe"]
    assert not Job.objects.exists()


def test_candles_without_one_whole_bar_fail_with_the_reason(alice, workspace):
    hours = factories.holed_candles().slice(3, 20)
    names = ("time", *PRICES, "volume")
    base = factories.make_version(
        workspace, candles=Candles(60, *(getattr(hours, name) for name in names))
    )
    row = launch_resampling(base, user=alice, spec=ResampleSpec(timeframe="1d"))
    job = run_job(row.job)
    assert (job.status, job.code) == ("failed", "no_rows")
    assert Dataset.objects.count() == 1


def test_changed_candles_fail_the_resampling(alice, workspace):
    base = factories.make_version(workspace)
    row = launch_resampling(base, user=alice, spec=ResampleSpec(timeframe="4h"))
    local_path(base.file).write_bytes(b"other")
    assert run_job(row.job).code == "data_changed"


def test_the_page_of_a_resampling_is_called_so(client, alice, workspace):
    client.force_login(alice)
    row = launch_resampling(
        demo_version(workspace, alice), user=alice, spec=ResampleSpec(timeframe="1h")
    )
    page = client.get(f"/imports/{row.pk}/").content.decode()
    assert f"<h1>Resampling of {row.sent_name}</h1>" in page
    assert "What was asked for" in page
    assert "Time zone" not in page
