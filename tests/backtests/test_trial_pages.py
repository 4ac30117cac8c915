import statistics
from datetime import UTC, datetime

import pytest

from accounts.models import Role
from backtests.models import Backtest
from backtests.robustness.sharpe import expected_maximum
from modeling.models import Trial
from tests import factories
from tests.api import bearer, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
BTC, ETH = "BTC/USDT (binance)", "ETH/USDT (binance)"


def trial(user, number, **fields):
    values = {
        "origin": Trial.Origin.BACKTEST,
        "instrument": BTC,
        "daily_sharpe": 0.01 * number,
        "days": 40,
        "first_at": datetime(2024, 1, 1, tzinfo=UTC),
        "last_at": datetime(2024, 2, 10, tzinfo=UTC),
    }
    return Trial.objects.create(
        workspace=user.first_workspace(), spec_sha256=f"{number:064d}", **(values | fields)
    )


def test_an_empty_ledger_says_what_fills_it(client, alice):
    page = client.get("/trials/").content.decode()
    assert "The first run fills it." in page
    assert 'href="/experiments/new/"' in page


def test_each_trial_stands_with_kind_spec_seed_sharpe_and_its_report(client, alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()), seed=7)
    row = factories.make_backtest(run)
    known = Trial.objects.get()
    Trial.objects.filter(pk=known.pk).update(daily_sharpe=-0.044, days=31, instrument=BTC)
    Backtest.objects.filter(pk=row.pk).update(trial=known)
    page = client.get("/trials/").content.decode()
    for words in ("Training run", known.spec_sha256[:8], BTC, "−0.84", "[−3.10, 1.20]", ">31<"):
        assert words in page
    assert f'href="/backtests/{row.pk}/"' in page


def test_a_trial_without_a_backtest_leads_to_its_run(client, alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    assert f'href="/runs/{run.pk}/"' in client.get("/trials/").content.decode()


def test_numbers_count_within_the_workspace(client, alice):
    charlie = factories.make_user("charlie")
    trial(charlie, 1)
    own = [trial(alice, number) for number in (2, 3)]
    rows = bearer(alice).get("/api/trials/").json()["results"]
    assert [(row["id"], row["number"]) for row in rows] == [(own[1].pk, 2), (own[0].pk, 1)]


def test_the_summary_counts_varies_and_names_the_luck(client, alice):
    for number in (1, 2, 5):
        trial(alice, number)
    trial(alice, 9, days=29)
    trial(alice, 5, seed=1, instrument=ETH, overfitting=0.25)
    body = bearer(alice).get("/api/trials/summary/").json()
    variance = statistics.variance([0.01, 0.02, 0.05, 0.05])
    assert (body["trials"], body["distinct_specs"]) == (5, 4)
    assert body["variance"] == pytest.approx(variance)
    assert body["luck"] == pytest.approx((365 * variance) ** 0.5 * expected_maximum(5))
    assert body["instruments"] == [
        {"instrument": BTC, "trials": 4, "overfitting": None},
        {"instrument": ETH, "trials": 1, "overfitting": 0.25},
    ]
    page = client.get("/trials/").content.decode()
    assert "25.00\u00a0%" in page


def test_the_ledger_filters_and_keeps_the_filter_in_its_links(client, alice):
    trial(alice, 1)
    trial(alice, 2, instrument=ETH, origin=Trial.Origin.HOLDOUT)
    page = client.get("/trials/", {"kind": "holdout", "instrument": ETH})
    assert [row.spec_sha256 for row in page.context["listing"].page] == [f"{2:064d}"]
    assert "?sort=sharpe&amp;kind=holdout&amp;instrument=ETH%2FUSDT" in page.content.decode()
    empty = client.get("/trials/", {"kind": "run"}).content.decode()
    assert "Clear the filter" in empty
    assert client.get("/trials/", {"kind": "nonsense"}).status_code == 404
    api = bearer(alice)
    assert api.get("/api/trials/?kind=holdout").json()["count"] == 1
    assert "kind" in refusal(api.get("/api/trials/?kind=nonsense"), 400)["fields"]


def test_the_ledger_sorts_by_sharpe_with_the_unknown_last(client, alice):
    trial(alice, 1, daily_sharpe=None)
    trial(alice, 3)
    trial(alice, 2)
    rows = client.get("/trials/?sort=-sharpe").context["listing"].page
    assert [row.daily_sharpe for row in rows] == [0.03, 0.02, None]
    assert client.get("/trials/?sort=daily_returns").status_code == 404


def test_the_ledger_needs_at_most_eight_queries_however_long(
    client, alice, django_assert_max_num_queries
):
    for number in range(60):
        trial(alice, number, daily_returns=[0.001] * 40)
    with django_assert_max_num_queries(8):
        page = client.get("/trials/")
    assert "Page 1 of 2" in page.content.decode()
    assert len(client.get("/trials/?page=2").context["listing"].page) == 10


def test_a_viewer_sees_the_ledger_and_a_stranger_sees_nothing_of_it(client, alice):
    trial(alice, 1)
    viewer = factories.make_user("victor", alice.first_workspace(), Role.VIEWER)
    charlie = factories.make_user("charlie")
    assert bearer(viewer).get("/api/trials/").json()["count"] == 1
    assert bearer(charlie).get("/api/trials/").json()["count"] == 0
    assert bearer(charlie).get("/api/trials/summary/").json()["trials"] == 0
