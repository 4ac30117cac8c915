from datetime import UTC, datetime, timedelta

import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.frame import candles_sha256
from tests.markets.sources.candle_files import imported, plain_rows, text_of, written

START = datetime(2024, 1, 1)


def text_rows(form, count=6, start=START, step=timedelta(minutes=5)):
    cells = [row.partition(",")[2] for row in plain_rows(count)]
    return [f"{form(start + index * step)},{cell}" for index, cell in enumerate(cells)]


def sha256_of(tmp_path, rows, **fields):
    candles, report = imported(written(tmp_path, text_of(rows)), **fields)
    return candles_sha256(candles), report["timestamp"]["unit"]


def refusal(tmp_path, rows, **fields):
    with pytest.raises(InvalidCandles) as refused:
        imported(written(tmp_path, text_of(rows)), **fields)
    return refused.value


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("is_claimed", [True, False])
def test_every_unit_gives_the_same_checksum(tmp_path, unit, is_claimed):
    expected, _ = sha256_of(tmp_path, plain_rows())
    claim = {"timestamp_unit": unit} if is_claimed else {}
    assert sha256_of(tmp_path, plain_rows(unit=unit), **claim) == (expected, unit)


@pytest.mark.parametrize(
    "form",
    [
        lambda t: t.strftime("%Y-%m-%d %H:%M:%S"),
        lambda t: t.strftime("%Y-%m-%dT%H:%M:%S"),
        lambda t: t.strftime("%Y-%m-%dT%H:%M"),
        lambda t: t.strftime("%Y-%m-%d %H:%M:%S.000"),
        lambda t: t.strftime("%Y-%m-%d %H:%M:%S.000000000"),
        lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda t: t.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        lambda t: (t + timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S+0200"),
        lambda t: (t - timedelta(hours=5)).strftime("%Y-%m-%d %H:%M:%S-05"),
        lambda t: t.replace(tzinfo=UTC).isoformat(),
    ],
)
def test_every_way_to_write_a_time_gives_the_same_checksum(tmp_path, form):
    expected, _ = sha256_of(tmp_path, plain_rows())
    assert sha256_of(tmp_path, text_rows(form)) == (expected, "text")


def test_offsets_may_differ_from_row_to_row(tmp_path):
    def form(t):
        hours = t.minute // 5 % 3
        return (t + timedelta(hours=hours)).strftime(f"%Y-%m-%d %H:%M:%S+0{hours}:00")

    expected, _ = sha256_of(tmp_path, plain_rows())
    assert sha256_of(tmp_path, text_rows(form))[0] == expected


def test_date_alone_is_midnight(tmp_path):
    rows = text_rows(lambda t: t.strftime("%Y-%m-%d"), step=timedelta(days=1))
    candles, report = imported(written(tmp_path, text_of(rows)))
    assert report["timeframe"] == "1d"
    assert report["first_at"] == "2024-01-01T00:00:00Z"
    assert len(candles) == 6


def test_twelve_hour_clock_has_midnight_and_noon(tmp_path):
    rows = text_rows(lambda t: t.strftime("%Y-%m-%d %I-%p"), count=24, step=timedelta(hours=1))
    assert rows[0].startswith("2024-01-01 12-AM")
    candles, report = imported(written(tmp_path, text_of(rows)))
    assert report["gap_count"] == 0
    assert report["last_at"] == "2024-01-01T23:00:00Z"
    assert len(candles) == 24


def test_local_times_become_utc(tmp_path):
    rows = text_rows(lambda t: t.strftime("%Y-%m-%d %H:%M:%S"))
    _, report = imported(written(tmp_path, text_of(rows)), timezone="Europe/Berlin")
    assert report["first_at"] == "2023-12-31T23:00:00Z"


@pytest.mark.parametrize("start", [datetime(2024, 3, 31, 1, 50), datetime(2024, 10, 27, 1, 50)])
def test_local_time_skipped_or_doubled_by_a_clock_change_is_refused(tmp_path, start):
    rows = text_rows(lambda t: t.strftime("%Y-%m-%d %H:%M:%S"), start=start)
    refused = refusal(tmp_path, rows, timezone="Europe/Berlin")
    assert (refused.code, refused.line) == ("ambiguous_local_time", 4)


def test_two_units_in_one_file_are_refused_with_the_first_differing_line(tmp_path):
    rows = [*plain_rows(3, unit="ms"), *plain_rows(6, unit="us")[3:]]
    refused = refusal(tmp_path, rows)
    assert (refused.code, refused.line) == ("mixed_timestamp_units", 5)


def test_times_with_and_without_zone_are_refused(tmp_path):
    rows = text_rows(lambda t: t.strftime("%Y-%m-%d %H:%M:%S") + ("Z" if t.minute > 10 else ""))
    refused = refusal(tmp_path, rows)
    assert (refused.code, refused.line) == ("mixed_timezones", 5)


def test_numbers_among_texts_are_refused(tmp_path):
    rows = [*plain_rows(3), *text_rows(lambda t: t.isoformat())[3:]]
    refused = refusal(tmp_path, rows)
    assert (refused.code, refused.line) == ("bad_timestamp", 5)


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("01/02/2024", "ambiguous_date"),
        ("01.02.2024 00:00", "ambiguous_date"),
        ("1.67253E+12", "bad_number"),
        ("1704067200000.5", "bad_number"),
        ("", "bad_timestamp"),
        ("yesterday", "bad_timestamp"),
        ("0x18CC251F52C", "bad_timestamp"),
        ("-5", "bad_timestamp"),
        ("2024-02-30 00:00:00", "bad_timestamp"),
        ("2024-01-01 25:00:00", "bad_timestamp"),
        ("99999999999999999999", "bad_timestamp"),
        ("2024-01-01 13-PM", "bad_timestamp"),
        ("9999-12-31T23:59:00Z", "timestamp_out_of_range"),
        ("0001-01-01T00:00:00+14:00", "timestamp_out_of_range"),
    ],
)
def test_what_is_no_time_is_named(tmp_path, cell, code):
    rows = plain_rows()
    rows[1] = cell + "," + rows[1].partition(",")[2]
    refused = refusal(tmp_path, rows)
    assert (refused.code, refused.line) == (code, 3)


@pytest.mark.parametrize("fields", [{"timestamp_unit": "s"}, {"timestamp_unit": "us"}])
def test_wrong_unit_lands_out_of_range(tmp_path, fields):
    assert refusal(tmp_path, plain_rows(unit="ms"), **fields).code == "timestamp_out_of_range"


@pytest.mark.parametrize(("claim", "is_text"), [("text", False), ("ms", True)])
def test_claim_of_the_wrong_kind_is_refused(tmp_path, claim, is_text):
    rows = text_rows(lambda t: t.isoformat()) if is_text else plain_rows()
    assert refusal(tmp_path, rows, timestamp_unit=claim).code == "bad_timestamp"


@pytest.mark.parametrize("first_second", [0, 86_400, 1_798_761_600, 4_102_444_800])
def test_1970_and_the_future_are_out_of_range(tmp_path, first_second):
    cells = [row.partition(",")[2] for row in plain_rows()]
    rows = [f"{first_second + 300 * i},{cell}" for i, cell in enumerate(cells)]
    refused = refusal(tmp_path, rows)
    assert (refused.code, refused.line) == ("timestamp_out_of_range", 2)


@pytest.mark.parametrize(("hours", "is_refused"), [(0, False), (1, True)])
def test_second_time_column_must_agree(tmp_path, hours, is_refused):
    dates = text_rows(lambda t: (t + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S"))
    rows = [f"{d.partition(',')[0]},{row}" for d, row in zip(dates, plain_rows(), strict=True)]
    path = written(tmp_path, "\n".join(["date,unix,open,high,low,close,volume", *rows]))
    if not is_refused:
        assert len(imported(path)[0]) == 6
        return
    with pytest.raises(InvalidCandles) as refused:
        imported(path)
    assert (refused.value.code, refused.value.line) == ("time_columns_disagree", 2)
