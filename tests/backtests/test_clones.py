"""What an experiment was cloned from stays known, with what differs; its finished runs are compared."""

import re

import pytest

from accounts.models import Role
from backtests.presets import preset
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment
from tests import factories
from tests.api import bearer, refusal
from tests.backtests.test_form_page import body

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def version(alice):
    return factories.make_version(alice.first_workspace(), candles=synthetic_candles(days=90))


@pytest.fixture
def source(client, version):
    client.post("/experiments/new/", body(version))
    return Experiment.objects.get()


def page_of(client, experiment):
    return client.get(f"/experiments/{experiment.pk}/").content.decode()


def cloned(client, version, source, **fields):
    client.post("/experiments/new/", body(version, key="two", **{"from": source.pk}, **fields))
    return Experiment.objects.latest("pk")


def test_a_clone_keeps_its_source_and_shows_what_differs(client, version, source):
    clone = cloned(client, version, source, **{"training.epochs": "9"})
    assert clone.parent == source
    page = page_of(client, clone)
    assert f'Cloned from <a href="/experiments/{source.pk}/">First</a>' in page
    assert "<td>6</td><td><strong>9</strong></td>" in page
    assert "Cloned from" not in page_of(client, source)


def test_an_equal_clone_says_that_nothing_differs(client, version, source):
    page = page_of(client, cloned(client, version, source))
    assert "No setting differs from the source." in page


def test_a_clone_without_a_network_differs_in_its_kind_not_in_its_shape(client, version, source):
    clone = cloned(client, version, source, **{"network.kind": "linear", "network.d_model": "64"})
    assert settings_that_differ(page_of(client, clone)) == ["Network"]
    other = cloned(client, version, clone, **{"network.kind": "linear", "network.d_model": "32"})
    assert "No setting differs from the source." in page_of(client, other)


def settings_that_differ(page):
    table = page.split('id="clone-difference"')[1].split("</table>")[0]
    return re.findall(r'<th scope="row">([^<]*)', table)


def test_a_clone_into_another_workspace_forgets_where_it_came_from(client, version, source):
    bob = factories.make_user("bob")
    factories.Membership.objects.create(user=bob, workspace=source.workspace, role=Role.VIEWER)
    client.force_login(bob)
    own = factories.make_version(bob.first_workspace(), candles=synthetic_candles(days=90))
    clone = cloned(client, own, source)
    assert (clone.workspace, clone.parent) == (own.workspace, None)


def test_a_form_sent_again_with_another_source_leaves_the_first_clone_as_it_is(
    client, version, source
):
    clone = cloned(client, version, source)
    other = cloned(client, version, clone)
    clone.refresh_from_db()
    assert (clone.parent, other.parent) == (source, clone)


def test_a_program_names_the_source_of_a_clone(alice, version, source):
    sent = {
        "name": "By a program",
        "datasets": [{"dataset": version.dataset_id, "version": version.number}],
        "spec": {**preset("tiny").to_json(), "evaluation": {"folds": 2, "embargo_bars": 12}},
    }
    api = bearer(alice)
    made = api.post("/api/experiments/", {**sent, "parent": source.pk}, format="json")
    assert (made.status_code, made.json()["parent"]) == (201, source.pk), made.json()
    foreign = factories.make_experiment(factories.make_user("charlie").first_workspace())
    for unknown in (foreign.pk, 10**9):
        answer = api.post("/api/experiments/", {**sent, "parent": unknown}, format="json")
        assert refusal(answer, 400)["fields"] == {"parent": "not found"}


def test_two_finished_runs_can_be_compared_from_the_page(client, source):
    first = factories.make_run(source, seed=0)
    factories.make_run(source, seed=1, status=JobStatus.FAILED)
    assert "Compare its runs" not in page_of(client, source)
    second = factories.make_run(source, seed=2)
    assert f'"/compare/?runs={first.pk},{second.pk}"' in page_of(client, source)


def test_the_rail_marks_experiments_on_the_pages_of_studies(client, source):
    run = factories.make_run(source)
    factories.make_backtest(run)
    study = factories.make_study(run)
    for address in ("/studies/", f"/studies/{study.pk}/", "/experiments/"):
        page = client.get(address).content.decode()
        assert '<a href="/experiments/" aria-current="page">' in page
