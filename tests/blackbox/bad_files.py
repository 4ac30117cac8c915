"""Fires the bad files of the import contract (rows B32 to B45) at a running server and compares.

Run from the root of the repository with `python -m tests.blackbox.bad_files ADDRESS TOKEN`; the
token needs the scope launch. Prints a line per row; the exit status is 1 when one does not hold.
"""

from __future__ import annotations

import argparse
import gzip
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq

from tests.blackbox.server import Answer, Broken, Memory, Server, data_worker
from tests.markets.sources.candle_files import (
    FIRST_SECOND,
    HEADER,
    PNG,
    ROWS,
    archive,
    gzip_bomb,
    packed,
    plain_rows,
    shifted,
    table,
    text_of,
    with_cell,
)

TEN_GB = 10 * 10**9
REFUSED_WITHIN_S = 1.0
GROWTH_MIB = 500
PLAIN = text_of(plain_rows())


@dataclass(frozen=True)
class Refused:
    """Answered at once with this status and code."""

    status: int
    code: str


@dataclass(frozen=True)
class Failed:
    """202, then the job fails with this code; its message has these words."""

    code: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accepted:
    """Sealed with these notices; `equal` says that the sha256 is that of the plain file."""

    notices: tuple[str, ...] = ()
    equal: bool = False
    dropped: tuple[str, int] | None = None


@dataclass(frozen=True)
class Row:
    number: str
    what: str
    content: bytes
    expect: Refused | Failed | Accepted
    name: str = "candles.csv"
    fields: dict[str, str] = field(default_factory=dict)
    is_bomb: bool = False


def row(
    number: str,
    what: str,
    content: str | bytes,
    expect: Refused | Failed | Accepted,
    name: str = "candles.csv",
    **fields: str,
) -> Row:
    sent = content.encode() if isinstance(content, str) else content
    return Row(number, what, sent, expect, name, fields, is_bomb=number == "B34")


def every_row() -> Iterator[Row]:
    yield row("B37", "plain file", PLAIN, Accepted(equal=True))
    for part in (empty_files, bombs, damaged_files, foreign_files, text_forms, numbers):
        yield from part()
    for part in (headers, broken_rules, orders_and_units, wrong_times):
        yield from part()


def empty_files() -> Iterator[Row]:
    yield row("B32", "empty file", b"", Refused(400, "empty_file"))
    yield row("B32", "header only", HEADER + "\n", Failed("no_rows"))
    yield row("B32", "no JSON rows", "[]", Failed("no_rows"), "candles.json")
    nothing = packed(pq.write_table, table(0))
    yield row("B32", "Parquet without rows", nothing, Failed("no_rows"), "candles.parquet")


def bombs() -> Iterator[Row]:
    lines = {"one line": b"1,2,3,4,5,6,", "rows": b"1704067200000,1,2,0.5,1.5,3\n", "blank": b"\n"}
    for what, line in lines.items():
        what = f"gzip of 1 GiB, {what}"
        yield row("B34", what, gzip_bomb(line), Failed("too_large"), "candles.csv.gz")


def damaged_files() -> Iterator[Row]:
    writers = {"parquet": pq.write_table, "feather": pa_feather.write_feather}
    extras = {"list": [[1.0]] * 6, "binary": [b"x"] * 6, "struct": [{"a": 1}] * 6}
    for form, write in writers.items():
        for what, extra in extras.items():
            content = packed(write, table(extra=pa.array(extra)))
            refused = Failed("unsupported_columns")
            yield row("B35", f"{form} with a {what} column", content, refused, f"candles.{form}")
        cut = packed(write, table(ROWS))[:-20]
        yield row("B35", f"{form} cut off", cut, Failed("damaged_file"), f"candles.{form}")
        mismatch = Refused(400, "extension_mismatch")
        yield row("B35", f"CSV named .{form}", PLAIN, mismatch, f"candles.{form}")
    yield row("B35", "PNG named .csv", PNG, Refused(415, "unsupported_type"))
    odd = packed(pq.write_table, table().append_column("odd\x00name", pa.array(range(6))))
    refused = Failed("unsupported_columns", ("column 7",))
    yield row("B35", "NUL in the name of a column", odd, refused, "candles.parquet")
    named = packed(pq.write_table, table(symbol=["BTC\x00USDT"] * 6))
    yield row("B35", "NUL in a cell", named, Accepted(("symbol_differs",)), "candles.parquet")
    times = packed(pq.write_table, table(timestamp=["2024\x00"] * 6))
    yield row("B35", "NUL in a time", times, Failed("bad_timestamp"), "candles.parquet")


def foreign_files() -> Iterator[Row]:
    files = {
        "zip": archive("candles.csv"),
        "xlsx": archive("xl/workbook.xml"),
        "pt": archive("data.pkl"),
        "pkl": pickle.dumps({"open": [1.0]}),
        "h5": b"\x89HDF\r\n\x1a\n" + bytes(20),
    }
    for extension, content in files.items():
        refused = Refused(415, "unsupported_type")
        yield row("B36", extension, content, refused, f"candles.{extension}")
        yield row("B36", f"{extension} named .csv", content, refused)
    packed_zip = gzip.compress(files["zip"])
    yield row("B36", "zip in gzip", packed_zip, Refused(415, "unsupported_type"), "candles.csv.gz")


def text_forms() -> Iterator[Row]:
    forms = {
        "BOM": ("\ufeff" + PLAIN, ("bom_removed",)),
        "CRLF": (PLAIN.replace("\n", "\r\n"), ("crlf_line_ends",)),
        "semicolon": (PLAIN.replace(",", ";"), ("delimiter",)),
        "tab": (PLAIN.replace(",", "\t"), ("delimiter",)),
    }
    for what, (content, notices) in forms.items():
        yield row("B37", what, content, Accepted(notices, equal=True))
    everything = "\ufeff" + PLAIN.replace(",", ";").replace("\n", "\r\n")
    yield row("B37", "all of them", everything, Accepted(("bom_removed",), equal=True))
    packed_text = gzip.compress(PLAIN.encode())
    yield row("B37", "gzip", packed_text, Accepted(equal=True), "candles.csv.gz")
    parquet = packed(pq.write_table, table())
    yield row("B37", "Parquet", parquet, Accepted(equal=True), "candles.parquet")
    feather = packed(pa_feather.write_feather, table())
    yield row("B37", "Feather", feather, Accepted(equal=True), "candles.feather")


def numbers() -> Iterator[Row]:
    for value in ("1_000", "0x10", "١٢٣", "$1.2"):
        refused = Failed("bad_number", ("Line 4", "close"))
        yield row("B38", f"price {value}", with_cell(4, value), refused)
    comma = with_cell(4, "1.5").replace(",", ";").replace(";1.5;", ";1,5;")
    yield row("B38", "1,5 with ;", comma, Failed("bad_number", ("Line 4", "decimal comma")))
    for value in ("NaN", "inf", "1e400", ""):
        content, what = with_cell(1, value), f"price {value or 'empty'}"
        yield row("B40", what, content, Failed("bad_value", ("4",)))
        dropped = Accepted(dropped=("bad_value", 1))
        yield row("B40", f"{what}, drop", content, dropped, on_violation="drop")


def headers() -> Iterator[Row]:
    lost = HEADER.replace("close", "last")
    yield row("B39", "no close", text_of(plain_rows(), lost), Failed("columns_not_found"))
    twice = HEADER.replace("close", "open")
    yield row("B39", "two open", text_of(plain_rows(), twice), Failed("duplicate_column"))
    spaced = HEADER.replace("close", " Close ")
    yield row("B39", "blanks in a name", text_of(plain_rows(), spaced), Accepted(equal=True))


def broken_rules() -> Iterator[Row]:
    wrong = {
        "price 0": (1, "0", "bad_price"),
        "high below low": (2, "1", "ohlc_violation"),
        "close above high": (4, "9999", "ohlc_violation"),
        "volume -1": (5, "-1", "negative_volume"),
    }
    for what, (column, value, code) in wrong.items():
        rows = [line.split(",") for line in plain_rows(ROWS)]
        for broken in range(10, 18):
            rows[broken][column] = value
        content = text_of([",".join(cells) for cells in rows])
        yield row("B41", what, content, Failed(code, ("12", "13", "14", "15", "16")))


def orders_and_units() -> Iterator[Row]:
    rows = plain_rows()
    yield row("B42", "newest first", text_of(rows[::-1]), Accepted(("sorted",), equal=True))
    mixed = [rows[place] for place in (3, 0, 5, 1, 4, 2)]
    yield row("B42", "unsorted", text_of(mixed), Accepted(("sorted",), equal=True))
    for unit in ("s", "ms", "us", "ns"):
        content = text_of(plain_rows(unit=unit))
        yield row("B43", f"times in {unit}", content, Accepted(equal=True))
    for first, second in (("s", "ms"), ("ms", "us"), ("us", "ns"), ("ns", "s")):
        halves = [*plain_rows(ROWS, unit=first)[:100], *plain_rows(ROWS, unit=second)[100:]]
        refused = Failed("mixed_timestamp_units", ("102",))
        yield row("B43", f"{first} then {second}", text_of(halves), refused)


def wrong_times() -> Iterator[Row]:
    next_year = datetime.now(timezone.utc).replace(minute=0, second=0) + timedelta(days=366)
    out_of_range = Failed("timestamp_out_of_range")
    yield row("B44", "next year", shifted(int(next_year.timestamp())), out_of_range)
    yield row("B44", "1970", shifted(0), out_of_range)
    twice = [line for pair in zip(plain_rows(), plain_rows(), strict=True) for line in pair]
    named = [f"{line},{'AB'[place % 2]}USDT" for place, line in enumerate(twice)]
    content = text_of(named, HEADER + ",symbol")
    yield row("B44", "two symbols", content, Failed("several_symbols"))
    other = [line.replace(".25", ".75") if at % 2 else line for at, line in enumerate(twice)]
    yield row("B44", "two symbols, unnamed", text_of(other), Failed("conflicting_duplicate"))
    irregular = with_cell(0, str((FIRST_SECOND + 660) * 1000))
    yield row("B44", "irregular step", irregular, Failed("off_grid", ("4",)))


class Comparison:
    """Fires rows at a server and says what does not hold."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.memory = Memory(data_worker(server))
        self.plain_sha256 = ""
        self.sent = 0

    def faults(self, row: Row) -> list[str]:
        """What is wrong with the answer to a row; empty where it is as expected."""
        before = self._datasets()
        try:
            faults = self._compared(row)
        except Broken as error:
            return [str(error)]
        if not isinstance(row.expect, Accepted) and self._datasets() != before:
            faults.append("a refused file left a dataset")
        return faults

    def _compared(self, row: Row) -> list[str]:
        # A symbol of its own, so that each file makes a version with notices of its own.
        self.sent += 1
        fields = {"symbol": f"BAD{self.sent}/USDT", **row.fields}
        if row.is_bomb:
            with self.memory.watched():
                return self._answered(row, fields)
        return self._answered(row, fields)

    def _answered(self, row: Row, fields: dict[str, str]) -> list[str]:
        answer = self.server.send(row.content, row.name, fields)
        if isinstance(row.expect, Refused):
            return difference((row.expect.status, row.expect.code), (answer.status, code(answer)))
        if answer.status != 202:
            return difference(202, f"{answer.status} {code(answer)}")
        job = self.server.ended(answer.body["job"])
        if isinstance(row.expect, Failed):
            return failure_faults(row.expect, job)
        if job["status"] != "succeeded":
            return difference("succeeded", f"{job['status']} {job['code']}: {job['message']}")
        return self._sealed(row.expect, answer.body["id"])

    def _sealed(self, expect: Accepted, pk: int) -> list[str]:
        done = self.server.get(f"/api/imports/{pk}/")
        version = self.server.get(f"/api/datasets/{done['dataset']}/versions/{done['version']}/")
        self.plain_sha256 = self.plain_sha256 or version["sha256"]
        faults = []
        if expect.equal:
            faults += difference(self.plain_sha256[:12], version["sha256"][:12])
        found = {notice["code"] for notice in version["notices"]}
        faults += [f"no notice {name}" for name in expect.notices if name not in found]
        if expect.dropped:
            dropped = [(item["code"], item["count"]) for item in version["report"]["dropped"]]
            faults += difference([expect.dropped], dropped)
        return faults

    def _datasets(self) -> int:
        count: int = self.server.get("/api/datasets/?page_size=1")["count"]
        return count


def code(answer: Answer) -> str:
    return str(answer.body.get("code", ""))


def failure_faults(expect: Failed, job: dict[str, str]) -> list[str]:
    faults = difference(("failed", expect.code), (job["status"], job["code"]))
    missing = [word for word in expect.words if word not in job["message"]]
    return [*faults, *(f"no {word!r} in: {job['message']}" for word in missing)]


def difference(expected: object, found: object) -> list[str]:
    return [] if expected == found else [f"expected {expected}, found {found}"]


def announced_faults(comparison: Comparison) -> list[str]:
    status, seconds = comparison.server.announce(TEN_GB)
    faults = difference(413, status)
    return faults + ([f"took {seconds:.1f} s"] if seconds > REFUSED_WITHIN_S else [])


def venue_faults(comparison: Comparison) -> list[str]:
    faults = []
    for venue in ("http://127.0.0.1", "169.254.169.254", "binance.evil.example"):
        asked = {"venue": venue, "symbol": "BTC/USDT", "from_at": "2024-01-01T00:00:00Z"}
        answer = comparison.server.post("/api/downloads/", asked)
        named = (answer.status, "venue" in answer.body.get("fields", {}))
        faults += [f"{venue}: {text}" for text in difference((400, True), named)]
    return faults


def memory_faults(comparison: Comparison) -> list[str]:
    memory = comparison.memory
    if memory.worker is None:
        return []
    grown = memory.growth_mib
    return [f"grew by {grown:.0f} MiB, at most {GROWTH_MIB}"] if grown >= GROWTH_MIB else []


LAST: tuple[tuple[str, str, Callable[[Comparison], list[str]]], ...] = (
    ("B33", "Content-Length of 10 GB", announced_faults),
    ("B34", "memory of the data worker under the bombs", memory_faults),
    ("B45", "addresses as a venue", venue_faults),
)


def compare(address: str, token: str) -> list[str]:
    """Fire everything, print a line per row, and return the rows that do not hold."""
    comparison = Comparison(Server(address, token))
    checks = [(row.number, row.what, lambda row=row: comparison.faults(row)) for row in every_row()]
    checks += [
        (number, what, lambda check=check: check(comparison)) for number, what, check in LAST
    ]
    wrong = []
    for number, what, check in checks:
        faults = check()
        line = f"{number} {'FAILS' if faults else 'holds'}  {what}  {'; '.join(faults)}".rstrip()
        print(line, flush=True)
        wrong += [line] if faults else []
    where = (
        "not on this machine"
        if comparison.memory.worker is None
        else (f"grew by {comparison.memory.growth_mib:.0f} MiB")
    )
    print(f"{len(checks)} rows, {len(wrong)} fail; the data worker: {where}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of the server, for example http://127.0.0.1:8000")
    parser.add_argument("token", help="an API token with the scope launch")
    options = parser.parse_args()
    return 1 if compare(options.address, options.token) else 0


if __name__ == "__main__":
    sys.exit(main())
