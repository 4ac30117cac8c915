import pytest
from django.core.management.base import CommandError

from accounts.commands import workspace_of
from accounts.models import Membership
from tests import factories

pytestmark = pytest.mark.django_db


def test_pages_and_commands_act_in_the_workspace_joined_first(client):
    older = factories.make_workspace("Older")
    alice = factories.make_user("alice")
    Membership.objects.create(workspace=older, user=alice)
    assert older.pk < alice.first_workspace().pk

    client.force_login(alice)
    acting = client.get("/").wsgi_request.membership.workspace
    assert acting.name == alice.first_workspace().name == "alice's workspace"
    assert workspace_of(alice) == acting


def test_a_member_of_nothing_has_no_first_workspace():
    alice = factories.make_user("alice")
    alice.memberships.all().delete()
    assert alice.first_workspace() is None
    with pytest.raises(CommandError, match="member of no workspace"):
        workspace_of(alice)
