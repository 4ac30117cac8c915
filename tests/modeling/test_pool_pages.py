"""Predictions of several instruments, by API and page: one at a time, or all."""

from __future__ import annotations

import numpy as np
import pytest

from modeling.evaluation.table import INSTRUMENT, joined, read_predictions, write_predictions
from tests import factories
from tests.api import bearer, refusal

pytestmark = pytest.mark.django_db
NAMES = ["BTC/USDT (binance)", "ETH/USDT (binance)"]


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def run(alice):
    """A finished run on two instruments whose actions differ by their sign."""
    workspace = alice.first_workspace()
    versions = [factories.make_version(workspace, symbol=name) for name in ("BTC/USDT", "ETH/USDT")]
    experiment = factories.make_experiment(workspace, versions[0])
    experiment.versions.add(versions[1])
    run = factories.make_run(experiment)
    row = run.prediction_sets.get()
    row.file = factories.make_stored(
        workspace, lambda path: write_pooled(path, row), "both.parquet"
    )
    row.save()
    run.metrics["instruments"] = {name: dict(run.metrics) for name in NAMES}
    run.save()
    return run


def write_pooled(path, row):
    from artifacts.store import local_path

    table = read_predictions(local_path(row.file))
    size = np.abs(table["action"])
    both = [
        {**table, INSTRUMENT: np.full(len(size), name, dtype=object), "action": sign * size}
        for name, sign in zip(NAMES, (1, -1), strict=True)
    ]
    write_predictions(path, joined(both), "")


def answer(alice, run, **params):
    address = f"/api/predictions/{run.prediction_sets.get().pk}/"
    return bearer(alice).get(address, {"max": 2000, **params})


def test_api_gives_one_instrument_by_name_and_all_without(alice, run):
    everything = answer(alice, run).json()
    assert list(dict.fromkeys(row["instrument"] for row in everything)) == NAMES
    for name, sign in zip(NAMES, (1, -1), strict=True):
        rows = answer(alice, run, instrument=name).json()
        assert {row["instrument"] for row in rows} == {name}
        assert all(row["action"] * sign >= 0 for row in rows)
    first = everything[3]["open_at"]
    later = answer(alice, run, **{"from": first}).json()
    assert len(later) == len(everything) - 2 * 3


def test_api_names_what_it_knows_when_asked_for_another(alice, run):
    found = refusal(answer(alice, run, instrument="XRP/USDT"), 400)
    assert f"expected one of {', '.join(NAMES)}" in found["fields"]["instrument"]


def test_api_calls_an_instrument_by_the_name_it_is_asked_by(alice):
    version = factories.make_version(alice.first_workspace())
    instrument = version.dataset.instrument
    instrument.kind = "perpetual"
    instrument.save()
    run = factories.make_run(factories.make_experiment(alice.first_workspace(), version))
    name = f"{NAMES[0]} perpetual"
    assert {row["instrument"] for row in answer(alice, run).json()} == {name}
    assert answer(alice, run, instrument=name).json() == answer(alice, run).json()


def test_page_looks_at_one_instrument_and_leads_to_the_others(client, run):
    address = f"/runs/{run.pk}/predictions/"
    page = client.get(address, {"instrument": 2}).content.decode()
    assert f"those of {NAMES[1]}" in page and "of 2 instruments" in page
    row = run.prediction_sets.get()
    assert f"/predictions/{row.pk}/of/2/chart/" in page
    assert client.get(address, {"instrument": 3}).status_code == 404
    assert client.get(address, {"instrument": "ETH"}).status_code == 404


def test_page_says_that_a_rung_is_scored_on_all_instruments(client, run):
    row = run.prediction_sets.get()
    row.pk, row.rung = None, "logistic"
    row.save()
    page = client.get(f"/runs/{run.pk}/predictions/", {"set": row.pk, "instrument": 2})
    assert f"those of {NAMES[1]}, the scores on all instruments together" in page.content.decode()


def test_chart_and_curves_are_those_of_the_instrument(client, run):
    row = run.prediction_sets.get()
    address = f"/runs/{run.pk}/predictions/{row.pk}/of"
    tables = [
        client.get(f"{address}/{place}/chart/", {"as": "table"}).content.decode()
        for place in (1, 2)
    ]
    assert f"on {NAMES[1]}" in tables[1] and tables[0] != tables[1]
    assert client.get(f"{address}/2/curves/action/").status_code == 200
    assert client.get(f"{address}/3/chart/").status_code == 404


def test_page_of_the_run_shows_scores_of_each_instrument(client, run):
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "By instrument" in page
    assert all(name in page for name in NAMES)
    assert "and 1 more" in client.get("/runs/").content.decode()
    assert "and 1 more" in client.get("/experiments/").content.decode()
