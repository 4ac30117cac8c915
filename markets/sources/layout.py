"""Which column holds what, from the header or from the number of fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from markets.candles.errors import InvalidCandles
from markets.candles.raw import Notice
from markets.specs import REQUIRED_COLUMNS, ImportSpec

TIME_NAMES = ("open_time", "timestamp", "unix", "time", "datetime", "date")
SYMBOL_NAMES = ("symbol", "ticker", "pair")
KNOWN_QUOTES = (
    *("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USDP", "USD", "DAI"),
    *("EUR", "GBP", "TRY", "JPY", "BTC", "ETH", "BNB"),
)
BINANCE_NAMES = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
HEADERLESS_NAMES: dict[int, tuple[str, ...]] = {
    6: ("timestamp", "open", "high", "low", "close", "volume"),
    7: ("timestamp", "open", "high", "low", "close", "volume", "count"),
    12: BINANCE_NAMES,
}
ARRAY_COUNTS = (6, 12)
SHOWN_NAMES = 20


@dataclass(frozen=True)
class Layout:
    """Column positions (from 0) by role, with the columns' own names for messages.

    Roles are the six required ones and, where present, `quote_volume` and `symbol`;
    `other_times` are further time columns, which must agree with the chosen one.
    """

    name: str
    names: tuple[str, ...]
    columns: dict[str, int]
    other_times: tuple[int, ...] = ()
    notices: tuple[Notice, ...] = field(default=())

    @property
    def used(self) -> dict[str, str]:
        """The column name of each role."""
        return {role: self.names[index] for role, index in self.columns.items()}

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the columns that no role uses."""
        used = {*self.columns.values(), *self.other_times}
        return tuple(name for index, name in enumerate(self.names) if index not in used)


def normalized(name: str) -> str:
    """A header text trimmed, in lower case, with runs of other characters as one underscore."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def known_names(header: Sequence[str]) -> set[str]:
    """The header's normalised names that say it is a header of candles."""
    wanted = {*TIME_NAMES, *REQUIRED_COLUMNS}
    return wanted & {normalized(name) for name in header}


def layout_of_header(header: Sequence[str], spec: ImportSpec) -> Layout:
    """The layout of a file with a header. Raises InvalidCandles `duplicate_column` when two columns
    have one normalised name and `columns_not_found` when a required one is missing.
    """
    names = [normalized(name) for name in header]
    positions = _positions(header, names)
    columns = _detected(positions, spec.symbol)
    columns.update(_mapped(header, names, spec.column_map or {}))
    _require_all(columns, header)
    chosen = columns["timestamp"]
    other_times = [positions[name] for name in TIME_NAMES if name in positions]
    if "timestamp" in (spec.column_map or {}):
        other_times = []
    layout = Layout(
        _name_of(names, spec),
        tuple(header),
        columns,
        tuple(index for index in other_times if index != chosen),
    )
    return _with_notice_of_ignored(layout)


def layout_without_header(count: int, spec: ImportSpec) -> Layout:
    """The layout of headerless rows of `count` fields: 6, 7 or 12, or a column map with #n.

    Raises InvalidCandles `columns_not_found` for any other count without a map.
    """
    notice = Notice("no_header", "The file has no header; columns were taken by position.")
    return replace(_layout_by_position(count, spec), notices=(notice,))


def layout_of_arrays(count: int, spec: ImportSpec) -> Layout:
    """The layout of JSON arrays of `count` fields: 6 or 12, or a column map with #n.

    Arrays never have a header, which is therefore no notice. Raises InvalidCandles
    `columns_not_found` for any other count without a map.
    """
    if count not in ARRAY_COUNTS and not spec.column_map:
        raise InvalidCandles(
            "columns_not_found",
            f"The arrays have {count} fields; 6 and 12 are known. "
            'Give a column map such as {"timestamp": "#1", "open": "#2", …}.',
        )
    return _layout_by_position(count, spec)


def _layout_by_position(count: int, spec: ImportSpec) -> Layout:
    names = HEADERLESS_NAMES.get(count, tuple(f"#{number}" for number in range(1, count + 1)))
    columns: dict[str, int] = {}
    if count in HEADERLESS_NAMES:
        columns = {"timestamp": 0} | {role: names.index(role) for role in REQUIRED_COLUMNS[1:]}
        if count == len(BINANCE_NAMES):
            columns["quote_volume"] = names.index("quote_volume")
    elif not spec.column_map:
        raise InvalidCandles(
            "columns_not_found",
            f"The file has no header and {count} columns; without a header 6, 7 or 12 are known. "
            'Give a column map such as {"timestamp": "#1", "open": "#2", …}.',
        )
    columns.update(_mapped(names, names, spec.column_map or {}))
    _require_all(columns, names)
    name = "binance klines" if count == len(BINANCE_NAMES) else "headerless"
    return Layout("column map" if spec.column_map else name, names, columns)


def guessed_columns(header: Sequence[str], count: int, symbol: str) -> dict[str, str]:
    """A column map filled as far as names tell, or by position where there is no header.

    Names in a language we do not know go by position too. A role that nothing points to is left
    out. Never raises: it fills a form that a person checks.
    """
    if not known_names(header) and (not header or len(header) in HEADERLESS_NAMES):
        names = HEADERLESS_NAMES.get(count, HEADERLESS_NAMES[6])[:count]
        roles = ("timestamp", *names[1:])
        return {role: f"#{n}" for n, role in enumerate(roles, 1) if role in REQUIRED_COLUMNS}
    positions = {normalized(name): index for index, name in reversed(list(enumerate(header)))}
    found = _detected({name: index for name, index in positions.items() if name}, symbol)
    return {role: header[found[role]] for role in REQUIRED_COLUMNS if role in found}


def base_and_quote(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol in lower case; the quote is empty when it cannot be told."""
    parts = re.split(r"[/_:-]", symbol)
    if len(parts) > 1:
        return parts[0].lower(), parts[1].lower()
    for quote in KNOWN_QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote).lower(), quote.lower()
    return symbol.lower(), ""


def _positions(header: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name:
            continue
        if name in positions:
            raise InvalidCandles(
                "duplicate_column",
                f"Columns {positions[name] + 1} and {index + 1} are both called "
                f"`{header[index].strip()}`. Remove or rename one of them.",
            )
        positions[name] = index
    return positions


def _detected(positions: Mapping[str, int], symbol: str) -> dict[str, int]:
    base, quote = base_and_quote(symbol)
    base_names = [f"volume_{base}"] + (["volume_btc"] if quote != "btc" else [])
    quote_names = ["volume_usd", f"volume_{quote}", "volumeto", "quote_volume"]
    quote_names += ["quote_asset_volume", "turnover"]
    choices: dict[str, Sequence[str]] = {
        "timestamp": TIME_NAMES,
        **{role: (role,) for role in ("open", "high", "low", "close")},
        "volume": (*base_names, "volumefrom", "volume", "vol"),
        "quote_volume": quote_names,
        "symbol": SYMBOL_NAMES,
    }
    columns: dict[str, int] = {}
    for role, wanted in choices.items():
        found = next((positions[name] for name in wanted if name in positions), None)
        if found is not None:
            columns[role] = found
    named_base = any(name in positions for name in base_names)
    if named_base and "quote_volume" not in columns and "volume" in positions:
        columns["quote_volume"] = positions["volume"]
    return columns


def _mapped(
    header: Sequence[str], names: Sequence[str], column_map: Mapping[str, str]
) -> dict[str, int]:
    return {role: _position(role, text, header, names) for role, text in column_map.items()}


def _position(role: str, text: str, header: Sequence[str], names: Sequence[str]) -> int:
    by_number = re.fullmatch(r"#([0-9]{1,3})", text.strip())
    if by_number and 1 <= int(by_number[1]) <= len(names):
        return int(by_number[1]) - 1
    if text in header:
        return list(header).index(text)
    if normalized(text) and normalized(text) in names:
        return list(names).index(normalized(text))
    raise InvalidCandles(
        "columns_not_found",
        f"The column map says {role} is `{text}`, but there is no such column. "
        f"Found: {_listed(header)}.",
    )


def _require_all(columns: Mapping[str, int], header: Sequence[str]) -> None:
    missing = [role for role in REQUIRED_COLUMNS if role not in columns]
    if missing:
        raise InvalidCandles(
            "columns_not_found",
            f"Missing: {', '.join(missing)}. Found: {_listed(header)}. "
            "Say in the column map which column holds which.",
        )


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(name.strip()[:40] or "(no name)" for name in header[:SHOWN_NAMES])
    more = len(header) - SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _name_of(names: Sequence[str], spec: ImportSpec) -> str:
    if spec.column_map:
        return "column map"
    if len(names) >= len(BINANCE_NAMES) and names[0] == "open_time" and names[6] == "close_time":
        return "binance klines"
    return "plain"


def _with_notice_of_ignored(layout: Layout) -> Layout:
    ignored = layout.ignored
    if not ignored:
        return layout
    notice = Notice("columns_ignored", f"Not used: {_listed(ignored)}.", len(ignored))
    return Layout(layout.name, layout.names, layout.columns, layout.other_times, (notice,))
