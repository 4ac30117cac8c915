"""Bad files and specs through the pages: refused beside the field, or failed with the line."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.machine import HEADER, candle_file
from tests.browser.walking import import_file, open_dataset, send_file, set_field, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
GOOD = "2024-01-01 00:{minute:02d}:00,100,102,99,101,5"


@pytest.fixture
def visitor(page: Page, machine) -> Page:
    sign_in(page, machine)
    return page


def text_file(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def candle_lines(**broken: str) -> str:
    """Twelve good rows of one hour; a keyword such as `row7` replaces that row."""
    rows = [GOOD.format(minute=5 * row) for row in range(12)]
    for name, text in broken.items():
        rows[int(name.removeprefix("row")) - 1] = text
    return "\n".join([HEADER, *rows, ""])


def expect_no_dataset(page: Page, symbol: str) -> None:
    page.goto(f"/datasets/?q={symbol}")
    expect(page.locator("main")).to_contain_text("Datasets")
    expect(page.locator("tbody").get_by_role("link", name=symbol)).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("nothing.csv", "", "The file is empty."),
        ("words.parquet", candle_lines(), "The name ends in .parquet, but the content is csv."),
        ("picture.csv", "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "none of the accepted file types"),
    ],
)
def test_a_refused_file_is_said_beside_its_field(visitor, watch, tmp_path, name, text, reason):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    watch.expect("/datasets/new/", 415 if name.startswith("picture") else 400)

    send_file(visitor, path, Symbol="BAD/FILE")

    field = visitor.locator('[data-field="file"]')
    expect(field.locator(".error")).to_contain_text(reason)
    expect(visitor.get_by_label("Symbol", exact=True)).to_have_value("BAD/FILE")
    expect(visitor.locator("#errors")).to_be_focused()
    expect_no_dataset(visitor, "BAD/FILE")
    assert watch.complaints == []


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ("2024-01-01 00:30:00,100,102", "field_count", "Line 8 has 3 fields, expected 6"),
        ("2024-01-01 00:30:00,100,98,99,101,5", "ohlc_violation", "1 row: the low, open"),
    ],
)
def test_a_broken_row_fails_the_import_with_its_line(visitor, watch, tmp_path, row, code, said):
    path = text_file(tmp_path, "broken.csv", candle_lines(row7=row))

    import_file(visitor, path, Symbol="BAD/ROW")

    live = visitor.locator("#live")
    expect(live).to_contain_text("failed")
    expect(live).to_contain_text("Line 8")
    expect(live).to_contain_text(said)
    expect(visitor.get_by_role("alert")).to_contain_text(code)
    expect(visitor.get_by_label("Symbol", exact=True)).to_have_value("BAD/ROW")
    expect_no_dataset(visitor, "BAD/ROW")
    assert watch.complaints == []


def test_an_invalid_spec_is_said_beside_its_field_and_nothing_is_lost(visitor, watch, tmp_path):
    watch.expect("/experiments/new/", 400)
    import_file(visitor, candle_file(tmp_path, days=66, symbol="SPEC"), Symbol="SPEC/USDT")
    open_dataset(visitor)
    visitor.get_by_role("link", name="Use in experiment").click()

    visitor.get_by_label("Name", exact=True).fill("Seven heads")
    set_field(visitor, "network.heads", "7")
    set_field(visitor, "training.batch", "64")
    visitor.get_by_role("button", name="Save and launch").click()

    heads = visitor.locator('[data-field="network.heads"]')
    expect(heads.locator(".error")).to_have_text("found 7; heads must divide 32 (the width)")
    expect(heads.locator("input")).to_have_value("7")
    expect(heads.locator("input")).to_be_visible()
    expect(visitor.locator('[data-field="training.batch"] input')).to_have_value("64")
    expect(visitor.get_by_label("Name", exact=True)).to_have_value("Seven heads")

    set_field(visitor, "network.heads", "4")
    set_field(visitor, "spec_json", '{"network": {"headz": 4}}')
    visitor.get_by_role("button", name="Save and launch").click()
    expect(visitor.locator('[data-field="spec_json"] .error')).to_contain_text("headz")
    visitor.goto("/experiments/?q=Seven")
    expect(visitor.locator("tbody").get_by_role("link", name="Seven heads")).to_have_count(0)
    assert watch.complaints == []
