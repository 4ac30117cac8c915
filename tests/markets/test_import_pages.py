"""The pages from an upload over its preview to the version, with the jobs run here."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.editing import new_key
from accounts.models import Role
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus
from markets.models import Dataset, Import
from tests import factories
from tests.path import run_job

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "timestamp,open,high,low,close,volume"
ROWS = [f"2024-01-01T{hour:02d}:00:00Z,10,12,9,11,{hour}" for hour in range(6)]
SETTINGS = {
    "symbol": "BTC/USDT",
    "venue": "binance",
    "kind": "spot",
    "timeframe": "auto",
    "timestamp_unit": "auto",
    "timezone": "UTC",
    "on_violation": "reject",
}


@pytest.fixture
def alice(client):
    user = factories.make_user("alice")
    client.force_login(user)
    return user


@pytest.fixture
def workspace(alice):
    return alice.first_workspace()


def text(rows=ROWS, header=HEADER):
    return "\n".join([header, *rows, ""]).encode()


def previewed(client, content=None, name="candles.csv", **fields):
    """The import of a sent file once its preview is there."""
    file = SimpleUploadedFile(name, content or text())
    client.post("/datasets/new/", {"file": file, **SETTINGS, **fields, "key": new_key()})
    row = Import.objects.latest("pk")
    run_job(row.job)
    return row


def press(client, row, button="confirm", key="press", **fields):
    return client.post(f"/imports/{row.pk}/{button}/", {**SETTINGS, "key": key, **fields})


def shown(client, row):
    return client.get(f"/imports/{row.pk}/").content.decode()


def finish(row):
    return run_job(Job.objects.get(candle_import=row))


def test_the_preview_shows_what_was_detected_and_the_rows(client, alice):
    page = shown(client, previewed(client, text().replace(b",", b";")))
    for words in ("semicolon", "1h", "ascending", "close ← close", "a new dataset"):
        assert words in page
    assert '<th scope="row" class="num">2024-01-01 05:00</th>' in page
    assert "Nothing in the file would be refused" in page
    assert "Preview again" in page
    assert not Dataset.objects.exists()


def test_the_form_asks_up_front_only_for_file_symbol_venue_and_kind(client, alice):
    page = client.get("/datasets/new/").content.decode()
    basic, advanced = page.split('<details class="more"')
    for name in ("file", "symbol", "venue", "kind"):
        assert f'name="{name}"' in basic
    for name in ("timeframe", "timestamp_unit", "timezone", "column_map", "on_violation"):
        assert f'name="{name}"' in advanced


def test_import_makes_the_version_that_was_previewed(client, alice):
    row = previewed(client)
    answer = press(client, row)
    assert answer.headers["Location"] == f"/imports/{row.pk}/"
    assert finish(row).status == JobStatus.SUCCEEDED
    page = shown(client, row)
    assert "Open BTC/USDT 1h" in page
    assert "Preview again" not in page


def test_the_wrong_line_is_named_before_anything_is_imported(client, alice):
    bad = [*ROWS[:3], "2024-01-01T03:00:00Z,10,8,9,11,3", *ROWS[4:]]
    page = shown(client, previewed(client, text(bad)))
    assert "Would be refused" in page
    assert "ohlc_violation" in page
    assert "Line 5" in page


def test_a_failed_import_is_mended_by_choosing_columns(client, alice):
    row = previewed(client, text(header="Zeit,Auf,Hoch,Tief,Zu,Menge"))
    press(client, row, key="first")
    assert finish(row).code == "columns_not_found"
    page = shown(client, row)
    assert "Try again" in page
    assert "need not be sent again" in page
    assert "2: Auf" in page
    names = ("timestamp", "open", "high", "low", "close", "volume")
    columns = {f"column_{name}": f"#{place}" for place, name in enumerate(names, 1)}
    press(client, row, key="second", **columns)
    assert finish(row).status == JobStatus.SUCCEEDED


def test_the_best_guess_is_chosen_where_one_column_has_no_known_name(client, alice):
    page = shown(client, previewed(client, text(header=HEADER.replace("close", "last"))))
    assert re.search(r'name="column_open".*?<option value="#2" selected>', page, re.S)
    assert re.search(r'name="column_close".*?<option value="" selected>Detect<', page, re.S)


def test_preview_again_reads_with_the_new_settings_and_imports_nothing(client, alice):
    row = previewed(client, text([line.replace("Z", "") for line in ROWS]))
    press(client, row, "preview", timezone="Europe/Berlin")
    assert finish(row).kind == JobKind.DETECT
    assert "2023-12-31 23:00" in shown(client, row)
    assert not Dataset.objects.exists()


def test_a_wrong_setting_is_said_beside_its_field(client, alice):
    answer = press(client, previewed(client), timezone="Mars/Base")
    page = answer.content.decode()
    assert answer.status_code == 400
    assert 'id="id_timezone_error"' in page
    assert 'value="Mars/Base"' in page
    assert Job.objects.count() == 1


def test_a_double_click_imports_once(client, alice):
    row = previewed(client)
    assert [press(client, row).status_code for _ in range(2)] == [302, 302]
    assert Job.objects.filter(kind=JobKind.IMPORT).count() == 1


def test_a_second_tab_learns_that_the_import_is_under_way_or_done(client, alice):
    row = previewed(client)
    press(client, row, key="one")
    answer = press(client, row, key="two")
    assert answer.status_code == 409
    assert "being read at the moment" in answer.content.decode()
    finish(row)
    answer = press(client, row, key="three")
    assert answer.status_code == 409
    assert "has been imported" in answer.content.decode()


def test_an_upload_that_is_gone_says_so_and_offers_to_upload_again(client, alice):
    row = previewed(client)
    Import.objects.update(upload=None)
    page = shown(client, row)
    assert "this one is gone" in page
    assert "Try again" not in page
    assert press(client, row).status_code == 409


def test_a_longer_file_says_what_it_extends_and_what_it_added(client, alice):
    first = previewed(client, text(ROWS[:4]))
    press(client, first)
    finish(first)
    longer = previewed(client, text())
    page = shown(client, longer)
    assert "the next version of" in page
    assert "after v1" in page
    press(client, longer, key="longer")
    finish(longer)
    page = shown(client, longer)
    assert "0 inside, 2 after; 0 of 4 common bars changed" in page


def test_equal_candles_say_which_version_they_are(client, alice):
    first = previewed(client)
    press(client, first)
    finish(first)
    again = previewed(client, text() + b"\n")
    press(client, again, key="again")
    finish(again)
    page = shown(client, again)
    assert "The candles are those of BTC/USDT 1h v1" in page
    assert "Against the version before" not in page


def test_import_newer_starts_with_the_instrument_of_the_dataset(client, workspace):
    version = factories.make_version(workspace, symbol="ETH/USDT")
    page = client.get(f"/datasets/new/?dataset={version.dataset_id}").content.decode()
    assert 'value="ETH/USDT"' in page
    assert 'value="binance"' in page
    assert '<option value="1h" selected>' in page


@pytest.mark.parametrize("text", ["x", "0", "9" * 30, "-1"])
def test_an_impossible_dataset_to_extend_is_404(client, alice, text):
    assert client.get(f"/datasets/new/?dataset={text}").status_code == 404


def test_a_dataset_of_others_is_not_extended(client, alice):
    foreign = factories.make_version(factories.make_user("charlie").first_workspace())
    assert client.get(f"/datasets/new/?dataset={foreign.dataset_id}").status_code == 404


def test_a_viewer_sees_the_preview_but_no_form(client, workspace):
    row = previewed(client)
    client.force_login(factories.make_user("bob", workspace, Role.VIEWER))
    page = shown(client, row)
    assert "How the file is understood" in page
    assert "Preview again" not in page
    assert press(client, row).status_code == 403


def test_names_in_the_file_are_shown_as_text(client, alice):
    header = HEADER.replace("volume", "<script>alert(1)</script>")
    page = shown(client, previewed(client, text(header=header)))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("name", "venue"),
    [("binance_BTCUSDT_5m.csv", "binance"), ("my_candles.csv", ""), ("candles.csv", "")],
)
def test_an_empty_venue_is_the_one_that_the_file_name_begins_with(client, alice, name, venue):
    row = previewed(client, name=name, venue="")
    assert row.spec.venue == venue
    assert f'name="venue" value="{venue}"' in shown(client, row) or not venue


def test_a_venue_that_was_written_stands_whatever_the_file_is_called(client, alice):
    assert previewed(client, name="binance_BTCUSDT_5m.csv", venue="kraken").spec.venue == "kraken"


def test_text_with_lone_carriage_returns_is_refused_with_the_reason(client, alice):
    page = shown(client, previewed(client, text().replace(b"\n", b"\r")))
    assert "Lines end in CR alone, expected LF or CRLF." in page
