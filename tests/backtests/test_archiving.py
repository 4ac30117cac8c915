import pytest

from accounts.models import AuditEvent, Role
from modeling.models import Experiment, Trial
from tests import factories
from tests.api import bearer, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def experiment(alice):
    experiment = factories.make_experiment(alice.first_workspace())
    factories.make_run(experiment)
    return experiment


def test_an_archived_experiment_leaves_the_list_and_keeps_page_runs_and_trials(client, experiment):
    assert client.post(f"/experiments/{experiment.pk}/archive/").status_code == 302
    assert "Tiny transformer" not in client.get("/experiments/").content.decode()
    assert "Tiny transformer" in client.get("/experiments/?archived=1").content.decode()
    page = client.get(f"/experiments/{experiment.pk}/").content.decode()
    assert "archived" in page
    assert "Seed 0" in page
    assert Trial.objects.count() == 1
    assert "№" in client.get("/trials/").content.decode()


def test_it_comes_back_into_the_list(client, experiment):
    client.post(f"/experiments/{experiment.pk}/archive/")
    client.post(f"/experiments/{experiment.pk}/unarchive/")
    assert "Tiny transformer" in client.get("/experiments/").content.decode()
    events = AuditEvent.objects.order_by("at").values_list("action", flat=True)
    assert list(events) == ["archive", "unarchive"]


def test_archiving_twice_is_recorded_once(alice, experiment):
    api = bearer(alice)
    first, again = (api.post(f"/api/experiments/{experiment.pk}/archive/") for _ in range(2))
    assert first.json()["archived_at"] == again.json()["archived_at"] is not None
    assert AuditEvent.objects.filter(action="archive").count() == 1
    assert api.get("/api/experiments/").json()["count"] == 0
    assert api.get("/api/experiments/?archived=true").json()["count"] == 1
    assert "archived" in refusal(api.get("/api/experiments/?archived=perhaps"), 400)["fields"]
    assert api.post(f"/api/experiments/{experiment.pk}/unarchive/").json()["archived_at"] is None
    assert api.get("/api/experiments/").json()["count"] == 1


def test_a_viewer_may_not_archive_and_a_stranger_finds_nothing(client, experiment):
    viewer = factories.make_user("victor", experiment.workspace, Role.VIEWER)
    charlie = factories.make_user("charlie")
    path = f"experiments/{experiment.pk}/archive/"
    for user, status in ((viewer, 403), (charlie, 404)):
        client.force_login(user)
        assert client.post(f"/{path}").status_code == status
        refusal(bearer(user).post(f"/api/{path}"), status)
    assert Experiment.objects.get().archived_at is None
