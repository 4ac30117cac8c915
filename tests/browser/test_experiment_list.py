"""The list of experiments in Chromium: everything of a row in sight."""

from __future__ import annotations

import pytest

from modeling.models import Experiment
from tests import factories
from tests.browser.process import SIZES, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_every_column_is_in_sight_on_a_wide_window(page, live_server, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    Experiment.objects.update(name="A linear model of half a year, with a long name")
    factories.make_backtest(factories.make_run(experiment))
    width, height = SIZES["wide"]
    page.set_viewport_size({"width": width, "height": height})
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/experiments/")
    table = page.get_by_role("region", name="Experiments")
    assert table.evaluate("box => box.scrollWidth - box.clientWidth") == 0
