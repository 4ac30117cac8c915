"""The catalogue of features and the tab of a dataset version, in all its states."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from accounts.models import Role
from jobs.models import Job
from markets.candles.aggregate import aggregate_candles
from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles
from markets.feature_charts import correlation_figure, feature_figure, histogram_path
from markets.features import stretches
from markets.features.compute import compute_features
from markets.services.features import launch_features
from tests import factories
from tests.path import run_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def cache(settings, tmp_path, monkeypatch):
    settings.FEATURE_CACHE = tmp_path / "features"
    defaults = {**stretches.certify_history.__kwdefaults__, "bars": 2}
    monkeypatch.setattr(stretches.certify_history, "__kwdefaults__", defaults)
    return settings.FEATURE_CACHE


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


def holed(days, minutes=60):
    whole = synthetic_candles(days=days, timeframe_minutes=minutes)
    keep = np.ones(len(whole), dtype=bool)
    keep[300:306] = False
    names = ("time", "open", "high", "low", "close", "volume")
    return Candles(minutes, *(getattr(whole, name)[keep] for name in names))


@pytest.fixture
def version(alice):
    return factories.make_version(alice.first_workspace(), candles=holed(60))


@pytest.fixture
def computed(version, alice):
    report, _ = launch_features(version, user=alice)
    assert run_job(report.job).status == "succeeded"
    return version


def page_of(client, version, query=""):
    return client.get(f"{version.get_absolute_url()}?tab=features{query}")


def address(version, part):
    return f"{version.get_absolute_url()}features/{part}/"


def test_the_catalogue_is_filtered_by_family_and_text(client, alice):
    assert "67 of 67 features" in client.get("/features/").content.decode()
    page = client.get("/features/?family=time").content.decode()
    assert "6 of 67 features" in page and "tod_sin" in page
    assert "1 of 67 features" in client.get("/features/?q=funding").content.decode()
    assert "Clear the search" in client.get("/features/?q=nothing").content.decode()


def test_a_version_without_features_offers_to_compute_them(client, version):
    page = page_of(client, version).content.decode()
    assert "Compute features" in page
    assert 'id="feature-line"' not in page


def test_the_button_makes_one_job_and_its_progress_is_shown(client, version):
    for _ in range(2):
        answer = client.post(address(version, "compute"))
        assert answer["Location"].endswith("?tab=features")
    assert Job.objects.filter(kind="features").count() == 1
    assert "hx-get" in page_of(client, version).content.decode()


def test_a_viewer_is_told_who_can_compute_them(client, version, alice):
    client.force_login(factories.make_user("bob", alice.first_workspace(), Role.VIEWER))
    assert "An editor of the workspace can compute" in page_of(client, version).content.decode()
    assert client.post(address(version, "compute")).status_code == 403


def test_computed_features_have_charts_figures_and_a_certificate(client, computed):
    page = page_of(client, computed, "&feature=ret_1&scale=3").content.decode()
    assert address(computed, "ret_1/3") in page
    assert "No feature knows the future" in page
    assert page.count("<svg") == 64  # three need more history than these bars have


def test_the_page_asks_few_questions(client, computed, django_assert_max_num_queries):
    with django_assert_max_num_queries(15):
        page_of(client, computed)


def test_an_emptied_cache_keeps_the_figures_and_offers_to_compute_again(client, computed, cache):
    shutil.rmtree(cache)
    page = page_of(client, computed).content.decode()
    assert "removed from the cache" in page and "Distributions" in page
    answer = client.get(address(computed, "ret_1/1")).json()
    assert "not in the cache" in answer["figure"]["layout"]["meta"]["summary"]


def test_the_line_shares_its_axis_with_the_candles_and_breaks_at_the_gap(client, computed):
    figure = client.get(address(computed, "ret_1/1")).json()["figure"]
    candles, line = figure["data"]
    assert candles["type"] == "candlestick"
    breaks = [place for place, y in enumerate(line["y"]) if y is None]
    assert any(place > 100 for place in breaks)
    assert len(line["x"]) <= 1000 + 10


def test_a_zoom_has_the_values_of_its_span(client, computed):
    start = computed.first_at.strftime("%Y-%m-%d")
    query = f"?from={start}&to={computed.last_at:%Y-%m-%dT%H:%MZ}"
    narrow = client.get(address(computed, "clv/1") + query).json()["figure"]["data"][1]
    expected = compute_features(factories.candles_of(computed), ("clv",), (1,)).base.values[0]
    low = min(y for y in narrow["y"] if y is not None)
    assert low == pytest.approx(float(expected.min()))


def test_charts_have_tables_with_their_numbers(client, computed):
    assert "<td" in client.get(address(computed, "ret_1/1") + "?as=rows").content.decode()
    table = client.get(address(computed, "correlation") + "?as=rows").content.decode()
    assert "Spearman" in table and table.count("<tr>") == 101


@pytest.mark.parametrize("query", ["&feature=nothing", "&scale=5", "&scale=x"])
def test_unknown_features_and_scales_are_404(client, version, query):
    assert page_of(client, version, query).status_code == 404


def test_a_histogram_is_one_closed_path():
    assert histogram_path([0, 4]) == "M0 24V24.0H60V0.0H120V24Z"


def test_figures_carry_no_colours():
    matrix = {"rows": 9, "names": ["a", "b"], "matrix": [[1, -0.5], [-0.5, 1]]}
    figure = correlation_figure(matrix)
    assert "colorscale" not in figure["data"][0]
    assert figure["layout"]["meta"]["summary"].endswith("most alike are a and b (−0.5).")


def test_a_span_in_the_warm_up_says_so():
    candles = holed(20)
    table = compute_features(candles, ("rsi_42",), (1,))
    bars, _ = aggregate_candles(candles, 1000)
    figure = feature_figure(bars, table.base, table.base.values[0], "rsi_42", "t")
    assert "no value in this span" in figure["layout"]["meta"]["summary"]
