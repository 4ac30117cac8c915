"""The features for programs: catalogue, values, files, report, and who may have them computed."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.test import Client

from accounts.models import Role
from jobs.models import Job
from markets.candles.synthetic import synthetic_candles
from markets.features import stretches
from markets.features.compute import compute_features
from markets.features.registry import FEATURES
from markets.services.features import launch_features
from tests import factories
from tests.path import run_job

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = "rsi_14,ret_1"


@pytest.fixture(autouse=True)
def cache(settings, tmp_path, monkeypatch):
    settings.FEATURE_CACHE = tmp_path / "features"
    defaults = {**stretches.certify_history.__kwdefaults__, "bars": 2}
    monkeypatch.setattr(stretches.certify_history, "__kwdefaults__", defaults)
    return settings.FEATURE_CACHE


@pytest.fixture
def version(alice):
    candles = synthetic_candles(days=60, timeframe_minutes=60)
    return factories.make_version(alice.first_workspace(), candles=candles)


@pytest.fixture
def computed(version, alice):
    report, _ = launch_features(version, user=alice)
    assert run_job(report.job).status == "succeeded"
    return version


@pytest.fixture
def ask(alice):
    return asking(alice)


def asking(user):
    client = Client()
    client.force_login(user)
    return lambda version, query="": client.get(
        f"/api/datasets/{version.dataset_id}/versions/{version.number}/features/{query}"
    )


def test_the_catalogue_has_all_67(client, alice):
    client.force_login(alice)
    found = client.get("/api/features/").json()
    assert found["count"] == len(found["results"]) == 67
    assert found["results"][0] == {
        "name": "rsi_14",
        "family": "core_technical",
        "formula": "RSI(C, 14)/50 − 1; 0 while C has never changed",
        "inputs": ["C"],
        "warm_up": 200,
        "warm_up_days": 0,
    }


def test_values_are_those_of_the_code(computed, ask):
    found = ask(computed, f"?names={NAMES}&max=2000").json()
    candles = factories.candles_of(computed)
    expected = compute_features(candles, ("rsi_14", "ret_1"), (1,)).base.values
    assert list(found["features"]) == ["rsi_14", "ret_1"]
    values = np.array(found["features"]["ret_1"], dtype=float)
    np.testing.assert_array_equal(values.astype(np.float32), expected[1])
    assert found["features"]["rsi_14"][:200] == [None] * 200
    assert found["time"][0].endswith("Z")
    assert (found["aggregated"], found["timeframe"]) == (False, "1h")


def test_a_span_and_a_scale_can_be_asked_for(computed, ask):
    day = computed.first_at.strftime("%Y-%m-%d")
    found = ask(computed, f"?names=ret_1&scale=12&from={day}T00:00Z").json()
    assert (found["scale"], found["timeframe"]) == (12, "12h")
    assert len(found["time"]) == 120


def test_too_many_bars_are_answered_as_every_nth(computed, ask):
    found = ask(computed, "?names=ret_1&max=100").json()
    assert (found["every"], found["aggregated"], len(found["time"])) == (15, True, 96)


def test_all_features_fit_into_one_answer(computed, ask):
    answer = ask(computed)
    assert len(answer.json()["features"]) == 67
    assert len(answer.content) < 1_000_000


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ("?names=rsi14", "names", 'did you mean "rsi_14"?'),
        ("?scale=5", "scale", "expected one of 1, 3, 6, 12"),
        ("?max=2000", "max", "expected at most 597"),
        ("?max=0", "max", "expected 1 to 2000"),
        ("?from=soon", "from", "expected a time"),
        ("?name=rsi_14", "name", "unknown parameter"),
    ],
)
def test_what_is_wrong_with_the_request_is_named(computed, ask, query, field, text):
    answer = ask(computed, query)
    assert answer.status_code == 400
    assert text in answer.json()["fields"][field]


def test_a_file_has_all_bars_of_the_names_asked_for(computed, ask):
    answer = ask(computed, f"?names={NAMES}&format=parquet")
    table = pq.read_table(io.BytesIO(b"".join(answer.streaming_content)))
    assert table.column_names == ["timestamp", "rsi_14", "ret_1"]
    assert table.num_rows == computed.rows
    everything = ask(computed, "?format=parquet")
    table = pq.read_table(io.BytesIO(b"".join(everything.streaming_content)))
    assert table.column_names == ["timestamp", *FEATURES]


def test_what_is_not_computed_is_queued_once(version, ask):
    first, second = ask(version, "?names=ret_1"), ask(version, "?format=parquet")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["job"] == second.json()["job"]
    assert Job.objects.filter(kind="features").count() == 1


def test_an_emptied_cache_is_filled_again_on_request(computed, ask, cache):
    shutil.rmtree(cache)
    answer = ask(computed, "?names=ret_1")
    assert answer.status_code == 202
    assert run_job(Job.objects.get(pk=answer.json()["job"])).status == "succeeded"
    assert ask(computed, "?names=ret_1").status_code == 200


def test_a_viewer_reads_values_but_has_none_computed(version, alice, cache):
    bob = factories.make_user("bob", alice.first_workspace(), Role.VIEWER)
    answer = asking(bob)(version)
    assert (answer.status_code, answer.json()["code"]) == (403, "needs_editor")
    assert not Job.objects.exists()
    report, _ = launch_features(version, user=alice)
    run_job(report.job)
    assert asking(bob)(version).status_code == 200


def test_the_report_has_summary_and_certificate(computed, ask):
    found = ask(computed, "report/").json()
    assert found["status"] == "succeeded"
    assert found["certificate"]["passed"]
    assert len(found["summary"]["correlation"]["matrix"]) == 67


def test_a_report_that_was_never_made_is_queued(version, ask):
    assert ask(version, "report/").status_code == 202


def test_the_report_outlives_the_cache(computed, ask, cache):
    shutil.rmtree(cache)
    assert ask(computed, "report/").status_code == 200


def test_a_stranger_finds_nothing(computed):
    assert asking(factories.make_user("charlie"))(computed).status_code == 404


def test_a_scale_whose_bar_is_no_timeframe_is_named_in_minutes(alice, ask):
    candles = synthetic_candles(days=20, timeframe_minutes=15)
    version = factories.make_version(alice.first_workspace(), candles=candles)
    report, _ = launch_features(version, user=alice)
    assert run_job(report.job).status == "succeeded"
    assert ask(version, "?names=ret_1&scale=3").json()["timeframe"] == "45m"
