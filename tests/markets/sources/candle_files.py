"""Small candle files that a person can check by hand."""

from __future__ import annotations

from pathlib import Path

from markets.candles.frame import Candles
from markets.candles.validation import validate_candles
from markets.sources.reading import read_source
from markets.specs import ImportSpec

NOW_NS = 1_767_225_600_000_000_000  # 2026-01-01
FIRST_SECOND = 1_704_067_200  # 2024-01-01
HEADER = "timestamp,open,high,low,close,volume"
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain_rows(count: int = 6, *, unit: str = "ms", step_s: int = 300) -> list[str]:
    """Rows of five-minute candles from 2024-01-01 00:00 with prices 100, 101, …"""
    return [
        f"{(FIRST_SECOND + index * step_s) * UNITS[unit]},"
        f"{100 + index}.5,{102 + index},{99 + index},{101 + index},{index}.25"
        for index in range(count)
    ]


def text_of(rows: list[str], header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def written(folder: Path, content: str | bytes, name: str = "candles.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def spec_of(**fields: object) -> ImportSpec:
    return ImportSpec.parse({"symbol": "BTC/USDT", **fields})


def imported(path: Path, **fields: object) -> tuple[Candles, dict]:
    spec = spec_of(**fields)
    return validate_candles(read_source(path, path.name, spec), spec, NOW_NS)


def notice_codes(report: dict) -> set[str]:
    return {notice["code"] for notice in report["notices"]}
