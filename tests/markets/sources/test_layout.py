import pytest

from markets.candles.errors import InvalidCandles
from markets.sources.layout import base_and_quote, layout_of_header, layout_without_header
from specs.declaration import InvalidSpec
from tests.markets.sources.candle_files import imported, notice_codes, plain_rows, spec_of, written

PLAIN = ["timestamp", "open", "high", "low", "close", "volume"]


def roles(header, **fields):
    return layout_of_header(header, spec_of(**fields)).columns


def test_names_are_taken_however_they_are_written():
    columns = roles([" Open Time ", "OPEN", "High", "low ", "Close", "Vol."])
    assert columns == {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}


@pytest.mark.parametrize("name", ["open_time", "unix", "time", "datetime", "date"])
def test_every_time_name_is_known(name):
    assert roles([*PLAIN[1:], name])["timestamp"] == 5


def test_close_time_is_never_the_time():
    with pytest.raises(InvalidCandles) as refused:
        roles(["close_time", *PLAIN[1:]])
    assert refused.value.code == "columns_not_found"
    assert "Missing: timestamp." in refused.value.message


def test_missing_columns_and_found_ones_are_named():
    with pytest.raises(InvalidCandles) as refused:
        roles(["timestamp", "open", "high", "Price", "volume"])
    assert "Missing: low, close." in refused.value.message
    assert "Found: timestamp, open, high, Price, volume." in refused.value.message


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(InvalidCandles) as refused:
        roles([*PLAIN, "Open"])
    assert refused.value.code == "duplicate_column"
    assert "Columns 2 and 7" in refused.value.message


def test_unused_columns_are_noticed():
    layout = layout_of_header([*PLAIN, "count", "ignore"], spec_of())
    assert layout.ignored == ("count", "ignore")
    assert [(notice.code, notice.count) for notice in layout.notices] == [("columns_ignored", 2)]


@pytest.mark.parametrize(
    ("header", "symbol", "base", "quote"),
    [
        (["volume", "Volume USD"], "BTC/USD", 5, 6),
        (["volume_btc", "volume"], "BTCUSD", 5, 6),
        (["Volume ETH", "Volume USDT"], "ETHUSDT", 5, 6),
        (["Volume ETH", "Volume BTC"], "ETH/BTC", 5, 6),
        (["volumefrom", "volumeto"], "BTC/USD", 5, 6),
        (["volume", "turnover"], "BTC/USD", 5, 6),
    ],
)
def test_base_and_quote_volume_are_told_apart(header, symbol, base, quote):
    columns = roles([*PLAIN[:5], *header], symbol=symbol)
    assert (columns["volume"], columns["quote_volume"]) == (base, quote)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTC/USDT", ("btc", "usdt")),
        ("BTCUSDT", ("btc", "usdt")),
        ("ETH-BTC", ("eth", "btc")),
        ("BTC/USDT:USDT", ("btc", "usdt")),
        ("XYZ", ("xyz", "")),
    ],
)
def test_symbol_is_split(symbol, expected):
    assert base_and_quote(symbol) == expected


@pytest.mark.parametrize("count", [6, 7, 12])
def test_headerless_columns_are_taken_by_position(count):
    columns = layout_without_header(count, spec_of()).columns
    assert {role: columns[role] for role in PLAIN} == dict(zip(PLAIN, range(6), strict=True))


def test_other_headerless_count_asks_for_a_map():
    with pytest.raises(InvalidCandles, match=r"8 columns.*column map") as refused:
        layout_without_header(8, spec_of())
    assert refused.value.code == "columns_not_found"


def test_map_by_name_overrides_what_was_detected():
    columns = roles([*PLAIN, "Adj. Close"], column_map={"close": "Adj. Close"})
    assert (columns["close"], columns["open"]) == (6, 1)


def test_map_to_a_column_that_is_not_there_is_refused():
    for text in ("Nothing", "#7", "#0"):
        with pytest.raises(InvalidCandles, match="column map says close") as refused:
            roles(PLAIN, column_map={"close": text})
        assert refused.value.code == "columns_not_found"


def test_map_with_a_header_that_no_file_may_have_is_refused():
    with pytest.raises(InvalidSpec, match="close has 300 characters; expected at most 256"):
        spec_of(column_map={"close": "x" * 300})


def test_map_by_number_reads_a_file_of_any_shape_without_header(tmp_path):
    rows = [f"x,{row},y" for row in plain_rows()]
    numbers = {role: f"#{index}" for index, role in enumerate(PLAIN, 2)}
    candles, report = imported(written(tmp_path, "\n".join(rows)), column_map=numbers)
    assert len(candles) == 6
    assert candles.close[0] == 101
    assert report["file"]["layout"] == "column map"


def test_symbol_column_with_two_symbols_is_refused(tmp_path):
    rows = [f"{row},{symbol}" for row, symbol in zip(plain_rows(), "AAABBB", strict=True)]
    path = written(tmp_path, "\n".join([",".join([*PLAIN, "symbol"]), *rows]))
    with pytest.raises(InvalidCandles, match="A and B") as refused:
        imported(path)
    assert refused.value.code == "several_symbols"


@pytest.mark.parametrize(("found", "is_noticed"), [("btc-usdt", False), ("ETHUSDT", True)])
def test_symbol_that_differs_from_the_form_is_noticed(tmp_path, found, is_noticed):
    rows = [f"{row},{found}" for row in plain_rows()]
    path = written(tmp_path, "\n".join([",".join([*PLAIN, "symbol"]), *rows]))
    _, report = imported(path)
    assert ("symbol_differs" in notice_codes(report)) is is_noticed
