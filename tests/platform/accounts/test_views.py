import re

import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEvent, SignInLink
from accounts.services import make_sign_in_link
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


def test_signing_in_leads_to_the_dashboard_and_is_audited(client, alice):
    answer = client.post("/login/", {"username": "alice", "password": PASSWORD})
    assert answer.headers["Location"] == "/"
    assert AuditEvent.objects.filter(action="sign_in", user=alice).exists()


def test_a_wrong_password_is_400_and_says_the_same_for_unknown_names(client, alice):
    known = client.post("/login/", {"username": "alice", "password": "wrong"})
    unknown = client.post("/login/", {"username": "nobody", "password": "wrong"})
    assert known.status_code == unknown.status_code == 400
    assert "do not match" in known.content.decode()
    assert "do not match" in unknown.content.decode()


@pytest.mark.parametrize(
    "sent",
    [
        {"username": "ali\0ce", "password": PASSWORD},
        {"username": "a" * 5000, "password": PASSWORD},
        {"username": "alice", "password": "\0"},
        {"username": "alice", "password": "p" * 5000},
    ],
)
def test_a_name_or_password_that_can_be_nobodys_is_answered_like_a_wrong_password(
    client, alice, settings, sent
):
    settings.AXES_ENABLED = True
    answer = client.post("/login/", sent)
    assert answer.status_code == 400
    assert "do not match" in answer.content.decode()
    assert not AccessAttempt.objects.exists()
    assert AuditEvent.objects.filter(action="sign_in_failed").count() == 1


def test_a_wrong_password_is_counted_and_its_name_is_audited(client, alice, settings):
    settings.AXES_ENABLED = True
    client.post("/login/", {"username": "alice", "password": "wrong"})
    assert AccessAttempt.objects.get().username == "alice"
    assert AuditEvent.objects.get(action="sign_in_failed").subject == "alice"


def test_sign_in_never_redirects_to_another_site(client, alice):
    body = {"username": "alice", "password": PASSWORD, "next": "https://elsewhere.example/"}
    assert client.post("/login/", body).headers["Location"] == "/"


def test_the_sixth_wrong_password_is_429_with_retry_after(client, alice, settings):
    settings.AXES_ENABLED = True
    for _ in range(6):
        answer = client.post("/login/", {"username": "alice", "password": "wrong"})
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "900"
    assert "15 minutes" in answer.content.decode()


def test_a_sign_in_link_works_once(client, alice):
    link = make_sign_in_link(alice)
    assert client.post(link).headers["Location"] == "/"
    assert client.get("/").status_code == 200
    client.logout()
    for again in (client.post(link), client.get(link)):
        assert again.status_code == 410
        assert "no longer valid" in again.content.decode()
    assert client.get("/").status_code == 302


def test_opening_a_sign_in_link_neither_signs_in_nor_uses_it_up(client, alice):
    link = make_sign_in_link(alice)
    for ask in (client.head, client.get, client.get):
        assert ask(link).status_code == 200
    assert client.get("/").status_code == 302
    assert not AuditEvent.objects.filter(action="sign_in_link").exists()
    assert client.post(link).status_code == 302
    assert AuditEvent.objects.filter(action="sign_in_link", user=alice).count() == 1


def test_the_page_of_a_sign_in_link_has_one_button_that_signs_in(alice):
    strict = Client(enforce_csrf_checks=True)
    link = make_sign_in_link(alice)
    page = strict.get(link).content.decode()
    assert page.count(">Sign in</button>") == 1
    assert strict.post(link).status_code == 403
    sent = {"csrfmiddlewaretoken": re.search('csrfmiddlewaretoken" value="([^"]+)', page)[1]}
    assert strict.post(link, sent).headers["Location"] == "/"


def test_an_expired_sign_in_link_is_dead(client, alice):
    link = make_sign_in_link(alice)
    SignInLink.objects.update(expires_at=timezone.now())
    assert client.get(link).status_code == client.post(link).status_code == 410


def test_signing_out_needs_a_post(client, alice):
    client.force_login(alice)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").headers["Location"] == "/login/"


def test_the_password_can_be_changed(client, alice):
    client.force_login(alice)
    new = "another long password"
    body = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/password/", body).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(new)


def test_a_short_password_is_refused_beside_its_field(client, alice):
    client.force_login(alice)
    body = {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}
    answer = client.post("/password/", body)
    assert answer.status_code == 400
    assert "too short" in answer.content.decode()


def test_a_form_without_its_token_is_403(alice):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/login/", {"username": "alice", "password": PASSWORD}).status_code == 403
