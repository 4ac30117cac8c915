import json

import numpy as np
import pytest

from markets.candles.errors import InvalidCandles
from markets.candles.raw import RawCandles, SourceSettings
from markets.candles.validation import validate_candles
from markets.specs import ImportSpec

FIRST_NS = 1_704_067_200_000_000_000
STEP_NS = 300_000_000_000
SETTINGS = SourceSettings("a.csv", 1, "csv", "plain", ",", "utf-8", {}, (), "ms", "UTC")
CELLS = {"open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0, "volume": 3.0}


def raw_candles(count=6, *, time=None, quote_volume=None, **columns):
    """Equal five-minute candles; a keyword such as close={3: 0.0} changes one row of a column."""
    values = {name: np.full(count, cell) for name, cell in CELLS.items()}
    for name, changes in columns.items():
        for row, value in changes.items():
            values[name][row] = value
    if time is None:
        time = FIRST_NS + STEP_NS * np.arange(count)
    return RawCandles(
        time=np.asarray(time, dtype=np.int64),
        **values,
        quote_volume=None if quote_volume is None else np.asarray(quote_volume, dtype=float),
        line=np.arange(2, count + 2),
        settings=SETTINGS,
    )


def validated(raw, *, now_ns=FIRST_NS + 10**18, **fields):
    return validate_candles(raw, ImportSpec.parse({"symbol": "BTC/USDT", **fields}), now_ns)


def refusal(raw, **fields):
    with pytest.raises(InvalidCandles) as refused:
        validated(raw, **fields)
    return refused.value


def notices(report):
    return {notice["code"]: notice["count"] for notice in report["notices"]}


BROKEN = [
    ("bad_value", {"close": {2: np.nan}}),
    ("bad_value", {"volume": {2: np.inf}}),
    ("bad_price", {"low": {2: 0.0}}),
    ("bad_price", {"open": {2: -1.0}}),
    ("negative_volume", {"volume": {2: -1.0}}),
    ("ohlc_violation", {"high": {2: 98.0}}),
    ("ohlc_violation", {"close": {2: 103.0}}),
    ("ohlc_violation", {"low": {2: 100.5}}),
]


@pytest.mark.parametrize(("code", "columns"), BROKEN)
def test_row_that_breaks_a_rule_ends_the_import_with_its_line(code, columns):
    refused = refusal(raw_candles(**columns))
    assert (refused.code, refused.line, refused.count, refused.lines) == (code, 4, 1, (4,))


@pytest.mark.parametrize(("code", "columns"), BROKEN)
def test_row_that_breaks_a_rule_is_dropped_and_counted_on_demand(code, columns):
    candles, report = validated(raw_candles(200, **columns), on_violation="drop")
    assert report["dropped"] == [{"code": code, "count": 1, "lines": [4]}]
    assert (len(candles), report["rows_read"], report["rows_kept"]) == (199, 200, 199)
    assert report["missing_bars"] == 1


def test_first_five_lines_and_the_count_are_named():
    refused = refusal(raw_candles(9, high=dict.fromkeys(range(1, 9), 50.0)))
    assert (refused.count, refused.lines) == (8, (3, 4, 5, 6, 7))
    assert "8 rows" in refused.message
    assert "Lines 3, 4, 5, 6, 7 and 3 more" in refused.message


def test_more_than_one_percent_dropped_is_too_much():
    raw = raw_candles(200, volume=dict.fromkeys(range(3), -1.0))
    assert refusal(raw, on_violation="drop").code == "too_many_violations"
    kept, _ = validated(raw_candles(200, volume=dict.fromkeys(range(2), -1.0)), on_violation="drop")
    assert len(kept) == 198


def test_one_row_breaks_one_rule_only():
    _, report = validated(raw_candles(200, low={2: -1.0}, volume={2: -1.0}), on_violation="drop")
    assert [item["code"] for item in report["dropped"]] == ["bad_price"]


def test_time_off_the_grid_is_a_violation():
    time = FIRST_NS + STEP_NS * np.arange(200)
    time[3] += 1_000_000_000
    assert refusal(raw_candles(200, time=time)).code == "off_grid"
    _, report = validated(raw_candles(200, time=time), on_violation="drop")
    assert report["dropped"] == [{"code": "off_grid", "count": 1, "lines": [5]}]


def test_equal_duplicates_are_dropped_under_both_policies():
    time = FIRST_NS + STEP_NS * np.array([0, 1, 1, 1, 2, 3])
    for policy in ("reject", "drop"):
        candles, report = validated(raw_candles(time=time), on_violation=policy)
        assert len(candles) == 4
        assert report["duplicates_dropped"] == notices(report)["duplicates_dropped"] == 2


def test_conflicting_duplicates_are_refused_or_all_dropped():
    time = FIRST_NS + STEP_NS * np.arange(400)
    time[3] = time[2]
    raw = raw_candles(400, time=time, close={3: 100.5})
    refused = refusal(raw)
    assert (refused.code, refused.count, refused.lines) == ("conflicting_duplicate", 2, (4, 5))
    candles, report = validated(raw, on_violation="drop")
    assert report["dropped"] == [{"code": "conflicting_duplicate", "count": 2, "lines": [4, 5]}]
    assert len(candles) == 398


def test_two_equal_rows_and_a_differing_one_are_all_in_conflict():
    time = FIRST_NS + STEP_NS * np.array([0, 1, 1, 1, 2, 3])
    assert refusal(raw_candles(time=time, close={3: 100.5})).count == 3


@pytest.mark.parametrize(
    ("order", "name"), [([5, 4, 3, 2, 1, 0], "newest first"), ([0, 2, 1, 3, 5, 4], "unsorted")]
)
def test_rows_in_another_order_are_sorted_with_a_notice(order, name):
    time = FIRST_NS + STEP_NS * np.array(order)
    candles, report = validated(raw_candles(time=time, volume={2: 7.0}))
    assert (np.diff(candles.time) > 0).all()
    assert candles.volume[order[2]] == 7.0
    assert report["timestamp"]["order"] == name
    assert notices(report)["sorted"] == 1


def test_last_bar_that_is_not_closed_is_dropped():
    now_ns = FIRST_NS + 5 * STEP_NS + 1
    candles, report = validated(raw_candles(), now_ns=now_ns)
    assert len(candles) == 5
    assert notices(report)["unfinished_bar_dropped"] == 1
    kept, _ = validated(raw_candles(), now_ns=FIRST_NS + 6 * STEP_NS)
    assert len(kept) == 6


def test_bar_opened_after_now_is_out_of_range():
    refused = refusal(raw_candles(), now_ns=FIRST_NS + 4 * STEP_NS)
    assert (refused.code, refused.line) == ("timestamp_out_of_range", 7)
    assert "2024-01-01T00:25:00Z" in refused.message


@pytest.mark.parametrize(("claim", "is_refused"), [("5m", False), ("auto", False), ("15m", True)])
def test_claimed_timeframe_is_checked(claim, is_refused):
    if is_refused:
        assert refusal(raw_candles(), timeframe=claim).code == "timeframe_mismatch"
    else:
        assert validated(raw_candles(), timeframe=claim)[1]["timeframe"] == "5m"


def test_timeframe_that_is_not_supported_is_refused():
    time = FIRST_NS + 7 * 60_000_000_000 * np.arange(6)
    refused = refusal(raw_candles(time=time))
    assert refused.code == "unsupported_timeframe"
    assert "7 minutes" in refused.message


@pytest.mark.parametrize(
    ("count", "code"), [(0, "no_rows"), (1, "too_few_rows"), (2, "too_few_rows")]
)
def test_too_few_rows_are_refused(count, code):
    assert refusal(raw_candles(count)).code == code


def test_swapped_volumes_are_put_right_and_counted():
    quote = np.full(6, 303.0)
    raw = raw_candles(volume={1: 404.0}, quote_volume=np.where(np.arange(6) == 1, 4.0, quote))
    candles, report = validated(raw)
    assert candles.volume.tolist() == [3.0, 4.0, 3.0, 3.0, 3.0, 3.0]
    assert notices(report) == {"volume_unit_switched": 1}
    assert "2024-01-01T00:05:00Z" in report["notices"][0]["message"]


def test_volumes_that_fit_neither_way_are_kept_and_counted():
    candles, report = validated(raw_candles(quote_volume=[303, 303, 9, 303, 0, np.nan]))
    assert candles.volume.tolist() == [3.0] * 6
    assert notices(report) == {"volume_mismatch": 1}


def test_negative_zero_volume_is_zero():
    candles, _ = validated(raw_candles(volume={1: -0.0}))
    assert not np.signbit(candles.volume).any()


def test_raw_rows_are_not_changed():
    raw = raw_candles(time=FIRST_NS + STEP_NS * np.array([5, 4, 3, 2, 1, 0]), volume={1: -0.0})
    before = raw.time.copy(), raw.volume.copy()
    validated(raw)
    assert np.array_equal(raw.time, before[0])
    assert np.signbit(raw.volume[1])


def test_report_is_plain_json():
    _, report = validated(raw_candles())
    assert json.loads(json.dumps(report, allow_nan=False)) == report
