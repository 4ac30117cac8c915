from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.models import AuditEvent
from jobs.models import Job
from markets.models import Import, Source
from tests.factories import make_import, make_version

pytestmark = pytest.mark.django_db

PATH = "/datasets/new/download/"
FIELDS = {"venue": "okx", "symbol": "ETH/USDT", "timeframe": "1h", "from_at": "2024-01-01 00:00"}


@pytest.fixture
def page(client, alice):
    client.force_login(alice)
    return client


def test_empty_form_shows_the_declared_timeframe(page):
    shown = page.get(PATH).content.decode()
    assert '<option value="5m" selected>' in shown


def test_form_starts_a_download_once(page):
    answers = [page.post(PATH, {**FIELDS, "key": "k"}) for _ in range(2)]
    row = Import.objects.get()
    assert [answer["Location"] for answer in answers] == [f"/imports/{row.pk}/"] * 2
    assert row.download.to_json()["from_at"] == "2024-01-01T00:00:00Z"
    shown = page.get(f"/imports/{row.pk}/").content.decode()
    assert "ETH/USDT 1h from OKX" in shown
    assert "Time zone" not in shown


def test_refused_field_keeps_what_was_typed(page):
    answer = page.post(PATH, {**FIELDS, "venue": "http://127.0.0.1", "to_at": "2024-01-02"})
    assert answer.status_code == 400
    assert "venue" in answer.context["form"].errors
    assert 'value="2024-01-02"' in answer.content.decode()
    assert not Import.objects.exists()


def test_span_that_ends_before_it_begins_is_refused_at_its_end(page):
    answer = page.post(PATH, {**FIELDS, "to_at": "2023-01-01"})
    assert list(answer.context["form"].errors) == ["to_at"]


def test_newer_bars_are_asked_for_after_a_question(page, alice):
    version = make_version(alice.first_workspace())
    path = f"/datasets/{version.dataset_id}/newer/"
    assert "as version 2" in page.get(path).content.decode()
    answer = page.post(path, {"key": "k"})
    row = Import.objects.get()
    assert answer["Location"] == f"/imports/{row.pk}/"
    assert AuditEvent.objects.filter(action="download").count() == 1


def test_dataset_no_exchange_continues_says_so(page, alice):
    version = make_version(alice.first_workspace(), source=Source.SYNTHETIC)
    path = f"/datasets/{version.dataset_id}/newer/"
    assert "No exchange can be asked" in page.get(path).content.decode()
    assert page.post(path).status_code == 400


def test_failed_download_offers_to_go_on_and_an_upload_does_not(page):
    page.post(PATH, FIELDS)
    row = Import.objects.get()
    Job.objects.update(status="failed", ended_at=timezone.now())
    path = f"/imports/{row.pk}/resume/"
    assert path in page.get(f"/imports/{row.pk}/").content.decode()
    assert page.post(path)["Location"] == f"/imports/{row.pk}/"
    again = page.post(path)
    assert again.status_code == 409
    assert "has not ended yet" in again.content.decode()
    assert Job.objects.count() == 2
    upload = make_import(row.workspace, status="failed")
    assert "/resume/" not in page.get(f"/imports/{upload.pk}/").content.decode()


def test_report_names_the_exchange(page, alice):
    version = make_version(alice.first_workspace(), source=Source.EXCHANGE)
    version.report["exchange"] = {
        "venue": "okx",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "from_at": "2024-01-01T00:00:00Z",
        "to_at": "2024-02-10T00:00:00Z",
        "fetched_at": "2024-02-10T00:00:07Z",
        "pages": 4,
    }
    version.save()
    shown = page.get(version.get_absolute_url()).content.decode()
    assert "Downloaded from" in shown
    assert f"/datasets/{version.dataset_id}/newer/" in shown
