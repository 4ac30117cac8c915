from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent
from backtests.presets import preset
from backtests.services import create_experiment
from markets.models import Acceptance
from markets.services.datasets import (
    InvalidText,
    NothingToAccept,
    accept_findings,
    hold_for_use,
)
from modeling.models import Experiment
from specs.declaration import InvalidSpec
from tests import factories
from tests.api import bearer, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
FINDING = "Missing bars: found 4.10 %, expected at most 2.00 %."


@pytest.fixture
def version(workspace):
    return factories.make_version(workspace, findings=(FINDING,))


def make_one(version, user):
    return create_experiment(
        workspace=version.workspace,
        user=user,
        name="Mine",
        versions=[version],
        spec=preset("tiny"),
        preset="tiny",
    )


def test_candles_with_findings_are_refused_until_someone_accepts_them(version, alice):
    with pytest.raises(InvalidSpec) as refused:
        make_one(version, alice)
    text = refused.value.fields["datasets"]
    assert FINDING in text
    assert version.get_absolute_url() in text
    assert f"accept_findings {version.dataset_id} 1" in text
    assert not Experiment.objects.exists()


def test_accepted_candles_are_used_like_any_other(version, alice, workspace):
    accept_findings(version, user=alice, reason="The venue was down for a week.")
    hold_for_use([type(version).objects.get(pk=version.pk)])
    row = Acceptance.objects.get(version=version)
    assert (row.accepted_by, row.reason) == (alice, "The venue was down for a week.")
    assert row.findings == version.findings


def test_findings_are_accepted_once_and_with_a_reason(version, alice, workspace):
    with pytest.raises(InvalidText):
        accept_findings(version, user=alice, reason="  ")
    accept_findings(version, user=alice, reason="Known outage.")
    with pytest.raises(NothingToAccept, match="before"):
        accept_findings(version, user=alice, reason="Known outage.")
    with pytest.raises(NothingToAccept, match="no findings"):
        accept_findings(factories.make_version(workspace, symbol="B/C"), user=alice, reason="Why")


def test_an_experiment_through_the_api_names_the_version_and_where_to_accept(version, alice):
    body = {
        "name": "Mine",
        "preset": "tiny",
        "datasets": [{"dataset": version.dataset_id, "version": 1}],
    }
    for path in ("/api/experiments/", "/api/experiments/estimate/"):
        refused = refusal(bearer(alice).post(path, body, format="json"), 400)
        assert str(version) in refused["fields"]["datasets"]


def test_the_experiment_form_lists_such_candles_as_not_usable(client, version):
    page = client.get(f"/experiments/new/?version={version.pk}").content.decode()
    assert "not usable: findings not accepted" in page


def test_the_command_accepts_and_is_audited(version, alice, capsys):
    call_command("accept_findings", version.dataset_id, 1, "--reason", "Known outage.", "--json")
    assert json.loads(capsys.readouterr().out)["findings"] == [FINDING]
    assert AuditEvent.objects.get(action="accept").subject == str(version)
    with pytest.raises(CommandError, match="accepted before"):
        call_command("accept_findings", version.dataset_id, 1, "--reason", "Again.")


@pytest.mark.parametrize(("dataset", "reason"), [(0, "Known outage."), (None, " ")])
def test_the_command_refuses_in_one_line(version, dataset, reason):
    with pytest.raises(CommandError) as refused:
        number = version.dataset_id if dataset is None else dataset
        call_command("accept_findings", number, 1, "--reason", reason)
    assert "\n" not in str(refused.value)
