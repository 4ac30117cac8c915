"""A person in two workspaces: what is stored in the one never holds candles of the other."""

import pytest

from accounts.models import Membership, Role
from backtests.forms import shown_values
from backtests.presets import preset
from backtests.services import create_experiment
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment, Trial
from specs.declaration import InvalidSpec
from tests import factories
from tests.api import bearer, refusal

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(client):
    """She acts in her own workspace and is an editor of another one."""
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def own(alice):
    return make_version(alice.first_workspace(), "OWN/USDT")


@pytest.fixture
def foreign(alice):
    other = factories.make_workspace("Other team")
    Membership.objects.create(workspace=other, user=alice, role=Role.EDITOR)
    return make_version(other, "FOREIGN/USDT")


def make_version(workspace, symbol):
    return factories.make_version(workspace, symbol=symbol, candles=synthetic_candles(days=90))


def body(version):
    values = shown_values(preset("tiny")).items()
    ticked = {name: value for name, value in values if value is not False}
    return {"name": "First", "datasets": version.pk, "preset": "tiny", "key": "one", **ticked}


def test_the_form_offers_the_candles_of_the_acting_workspace(client, own, foreign):
    for address in ("/experiments/new/", f"/experiments/new/?version={foreign.pk}"):
        page = client.get(address).content.decode()
        assert "OWN/USDT" in page
        assert "FOREIGN/USDT" not in page


def test_candles_of_the_other_workspace_alone_are_no_candles(client, foreign):
    assert "needs candles first" in client.get("/experiments/new/").content.decode()


def test_candles_of_the_other_workspace_are_refused_in_the_form(client, own, foreign):
    for address in ("/experiments/new/", "/experiments/estimate/"):
        answer = client.post(address, body(foreign))
        assert "was not found" in answer.content.decode()
    assert not Experiment.objects.exists()


def test_a_clone_from_the_other_workspace_takes_the_settings_only(client, own, foreign):
    source = factories.make_experiment(foreign.workspace, foreign, "Theirs")
    Experiment.objects.filter(pk=source.pk).update(notes="Seen in FOREIGN/USDT")
    page = client.get(f"/experiments/new/?from={source.pk}").content.decode()
    assert 'value="Theirs (copy)"' in page
    assert f'<option value="{own.pk}" selected' in page
    assert "FOREIGN/USDT" not in page


def test_candles_of_the_other_workspace_are_refused_by_the_api(client, alice, own, foreign):
    chosen = [{"dataset": foreign.dataset_id, "version": foreign.number}]
    request = {"name": "First", "datasets": chosen, "preset": "tiny"}
    for answer in (
        bearer(alice).post("/api/experiments/", request, format="json"),
        client.post("/api/experiments/", request, content_type="application/json"),
    ):
        assert refusal(answer, 400)["fields"]["datasets"] == "not found"
    assert not Experiment.objects.exists()


def test_the_service_refuses_candles_of_the_other_workspace(alice, own, foreign):
    with pytest.raises(InvalidSpec) as refused:
        create_experiment(
            workspace=own.workspace,
            user=alice,
            name="First",
            versions=[foreign],
            spec=preset("tiny"),
        )
    assert "not found" in refused.value.fields["datasets"]


def test_a_person_without_a_workspace_is_refused_plainly(client, alice):
    alice.memberships.all().delete()
    assert client.get("/experiments/new/").status_code == 403
    assert client.post("/experiments/estimate/", {}).status_code == 403


def test_trials_are_counted_in_one_workspace(client, own, foreign):
    add_trials(own.workspace, 11)
    add_trials(foreign.workspace, 23)
    assert client.post("/experiments/estimate/", body(own)).context["trials"] == 11
    for version, count in ((own, 11), (foreign, 23)):
        experiment = factories.make_experiment(version.workspace, version)
        assert client.get(f"/experiments/{experiment.pk}/").context["trials"] == count


def add_trials(workspace, count):
    Trial.objects.bulk_create(
        Trial(workspace=workspace, origin=Trial.Origin.RUN, spec_sha256=f"{place:064x}", seed=0)
        for place in range(count)
    )
