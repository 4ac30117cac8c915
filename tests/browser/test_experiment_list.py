"""The list of experiments in Chromium: everything of a row in sight."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from modeling.models import Experiment
from tests import factories
from tests.browser.process import SIZES, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_every_column_is_in_sight_on_a_wide_window(page, live_server, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    Experiment.objects.update(name="A linear model of half a year, with a long name")
    factories.make_backtest(factories.make_run(experiment))
    other = factories.make_experiment(experiment.workspace, experiment.version)
    factories.make_seed_verdict(*(factories.make_run(other, seed=seed) for seed in range(3)))
    width, height = SIZES["wide"]
    page.set_viewport_size({"width": width, "height": height})
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/")
    table = page.get_by_role("region", name="Experiments")
    expect(table).to_contain_text("mean of 3 seeds")
    assert table.evaluate("box => box.scrollWidth - box.clientWidth") == 0
    if folder := os.environ.get("OUTSAMPLE_PICTURES"):
        page.screenshot(path=Path(folder) / "experiments.png", full_page=True)
