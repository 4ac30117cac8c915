"""What a person says about a candle file."""

from __future__ import annotations

import re
import zoneinfo
from datetime import datetime, timezone
from typing import Literal, Self

from pydantic import field_validator, model_validator

from specs.declaration import InvalidSpec, Spec, UtcInstant, declared

TIMEFRAME_MINUTES: dict[str, int] = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
}
REQUIRED_COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
# How long an upload, or the pages of a download, outlive a job that made no version of them.
KEPT_HOURS = 24
UPLOAD_GONE = f"The uploaded file was kept for {KEPT_HOURS} hours and is gone. Upload it again."
HEADER_MAX = 256  # characters; a longer header is a field too long
VENUES: dict[str, str] = {
    "binance": "Binance",
    "binanceusdm": "Binance USD-M futures",
    "bybit": "Bybit",
    "okx": "OKX",
    "kraken": "Kraken",
    "coinbase": "Coinbase",
    "kucoin": "KuCoin",
    "bitstamp": "Bitstamp",
}
FIRST_BAR_AT = datetime(2009, 1, 3, tzinfo=timezone.utc)  # the day of the first Bitcoin block
SYMBOL_PATTERN = re.compile(r"^[A-Z0-9]{2,20}([/_-][A-Z0-9]{2,10})?(:[A-Z0-9]{2,10})?$")

FixedTimeframe = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"]
Timeframe = Literal["auto", FixedTimeframe]


def venue_in_name(file_name: str) -> str:
    """The venue that a file name begins with, as in binance_BTCUSDT_5m.parquet; else nothing."""
    first = file_name.split("_")[0]
    return first if first in VENUES else ""


def timeframe_name(minutes: int) -> str:
    """The name of a supported timeframe. Raises KeyError for any other number of minutes."""
    return {value: name for name, value in TIMEFRAME_MINUTES.items()}[minutes]


def _symbol(value: str) -> str:
    symbol = value.strip().upper()
    if not SYMBOL_PATTERN.fullmatch(symbol):
        raise ValueError("expected letters and digits such as BTCUSDT, BTC/USDT or BTC/USDT:USDT")
    return symbol


class ImportSpec(Spec):
    """How one candle file is to be read. Whatever is given is a claim to be checked."""

    symbol: str = declared(
        label="Symbol",
        help="The instrument as its venue names it, for example BTC/USDT.",
        max_length=50,
    )
    venue: str = declared(
        "", label="Venue", help="Where the candles come from, for example binance.", max_length=40
    )
    kind: Literal["spot", "perpetual"] = declared(
        "spot",
        label="Kind",
        help="A spot pair or a perpetual future. Short selling is simulated by default only on perpetuals.",
        choices={"spot": "Spot", "perpetual": "Perpetual"},
    )
    timeframe: Timeframe = declared(
        "auto",
        label="Timeframe",
        help="The length of one bar. Auto takes the most frequent difference between rows.",
        advanced=True,
    )
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns", "text"] = declared(
        "auto",
        label="Timestamp unit",
        help="The unit of numeric times, or text. Auto decides by magnitude.",
        advanced=True,
    )
    timezone: str = declared(
        "UTC",
        label="Time zone",
        help="The zone of times written without one, for example UTC or Europe/Berlin.",
        advanced=True,
        max_length=64,
    )
    column_map: dict[str, str] | None = declared(
        None,
        label="Column map",
        help='Which header holds which column, as JSON: {"timestamp": "Date", "open": "#2", …}. '
        "#n is the n-th column, from 1. Leave it empty to detect the columns.",
        advanced=True,
    )
    on_violation: Literal["reject", "drop"] = declared(
        "reject",
        label="Rows that break a rule",
        help="Refuse the file, or drop such rows and count them (at most 1 % of all rows).",
        choices={"reject": "Refuse the file", "drop": "Drop and count"},
        advanced=True,
    )

    @field_validator("symbol")
    @classmethod
    def _symbol_is_well_formed(cls, value: str) -> str:
        return _symbol(value)

    @field_validator("venue")
    @classmethod
    def _venue_is_a_word(cls, value: str) -> str:
        venue = value.strip().lower()
        if not re.fullmatch(r"[a-z0-9_-]*", venue):
            raise ValueError("expected lower-case letters, digits, - and _ such as binance")
        return venue

    @field_validator("timezone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError("expected the name of a time zone such as UTC or Europe/Berlin")
        return value

    @model_validator(mode="after")
    def _column_map_names_the_six(self) -> Self:
        for key, header in (self.column_map or {}).items():
            if key not in REQUIRED_COLUMNS:
                known = ", ".join(REQUIRED_COLUMNS)
                raise InvalidSpec({"column_map": f'unknown column "{key}"; expected {known}'})
            if len(header) > HEADER_MAX:
                found = f"{key} has {len(header)} characters; expected at most {HEADER_MAX}"
                raise InvalidSpec({"column_map": found})
        return self


class ResampleSpec(Spec):
    """Which coarser candles are made from sealed ones."""

    timeframe: FixedTimeframe = declared(
        label="Timeframe",
        help="The length of the new bars: longer than the candles' own, and a multiple of it. A bar "
        "is made only where all its base bars are there.",
    )


class DownloadSpec(Spec):
    """Which public candles are asked of an exchange. No address, host or key is ever taken."""

    venue: Literal[
        "binance", "binanceusdm", "bybit", "okx", "kraken", "coinbase", "kucoin", "bitstamp"
    ] = declared(
        "binance",
        label="Exchange",
        help="Whose public candles are fetched.",
        choices=VENUES,
    )
    symbol: str = declared(
        label="Symbol",
        help="The market as the exchange lists it, for example BTC/USDT or BTC/USDT:USDT.",
        max_length=50,
    )
    timeframe: FixedTimeframe = declared("5m", label="Timeframe", help="The length of one bar.")
    from_at: UtcInstant = declared(label="From", help="Open of the first bar, UTC.")
    to_at: UtcInstant | None = declared(
        None, label="To", help="End, UTC, exclusive. Empty: up to the last closed bar."
    )

    @field_validator("symbol")
    @classmethod
    def _symbol_is_well_formed(cls, value: str) -> str:
        return _symbol(value)

    @model_validator(mode="after")
    def _span_is_forward(self) -> Self:
        if self.from_at < FIRST_BAR_AT:
            raise InvalidSpec({"from_at": f"expected {FIRST_BAR_AT:%Y-%m-%d} or later"})
        if self.to_at is not None and self.to_at <= self.from_at:
            raise InvalidSpec({"to_at": f"expected later than {self.from_at:%Y-%m-%d %H:%M} UTC"})
        return self
