"""The learned half-lives of attention: on the page of a run and in the API."""

import re

import pytest
from django.test import Client

from accounts.models import User
from modeling.models import TrainingRun
from tests import factories
from tests.api import bearer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]

LEARNED = {
    "blocks.10.attention": [5.0, 640.0],
    "blocks.0.attention": [4.2, 20.25],
    "multi_scale": [4.0, 512.5],
}


@pytest.fixture
def run(alice: User) -> TrainingRun:
    workspace = alice.first_workspace()
    assert workspace is not None
    return factories.make_run(factories.make_experiment(workspace))


def learned(run: TrainingRun) -> None:
    fold = run.folds.get(number=2)
    fold.state["half_lives"] = LEARNED
    fold.save()


def test_half_lives_stand_by_fold_layer_and_head_in_the_order_of_the_network(
    client: Client, run: TrainingRun
) -> None:
    learned(run)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    box = page.split("<summary>Half-lives of attention (bars)</summary>")[1].split("</details>")[0]
    rows = [
        re.findall(r">([^<>]+)<", row)
        for row in re.findall(r'<tr><th scope="row">.*?</tr>', box, re.S)
    ]
    assert rows == [
        ["2", "Timescales", "4.000", "512.5"],
        ["2", "Layer 1", "4.200", "20.25"],
        ["2", "Layer 11", "5.000", "640.0"],
    ]


def test_a_run_whose_attention_does_not_fade_has_no_half_lives(
    client: Client, run: TrainingRun
) -> None:
    assert "Half-lives of attention" not in client.get(f"/runs/{run.pk}/").content.decode()


def test_the_api_tells_half_lives_with_each_fold(alice: User, run: TrainingRun) -> None:
    learned(run)
    folds = bearer(alice).get(f"/api/runs/{run.pk}/").json()["folds"]
    assert [fold["half_lives"] for fold in folds] == [{}, LEARNED]
