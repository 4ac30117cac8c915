import pytest

from tests.factories import make_import, make_user

pytestmark = pytest.mark.django_db
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def alice(client):
    user = make_user("alice")
    client.force_login(user)
    return user


@pytest.mark.parametrize(
    "path",
    [
        "/datasets/?q=%00",
        "/experiments/?q=%00",
        "/runs/?q=a%00b",
        "/backtests/?q=%00",
        "/jobs/?q=%00",
        "/data%00sets/",
    ],
)
def test_a_nul_in_the_address_is_a_bad_request(client, alice, path):
    answer = client.get(path)
    assert answer.status_code == 400
    assert "could not be read" in answer.content.decode()
    assert answer.headers["X-Request-ID"] in answer.content.decode()


def test_a_nul_in_the_search_of_a_log_is_a_bad_request(client, alice):
    job = make_import(alice.first_workspace()).job
    assert client.get(f"/jobs/{job.pk}/log/?q=a").status_code == 200
    assert client.get(f"/jobs/{job.pk}/log/?q=%00").status_code == 400


def test_an_escaped_percent_before_two_noughts_is_no_nul(client, alice):
    assert client.get("/experiments/?q=%2500").status_code == 200


def test_a_nul_sent_to_the_api_is_answered_in_the_form_of_its_errors(client, alice):
    answer = client.get("/api/experiments/?q=%00")
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "detail", "fields", "request_id"}


def test_a_nul_in_a_form_is_a_bad_request(client):
    answer = client.post("/login/", "username=a%00b&password=x", content_type=FORM)
    assert answer.status_code == 400
    assert "could not be read" in answer.content.decode()


def test_a_nul_in_the_session_cookie_is_a_bad_request(client):
    client.cookies["sessionid"] = "a\0b"
    assert client.get("/experiments/").status_code == 400


def test_a_form_without_nul_reaches_its_page(client, alice):
    answer = client.post("/theme/", "next=/jobs/", content_type=FORM)
    assert answer.headers["Location"] == "/jobs/"
