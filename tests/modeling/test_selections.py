"""What people and programs see of the features that folds select."""

from __future__ import annotations

import pytest

from modeling.models import Fold
from modeling.selections import selection_of, selection_report
from tests import factories
from tests.api import bearer

pytestmark = pytest.mark.django_db

RELEVANCE = {"ret_1": 0.2, "rsi_14": 0.9, "rv_48": 0.6}


def stored(*names):
    redundancy = {name: 0.25 * place for place, name in enumerate(names)}
    return {"names": list(names), "relevance": RELEVANCE, "redundancy": redundancy}


@pytest.fixture
def run(alice):
    """The two folds agree on one of two features each."""
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    for number, names in ((1, ("rsi_14", "rv_48")), (2, ("rsi_14", "ret_1"))):
        Fold.objects.filter(run=run, number=number).update(state={"selection": stored(*names)})
    return run


@pytest.fixture
def shown(alice, client):
    client.force_login(alice)
    return lambda run: client.get(f"/runs/{run.pk}/").content.decode()


def test_features_are_listed_by_how_many_folds_chose_them(run):
    report = selection_report(list(run.folds.all()))
    assert report["folds"] == [1, 2]
    assert [(row["name"], row["share"]) for row in report["features"]] == [
        ("rsi_14", 1.0),
        ("rv_48", 0.5),
        ("ret_1", 0.5),
    ]
    assert report["features"][1]["choices"] == [0.25, None]
    # The folds share 1 of 2: (1·3 − 4)/(2·1).
    assert report["kuncheva_index"] == pytest.approx(-0.5)


def test_folds_that_kept_all_features_report_nothing(run):
    kept = {"selection": {"names": ["rsi_14"], "relevance": {}, "redundancy": {}}}
    run.folds.update(state=kept)
    assert selection_report(list(run.folds.all())) is None
    run.folds.update(state={})
    assert selection_of(run.folds.first()) is None


def test_the_page_shows_shares_and_likeness(run, shown):
    page = shown(run)
    for words in ("3 features, most chosen first", "<code>rv_48</code>", "Kuncheva", "−0.50"):
        assert words in page


def test_the_page_of_one_fold_says_that_likeness_needs_two(run, shown):
    run.folds.filter(number=2).delete()
    assert "needs two" in shown(run)


def test_the_page_of_a_run_that_keeps_all_features_says_so(alice, shown):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    assert "All 15 features of the set are used" in shown(run)


def test_the_page_before_the_first_fold_says_so(alice, shown):
    experiment = factories.make_experiment(alice.first_workspace())
    features = experiment.model_spec.features.model_copy(update={"select_top": 5})
    experiment.model_spec = experiment.model_spec.model_copy(update={"features": features})
    experiment.save()
    page = shown(factories.make_run(experiment, status="running"))
    assert "No fold has chosen its features yet" in page


def test_programs_see_the_choice_of_each_fold_and_of_the_run(alice, run):
    body = bearer(alice).get(f"/api/runs/{run.pk}/").json()
    assert body["folds"][0]["selection"] == stored("rsi_14", "rv_48")
    assert body["selection"] == {
        "shares": {"rsi_14": 1.0, "rv_48": 0.5, "ret_1": 0.5},
        "kuncheva_index": -0.5,
    }


def test_programs_see_null_where_nothing_is_selected(alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    body = bearer(alice).get(f"/api/runs/{run.pk}/").json()
    assert (body["selection"], body["folds"][0]["selection"]) == (None, None)
