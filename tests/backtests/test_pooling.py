"""Experiments on several instruments: what is asked of them, by API and form, and what is refused."""

from __future__ import annotations

import pytest

from backtests.form_page import split_ribbon
from backtests.models import Backtest
from backtests.openings import open_and_backtest
from backtests.presets import preset
from backtests.services import create_experiment, estimate, launch_backtest, launch_experiment
from backtests.specs import BacktestSpec
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment
from specs.declaration import InvalidSpec
from tests import factories
from tests.api import bearer, refusal
from tests.backtests.test_experiment_views import body as form_body

pytestmark = pytest.mark.django_db
PATH = "/api/experiments/"
DAYS = 90


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


def version_of(user, symbol, days=DAYS, **candles):
    made = synthetic_candles(days=days, seed=len(symbol) + ord(symbol[0]), **candles)
    return factories.make_version(user.first_workspace(), symbol=symbol, candles=made)


@pytest.fixture
def pair(alice):
    """Not in the order of their names."""
    return [version_of(alice, "ETH/USDT"), version_of(alice, "BTC/USDT")]


def post(client, path, data):
    return client.post(path, data, format="json")


def chosen(*versions):
    return [{"dataset": row.dataset_id, "version": row.number} for row in versions]


def body(*versions):
    return {"name": "Pool", "datasets": chosen(*versions), "preset": "tiny"}


def test_an_experiment_takes_versions_of_several_instruments_in_any_order(alice, pair):
    eth, btc = pair
    client = bearer(alice)
    first, second = (
        post(client, PATH, body(*versions)).json() for versions in (pair, reversed(pair))
    )
    assert first["datasets"] == second["datasets"] == chosen(btc, eth)
    assert first["spec_sha256"] == second["spec_sha256"]
    alone = post(client, PATH, body(btc)).json()
    assert alone["spec_sha256"] != first["spec_sha256"]
    row = Experiment.objects.get(pk=first["id"])
    assert (row.version, row.instruments) == (btc, ["BTC/USDT (binance)", "ETH/USDT (binance)"])


def test_the_estimate_counts_the_windows_of_all(alice, pair):
    client = bearer(alice)
    one = post(client, f"{PATH}estimate/", body(pair[0])).json()
    both = post(client, f"{PATH}estimate/", body(*pair)).json()
    assert both["windows"] == 2 * one["windows"]
    assert both["parameters"] == one["parameters"]
    assert both["seconds_high"] > 1.5 * one["seconds_high"]
    assert both["holdout_at"] == one["holdout_at"]


def test_the_hold_out_is_one_instant_of_the_common_span(alice):
    until = factories.instant(synthetic_candles(days=1).close_time[-1])
    long = version_of(alice, "BTC/USDT", days=100)
    short = version_of(alice, "ETH/USDT", days=90)
    experiment = create_experiment(
        workspace=alice.first_workspace(),
        user=alice,
        name="Pool",
        versions=[short, long],
        spec=preset("tiny"),
    )
    sealed = experiment.holdout_until - experiment.holdout_at
    assert experiment.holdout_until == until
    assert sealed.total_seconds() == pytest.approx(0.15 * 100 * 86_400, rel=1e-3)


@pytest.mark.parametrize("path", [PATH, f"{PATH}estimate/"])
def test_what_cannot_be_pooled_is_refused_by_name(alice, pair, path):
    client, workspace = bearer(alice), alice.first_workspace()
    hourly = factories.make_version(
        workspace, symbol="SOL/USDT", candles=synthetic_candles(days=400, timeframe_minutes=60)
    )
    newer = factories.make_version(
        workspace, symbol="BTC/USDT", candles=synthetic_candles(days=DAYS, seed=3)
    )
    late = version_of(alice, "XRP/USDT", days=30)
    many = [version_of(alice, f"C{number}/USDT", days=2) for number in range(11)]
    for versions, said in (
        ((pair[0], hourly), "found the timeframes 5m and 1h; expected the same"),
        ((pair[1], newer), "found BTC/USDT (binance) twice; expected each instrument once"),
        (many, "found 11 datasets; expected 1 to 10"),
        ((pair[0], late), "samples of XRP/USDT (binance), expected at least 200"),
    ):
        found = refusal(post(client, path, body(*versions)), 400)
        assert said in found["fields"]["datasets"], found
    assert not Experiment.objects.exists()


def test_too_many_datasets_are_refused_before_any_is_looked_up(
    alice, django_assert_max_num_queries
):
    client, unknown = bearer(alice), [{"dataset": 10**9, "version": 1}] * 300
    with django_assert_max_num_queries(12):
        answer = post(client, PATH, {"name": "Pool", "datasets": unknown, "preset": "tiny"})
    assert "found 300 datasets" in refusal(answer, 400)["fields"]["datasets"]


def test_the_ribbon_spans_all_instruments(alice):
    long, short = version_of(alice, "BTC/USDT", days=120), version_of(alice, "ETH/USDT")
    spec = preset("tiny")
    found = estimate(spec, [long, short])
    ribbon = split_ribbon(found, spec, [short, long])
    assert ribbon["first_at"] == long.first_at
    assert ribbon["holdout"]["left"] == pytest.approx(85, abs=0.1)


def test_a_run_is_backtested_on_each_instrument_and_its_own_on_the_first(alice, pair):
    workspace = alice.first_workspace()
    experiment = create_experiment(
        workspace=workspace, user=alice, name="Pool", versions=pair, spec=preset("tiny")
    )
    (run,) = launch_experiment(experiment, user=alice)
    own, other = Backtest.objects.order_by("pk")
    assert (own.version, own.is_own, own.name) == (pair[1], True, "Pool, seed 0")
    assert (other.version, other.is_own) == (pair[0], False)
    assert other.name == "Pool, seed 0, ETH/USDT (binance)"
    assert own.job.after == other.job.after == run.job
    assert own.spec_sha256 != other.spec_sha256


def test_the_page_of_a_run_tells_the_reports_of_spot_and_perpetual_apart(client, alice, pair):
    instrument = pair[0].dataset.instrument
    instrument.symbol, instrument.kind = "BTC/USDT", "perpetual"
    instrument.save()
    experiment = create_experiment(
        workspace=alice.first_workspace(),
        user=alice,
        name="Pool",
        versions=pair,
        spec=preset("tiny"),
    )
    (run,) = launch_experiment(experiment, user=alice)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    for name in ("BTC/USDT (binance)", "BTC/USDT (binance) perpetual"):
        assert f", {name}</a>" in page


def test_a_further_backtest_names_one_of_the_predicted_versions(alice, pair):
    experiment = factories.make_experiment(alice.first_workspace(), pair[0])
    run = factories.make_run(experiment)
    source = {"predictions": run.prediction_sets.get().pk}
    stranger = version_of(alice, "SOL/USDT", days=40)
    asked = {"name": "Again", "source": source, "dataset": stranger.dataset_id, "version": 1}
    found = refusal(post(bearer(alice), "/api/backtests/", asked), 400)
    assert "these are no predictions of it" in found["fields"]["dataset"]
    known = asked | {"dataset": pair[0].dataset_id}
    made = post(bearer(alice), "/api/backtests/", known)
    assert made.status_code == 202
    assert (made.json()["dataset"], made.json()["version"]) == (pair[0].dataset_id, 1)
    assert Backtest.objects.get(pk=made.json()["id"]).version == pair[0]


def test_an_opened_hold_out_is_backtested_where_there_are_candles_in_it(alice, pair):
    whole = synthetic_candles(days=DAYS, seed=5)
    ended = factories.make_version(
        alice.first_workspace(),
        symbol="ADA/USDT",
        candles=whole.slice(0, int(0.84 * len(whole))),
    )
    experiment = create_experiment(
        workspace=alice.first_workspace(),
        user=alice,
        name="Pool",
        versions=[*pair, ended],
        spec=preset("tiny"),
    )
    assert experiment.version == ended
    open_and_backtest(factories.make_run(experiment), user=alice, name="Pool")
    rows = Backtest.objects.filter(is_holdout=True).order_by("pk")
    assert [row.version for row in rows] == pair


def test_backtests_of_two_instruments_are_two_trials(alice, pair):
    experiment = factories.make_experiment(alice.first_workspace(), pair[0])
    experiment.versions.add(pair[1])
    run = factories.make_run(experiment)
    spec = BacktestSpec()
    digests = {
        launch_backtest(
            workspace=experiment.workspace,
            user=alice,
            name="Further",
            run=run,
            spec=spec,
            version=version,
        ).spec_sha256
        for version in pair
    }
    assert len(digests) == 2


def test_the_form_takes_several_versions_and_a_clone_brings_them_back(client, alice, pair):
    page = client.get(f"/experiments/new/?version={pair[0].pk}&version={pair[1].pk}")
    text = page.content.decode()
    assert 'name="datasets"' in text and "multiple" in text
    assert text.count(" selected>") >= 2
    spec = preset("tiny")
    experiment = create_experiment(
        workspace=alice.first_workspace(), user=alice, name="Pool", versions=pair, spec=spec
    )
    clone = client.get(f"/experiments/new/?from={experiment.pk}").context["form"]
    assert set(clone["datasets"].value()) == {version.pk for version in pair}


def test_a_clone_on_other_candles_says_so_before_and_after_it_is_saved(client, alice, pair):
    spec = preset("tiny")
    source = create_experiment(
        workspace=alice.first_workspace(), user=alice, name="Pool", versions=pair, spec=spec
    )
    address = f"/experiments/new/?from={source.pk}"
    assert "No setting differs from the source yet" in client.get(address).content.decode()
    sent = form_body(pair[0], **{"name": "Alone", "from": source.pk})
    page = client.post("/experiments/new/", sent, follow=True).content.decode()
    assert "Cloned from Pool: 1 setting differs." in page
    assert f"{pair[1]}, {pair[0]}" in page.split('id="clone-difference"')[1]


def test_the_form_shows_what_is_chosen_at_the_head_of_its_list(client, alice, pair):
    newer = [version_of(alice, f"N{number}/USDT", days=2) for number in range(5)]
    page = client.get(f"/experiments/new/?version={pair[0].pk}&version={pair[1].pk}")
    offered = [pk for pk, _ in page.context["form"].fields["datasets"].choices]
    assert offered[:2] == [pair[1].pk, pair[0].pk] and offered[2] == newer[-1].pk


def test_no_version_of_another_workspace_gets_into_a_pool(alice, pair):
    other = version_of(factories.make_user("charlie"), "SOL/USDT", days=40)
    with pytest.raises(InvalidSpec, match="not found in this workspace"):
        create_experiment(
            workspace=alice.first_workspace(),
            user=alice,
            name="Pool",
            versions=[pair[0], other],
            spec=preset("tiny"),
        )
