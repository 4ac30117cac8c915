from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import ApiToken, AuditEvent, User
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def said(name: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def test_new_user_can_sign_in_with_the_password_shown_once():
    found = json.loads(said("create_user", "dora", "--json"))
    user = User.objects.get(username="dora")
    assert user.check_password(found["password"])
    assert found["password"] not in said("create_user", "emil")
    assert user.first_workspace().name == found["workspace"] == "dora's workspace"


@pytest.mark.parametrize("name", ["alice", "", "a b", "x" * 151, "a\nb", "<b>"])
def test_user_that_cannot_be_made_gives_one_line(name):
    make_user("alice")
    with pytest.raises(CommandError) as error:
        said("create_user", name)
    assert "\n" not in str(error.value)
    assert User.objects.count() == 1


def test_sign_in_link_works_once():
    make_user("alice")
    link = json.loads(said("sign_in_link", "alice", "--json"))["link"]
    client = Client()
    assert client.post(link).status_code == 302
    assert client.get("/").status_code == 200
    assert Client().get(link).status_code == 410


def test_token_opens_the_api_and_is_audited():
    make_user("alice")
    found = json.loads(said("create_token", "alice", "--scope", "read", "--days", "7", "--json"))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {found['token']}")
    assert client.get("/api/jobs/").status_code == 200
    assert client.post("/api/experiments/", {}, format="json").status_code == 403
    assert ApiToken.objects.get().scope == "read"
    assert AuditEvent.objects.filter(action="token_made").exists()


def test_token_is_printed_for_people_too():
    make_user("alice")
    token = next(line for line in said("create_token", "alice").splitlines() if "token" in line)
    assert token.split()[-1].startswith("outs_")


@pytest.mark.parametrize(
    "arguments", [("bob",), ("alice", "--days", "0"), ("alice", "--days", "366")]
)
def test_token_that_cannot_be_made_gives_one_line(arguments):
    make_user("alice")
    with pytest.raises(CommandError) as error:
        said("create_token", *arguments)
    assert "\n" not in str(error.value)
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("name", ["sign_in_link", "create_token"])
def test_inactive_user_gets_neither_link_nor_token(name):
    make_user("alice")
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="no user 'alice'"):
        said(name, "alice")


def test_database_that_is_away_gives_one_line(monkeypatch):
    def away(*arguments: object, **options: object) -> None:
        raise OperationalError("connection refused\nis it running?")

    monkeypatch.setattr(User.objects, "filter", away)
    with pytest.raises(CommandError, match=r"manage\.py up$"):
        said("sign_in_link", "alice")
