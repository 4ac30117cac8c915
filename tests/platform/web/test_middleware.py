import pytest
from django.test import Client

from jobs.statuses import JobStatus
from tests.factories import make_import, make_job, make_version

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
FORM = "application/x-www-form-urlencoded"


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


def test_the_api_names_the_parameter_that_holds_a_nul(client, alice):
    answer = client.get("/api/experiments/?q=%00")
    assert answer.status_code == 400
    assert list(answer.json()["fields"]) == ["q"]
    assert client.get("/api/runs/%00/").status_code == 404


def test_a_nul_in_a_cookie_sent_to_the_api_is_answered_in_the_form_of_its_errors(client):
    client.cookies["sessionid"] = "a\0b"
    answer = client.get("/api/experiments/")
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


@pytest.mark.parametrize(
    "path", ["/", "/experiments/", "/experiments/new/", "/nowhere/", "/api/jobs/"]
)
def test_no_cache_keeps_what_a_signed_in_person_sees(client, alice, path):
    assert client.get(path).headers["Cache-Control"] == "private, no-store"


def test_no_cache_keeps_downloaded_candles(client, alice):
    version = make_version(alice.first_workspace())
    answer = client.get(f"/datasets/{version.dataset_id}/versions/{version.number}/candles.parquet")
    assert answer.headers["Cache-Control"] == "private, no-store"
    answer.close()


def test_an_answer_with_an_etag_is_kept_by_the_browser_and_asked_for_again(client, alice):
    job = make_job(alice.first_workspace(), status=JobStatus.QUEUED)
    answer = client.get(f"/jobs/{job.pk}/status/")
    assert answer.headers["ETag"]
    assert answer.headers["Cache-Control"] == "private, no-cache"
    again = client.get(f"/jobs/{job.pk}/status/", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_static_files_stay_cacheable(settings):
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    (settings.STATIC_ROOT / "plain.txt").write_text("plain")
    answer = Client().get("/static/plain.txt")
    assert answer.status_code == 200
    assert "no-store" not in answer.headers["Cache-Control"]
    answer.close()
