"""The list of runs in Chromium: everything of a row in sight, and readable on a telephone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modeling.models import Experiment, TrainingRun
from tests import factories
from tests.browser.process import SIZES, faults_of, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WORDS = ("beats", "ties", "loses", "undecided", "ties")
HEADS = ("action", "regime", "confidence", "volatility", "risk")


@pytest.fixture
def runs(alice):
    experiment = factories.make_experiment(alice.first_workspace())
    Experiment.objects.update(name="A linear model of half a year, with a long name")
    for seed in range(3):
        factories.make_run(experiment, seed=seed)
    verdict = {head: {"word": word} for head, word in zip(HEADS, WORDS, strict=True)}
    TrainingRun.objects.filter(seed=0).update(verdict=verdict)
    TrainingRun.objects.filter(seed=1).update(leak_alarm={"raised": True, "reasons": ["AUC"]})


@pytest.mark.parametrize(("theme", "size"), [("light", "wide"), ("dark", "narrow")])
def test_every_column_is_in_sight_or_scrolls_in_its_region(page, live_server, runs, theme, size):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=theme)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/runs/")
    table = page.get_by_role("region", name="Runs")
    hidden = table.evaluate("box => box.scrollWidth - box.clientWidth")
    assert (hidden == 0) == (size == "wide")
    assert faults_of(page, width) == []
    if folder := os.environ.get("OUTSAMPLE_PICTURES"):
        page.screenshot(path=Path(folder) / f"runs-{theme}.png", full_page=True)
