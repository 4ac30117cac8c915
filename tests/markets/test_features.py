"""The features job: one at a time, its report, and what happens once the cache is emptied."""

from __future__ import annotations

import os
import shutil

import pytest

from jobs.services import request_cancel
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from markets.feature_reading import is_stored, report_of
from markets.features import stretches
from markets.models import FeatureReport
from markets.pipeline import features as feature_pipeline
from markets.services.datasets import delete_version, uses_of
from markets.services.features import evict_features, launch_features
from tests import factories
from tests.path import run_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def cache(settings, tmp_path, monkeypatch):
    """An empty cache, and a certificate at six bars."""
    settings.FEATURE_CACHE = tmp_path / "features"
    monkeypatch.setattr(stretches.certify_history, "__kwdefaults__", few_bars())
    return settings.FEATURE_CACHE


def few_bars():
    return {**stretches.certify_history.__kwdefaults__, "bars": 6}


@pytest.fixture
def version(alice):
    candles = synthetic_candles(days=60, timeframe_minutes=60)
    return factories.make_version(alice.first_workspace(), candles=candles)


def computed(version, user):
    report, _ = launch_features(version, user=user)
    job = run_job(report.job)
    assert job.status == JobStatus.SUCCEEDED, job.message
    return FeatureReport.objects.get(pk=report.pk)


def test_a_finished_job_leaves_summary_certificate_and_cache(version, alice):
    report = computed(version, alice)
    assert is_stored(version)
    assert set(report.summary["scales"]) == {"1", "3", "6", "12"}
    assert len(report.summary["scales"]["1"]["features"]) == 67
    assert report.certificate["passed"]
    assert report.certificate["bars_tested"] == 6


def test_asking_twice_makes_one_job(version, alice):
    first, was_queued = launch_features(version, user=alice)
    second, again = launch_features(version, user=alice)
    assert (was_queued, again) == (True, False)
    assert first.job_id == second.job_id


def test_computed_features_are_not_computed_again(version, alice):
    report = computed(version, alice)
    assert launch_features(version, user=alice) == (report, False)


def test_an_emptied_cache_is_filled_by_a_new_job_of_the_same_report(version, alice, cache):
    report = computed(version, alice)
    shutil.rmtree(cache)
    again, was_queued = launch_features(version, user=alice)
    assert (again.pk, was_queued) == (report.pk, True)
    assert again.job_id != report.job_id
    assert run_job(again.job).status == JobStatus.SUCCEEDED
    assert is_stored(version)


def test_a_cancelled_job_can_be_asked_for_again(version, alice):
    report, _ = launch_features(version, user=alice)
    request_cancel(report.job, user=alice)
    _, was_queued = launch_features(version, user=alice)
    assert was_queued


def test_a_version_is_not_deleted_while_its_features_are_computed(version, alice):
    launch_features(version, user=alice)
    assert [use.kind for use in uses_of([version])] == ["job"]


def test_features_do_not_keep_a_version_once_they_are_computed(version, alice):
    computed(version, alice)
    delete_version(version)
    assert not FeatureReport.objects.exists()


def test_a_short_history_is_described_but_not_certified(alice):
    candles = synthetic_candles(days=5, timeframe_minutes=60)
    version = factories.make_version(alice.first_workspace(), candles=candles)
    report = computed(version, alice)
    assert (report.certificate["passed"], report.certificate["bars_tested"]) == (False, 0)
    assert "too few bars to certify" in report.job.message


def test_a_feature_that_knows_the_future_fails_the_job(version, alice, monkeypatch):
    found = {"passed": False, "bars_tested": 6, "features": [], "maps": []}
    monkeypatch.setattr(feature_pipeline, "certify_history", lambda *_, **__: found)
    report, _ = launch_features(version, user=alice)
    job = run_job(report.job)
    assert (job.status, job.code) == (JobStatus.FAILED, "causality")
    assert report_of(version).certificate == found


def test_the_cleaning_keeps_the_cache_below_its_limit(version, alice, cache, settings):
    computed(version, alice)
    settings.FEATURE_CACHE_BYTES = 0
    assert evict_features() == 0  # used just now
    for index in cache.glob("*/index.json"):
        os.utime(index, (0, 0))
    assert evict_features() == 4
    assert not is_stored(version)
