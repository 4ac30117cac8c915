"""What holds on every route: authentication, roles, strict bodies, one form of refusal."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.api_views import ApiView
from accounts.models import ApiToken, Membership, Role, Scope, User
from accounts.rest import AnonymousThrottle, FiniteJSONRenderer, UserThrottle
from jobs.api import JobList
from tests.api import bearer, raw_post, refusal
from tests.factories import PASSWORD, make_experiment, make_job, make_user, make_workspace

pytestmark = pytest.mark.django_db
NEW = "/api/experiments/"


def test_anonymous_request_is_401_with_a_challenge():
    answer = APIClient().get("/api/jobs/")
    assert refusal(answer, 401)["code"] == "not_authenticated"
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer a b", "Bearer outs_unknown", "Bearer \xe9", "Bearer outs_%00"]
)
def test_bad_token_is_401(alice, header):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header)
    refusal(client.get("/api/jobs/"), 401)


def test_revoked_expired_and_inactive_are_401(alice):
    client = bearer(alice)
    assert client.get("/api/jobs/").status_code == 200
    ApiToken.objects.update(revoked_at=timezone.now())
    refusal(client.get("/api/jobs/"), 401)
    ApiToken.objects.update(revoked_at=None, expires_at=timezone.now() - timedelta(seconds=1))
    refusal(client.get("/api/jobs/"), 401)
    ApiToken.objects.update(expires_at=timezone.now() + timedelta(days=1))
    User.objects.update(is_active=False)
    refusal(client.get("/api/jobs/"), 401)


def test_token_of_a_member_who_left_is_refused(alice):
    client = bearer(alice)
    Membership.objects.all().delete()
    refusal(client.get("/api/jobs/"), 403)


def test_last_use_of_a_token_is_noted(alice):
    bearer(alice).get("/api/jobs/")
    assert ApiToken.objects.get().last_used_at is not None


def test_token_is_stored_as_checksum_and_lives_a_year_at_most(alice):
    row, token = ApiToken.make(
        workspace=alice.first_workspace(), user=alice, name="x", scope=Scope.READ, days=9999
    )
    assert token.startswith("outs_")
    assert len(token) == 45
    assert token not in row.digest
    assert row.expires_at <= timezone.now() + timedelta(days=365)


def test_read_token_may_not_start_work(alice):
    answer = bearer(alice, scope=Scope.READ).post(NEW, {}, format="json")
    assert refusal(answer, 403)["code"] == "missing_scope"


def test_viewer_may_read_but_not_start_work(alice):
    viewer = make_user("vera", alice.first_workspace(), Role.VIEWER)
    client = bearer(viewer)
    assert client.get("/api/experiments/").status_code == 200
    assert refusal(client.post(NEW, {}, format="json"), 403)["code"] == "needs_editor"


def test_owner_elsewhere_who_only_views_here_may_not_cancel(alice):
    team = make_workspace()
    Membership.objects.create(workspace=team, user=alice, role=Role.VIEWER)
    job = make_job(team, status="queued")
    client = APIClient()
    client.force_login(alice)
    assert client.get(f"/api/jobs/{job.pk}/").status_code == 200
    answer = client.post(f"/api/jobs/{job.pk}/cancel/")
    assert refusal(answer, 403)["code"] == "needs_editor"


def test_token_sees_its_own_workspace_only(alice):
    team = make_workspace()
    Membership.objects.create(workspace=team, user=alice, role=Role.OWNER)
    job = make_job(team)
    refusal(bearer(alice).get(f"/api/jobs/{job.pk}/"), 404)


def test_session_needs_the_token_against_forged_requests(alice):
    job = make_job(alice.first_workspace(), status="queued")
    client = APIClient(enforce_csrf_checks=True)
    assert client.login(username="alice", password=PASSWORD)
    assert client.get("/api/jobs/").status_code == 200
    path = f"/api/jobs/{job.pk}/cancel/"
    refusal(client.post(path), 403)
    client.get("/login/")  # sets the cookie
    token = client.get("/jobs/").cookies.get("csrftoken") or client.cookies.get("csrftoken")
    assert token is not None
    assert client.post(path, HTTP_X_CSRFTOKEN=token.value).status_code == 202


def test_foreign_origin_is_refused_for_a_session(alice):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(alice)
    refusal(client.post(NEW, {}, format="json", HTTP_ORIGIN="https://evil.example"), 403)


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": ',
        b"[]",
        b"null",
        b'"text"',
        b'{"name": "a", "name": "b"}',
        b'{"spec": {"a": 1, "a": 2}}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"spec": NaN}',
        b'{"spec": Infinity}',
        b'{"spec": -Infinity}',
        b'{"spec": 1e400}',
        b'{"spec": ' + b"9" * 5000 + b"}",
        b'{"name": "a\\u0000b"}',
        b'{"name": "\\ud800"}',
        b'{"na\\u0000me": 1}',
        b"\xff\xfe",
        b'{"name": "\xe9"}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_json_that_cannot_be_used_is_refused(alice, body):
    assert refusal(raw_post(bearer(alice), NEW, body), 400)["code"] == "invalid_json"


def test_nesting_inside_a_text_is_no_nesting(alice):
    name = "[" * 150
    answer = raw_post(bearer(alice), NEW, b'{"name": "' + name.encode() + b'\\""}')
    assert "datasets" in refusal(answer, 400)["fields"]


def test_body_above_one_mebibyte_is_413(alice):
    body = b'{"name": "' + b"x" * 2**20 + b'"}'
    assert refusal(raw_post(bearer(alice), NEW, body), 413)["code"] == "too_large"


def test_empty_body_names_what_is_missing(alice):
    fields = refusal(raw_post(bearer(alice), NEW, b""), 400)["fields"]
    assert set(fields) == {"name", "datasets"}


def test_other_content_types_and_charsets_are_refused(alice):
    client = bearer(alice)
    refusal(raw_post(client, NEW, b"<a/>", "text/xml"), 415)
    refusal(raw_post(client, NEW, b"a=1", "application/x-www-form-urlencoded"), 415)
    refusal(raw_post(client, NEW, b"{}", "application/json; charset=foo"), 400)
    refusal(raw_post(client, NEW, b"{}", 'application/json; charset="UTF-8"; x'), 400)
    refusal(raw_post(client, "/api/datasets/", b"{}", "application/json"), 415)


def test_wrong_method_and_unknown_accept(alice):
    client = bearer(alice)
    answer = client.delete("/api/jobs/")
    assert refusal(answer, 405)["code"] == "method_not_allowed"
    assert "GET" in answer["Allow"]
    refusal(client.get("/api/jobs/", HTTP_ACCEPT="image/png"), 406)


@pytest.mark.parametrize(
    "path",
    [
        "/api/nothing/",
        "/api/jobs",
        "/api/jobs/1/",
        "/api/jobs/%00/",
        "/api/runs/-1/",
        "/api/runs/1e3/",
        "/api/runs/%00/",
        "/api/runs/٣/",
        f"/api/runs/{10**30}/",
        f"/api/runs/{'9' * 5000}/",
        "/api/runs/0/",
        f"/api/datasets/1/versions/{10**30}/candles/",
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_no_address_or_no_id_is_404_or_405(alice, path, method):
    answer = getattr(bearer(alice), method)(path)
    refusal(answer, 405 if answer.status_code == 405 and method == "post" else 404)


@pytest.mark.parametrize(
    "query",
    ["page_size=1000000", "page_size=0", "page_size=-1", "page_size=a", "page_size=" + "9" * 5000],
)
def test_page_size_is_bounded(alice, query):
    assert "page_size" in refusal(bearer(alice).get(f"/api/jobs/?{query}"), 400)["fields"]


@pytest.mark.parametrize("number", ["0", "2", "-1", "x", "%00", "9" * 5000])
def test_page_that_is_not_there_is_404(alice, number):
    refusal(bearer(alice).get(f"/api/jobs/?page={number}"), 404)


def test_unknown_parameter_is_named(alice):
    body = refusal(bearer(alice).get("/api/jobs/?ordering=password"), 400)
    assert list(body["fields"]) == ["ordering"]


def test_list_is_paged(alice):
    for _ in range(3):
        make_job(alice.first_workspace())
    body = bearer(alice).get("/api/jobs/?page_size=2&page=2").json()
    assert (body["count"], len(body["results"]), body["next"]) == (3, 1, None)


@pytest.mark.parametrize("key", ["x" * 201, "with blank", "über", "\x7f"])
def test_malformed_idempotency_key_is_400(alice, key):
    experiment = make_experiment(alice.first_workspace())
    answer = bearer(alice).post(
        f"{NEW}{experiment.pk}/runs/", {}, format="json", HTTP_IDEMPOTENCY_KEY=key
    )
    assert refusal(answer, 400)["code"] == "invalid_idempotency_key"


def test_request_id_is_echoed(alice):
    answer = bearer(alice).get("/api/nothing/", HTTP_X_REQUEST_ID="abcdef-123456")
    assert refusal(answer, 404)["request_id"] == "abcdef-123456"


def test_number_that_is_not_finite_is_null():
    data = {"a": [float("nan"), 1.5, {"b": float("inf")}], "c": (-float("inf"), "NaN")}
    assert FiniteJSONRenderer().render(data) == b'{"a":[null,1.5,{"b":null}],"c":[null,"NaN"]}'


def test_mistake_of_ours_is_500_with_a_reference_and_no_traceback(alice, monkeypatch):
    def broken(self, request):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(JobList, "get", broken)
    body = refusal(bearer(alice).get("/api/jobs/"), 500)
    assert body["code"] == "server_error"
    assert body["request_id"] in body["detail"]
    assert "secret" not in body["detail"]


@pytest.fixture
def two_a_minute(monkeypatch):
    cache.clear()
    monkeypatch.setattr(ApiView, "throttle_classes", [UserThrottle, AnonymousThrottle])
    for throttle in (UserThrottle, AnonymousThrottle):
        monkeypatch.setattr(throttle, "THROTTLE_RATES", {"user": "2/min", "anon": "2/min"})
    yield
    cache.clear()


@pytest.mark.parametrize(("header", "before"), [("", 401), ("Bearer outs_guess", 401), (None, 200)])
def test_too_many_requests_are_429_with_retry_after(alice, two_a_minute, header, before):
    client = bearer(alice) if header is None else APIClient()
    if header:
        client.credentials(HTTP_AUTHORIZATION=header)
    answers = [client.get("/api/jobs/") for _ in range(3)]
    assert [answer.status_code for answer in answers[:2]] == [before, before]
    assert refusal(answers[2], 429)["code"] == "throttled"
    assert 1 <= int(answers[2]["Retry-After"]) <= 60
