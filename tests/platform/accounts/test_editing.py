import pytest
from django.urls import reverse

from accounts.models import Membership, Role
from tests.factories import make_job, make_user, make_workspace

pytestmark = pytest.mark.django_db


def test_owner_elsewhere_may_not_cancel_where_she_only_views(client):
    alice = make_user("alice")
    theirs = make_workspace("Bob's team")
    Membership.objects.create(workspace=theirs, user=alice, role=Role.VIEWER)
    job = make_job(theirs)
    client.force_login(alice)
    assert client.get(reverse("jobs:job_detail", args=[job.pk])).status_code == 200
    assert client.post(reverse("jobs:job_cancel", args=[job.pk])).status_code == 403
    job.refresh_from_db()
    assert job.cancel_requested_at is None
