"""What a sent file is, told by its first and last bytes. Light enough for the web process."""

from __future__ import annotations

import codecs
import unicodedata
import zlib
from enum import StrEnum

MAX_BYTES = 200 * 1024**2
MAX_NAME_CHARACTERS = 200
HEAD_BYTES = 64 * 1024
TAIL_BYTES = 16
ACCEPTED = (
    "CSV or TSV (.csv, .tsv, .txt), gzip of these (.csv.gz), Parquet (.parquet), "
    "Feather (.feather, .arrow), JSON arrays (.json)"
)
TEXT_EXTENSIONS = ("csv", "tsv", "txt")
MAX_JSON_BYTES = 50 * 1024**2
FOREIGN_EXTENSIONS = ("parquet", "feather", "arrow", "json", "gz")
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class SourceFormat(StrEnum):
    """A format that can be imported."""

    TEXT = "csv"
    GZIP_TEXT = "csv.gz"
    PARQUET = "parquet"
    FEATHER = "feather"
    JSON = "json"


EXTENSIONS: dict[SourceFormat, tuple[str, ...]] = {
    SourceFormat.TEXT: TEXT_EXTENSIONS,
    SourceFormat.GZIP_TEXT: ("gz",),
    SourceFormat.PARQUET: ("parquet",),
    SourceFormat.FEATHER: ("feather", "arrow"),
    SourceFormat.JSON: ("json",),
}


COLUMNAR_MAGICS = {b"PAR1": SourceFormat.PARQUET, b"ARROW1": SourceFormat.FEATHER}


class RefusedFile(ValueError):
    """A file that is refused before it is read; `status` is the HTTP status to answer."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message


def sniff(head: bytes, tail: bytes, size: int, sent_name: str) -> SourceFormat:
    """The format of a sent file of `size` bytes, from its first HEAD_BYTES and last TAIL_BYTES.

    Raises RefusedFile: `empty_file` 400, `too_large` 413, `unsupported_type` 415 when the content
    is nothing we read, `extension_mismatch` 400 when the name claims another accepted format,
    `not_utf8` 400 for JSON in UTF-16.
    """
    if size == 0 or not head:
        raise RefusedFile("empty_file", 400, "The file is empty. Choose a file with candles.")
    if size > MAX_BYTES:
        raise RefusedFile(
            "too_large", 413, f"The file has {size:,} bytes, at most {MAX_BYTES:,} are accepted."
        )
    found = _format_of(head, tail)
    extension = _extension(sent_name)
    if extension == "json" and head.startswith(UTF16_MARKS):
        raise RefusedFile(
            "not_utf8", 400, "The text is UTF-16, expected UTF-8. Save the file as UTF-8."
        )
    if found is None:
        raise RefusedFile(
            "unsupported_type", 415, f"This is none of the accepted file types: {ACCEPTED}."
        )
    if extension in _extensions_of_others(found):
        raise RefusedFile(
            "extension_mismatch",
            400,
            f"The name ends in .{extension}, but the content is {found.value}. "
            f"Rename the file to .{found.value}, or choose the right file.",
        )
    if found is SourceFormat.JSON and size > MAX_JSON_BYTES:
        raise RefusedFile(
            "too_large",
            413,
            f"The file has {size:,} bytes, at most {MAX_JSON_BYTES:,} are accepted as JSON. "
            "Write it as Parquet or CSV.",
        )
    return found


def display_name(sent_name: str) -> str:
    """The sent name for showing: no control or bidirectional characters, at most 200 characters.

    It is never part of a path.
    """
    shown = "".join(c for c in sent_name if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return shown[:MAX_NAME_CHARACTERS]


def _format_of(head: bytes, tail: bytes) -> SourceFormat | None:
    # A columnar file without its foot is damaged, which is for the job to say.
    for magic, columnar in COLUMNAR_MAGICS.items():
        if head.startswith(magic) and (tail.endswith(magic) or not _is_plain(head)):
            return columnar
    if head.startswith(b"\x1f\x8b"):
        unpacked = _unpacked_head(head)
        # What cannot be unpacked is damaged, which is for the job to say.
        return SourceFormat.GZIP_TEXT if not unpacked or _is_text(unpacked) else None
    if _is_plain(head) and _first_character(head) == b"[":
        return SourceFormat.JSON
    return SourceFormat.TEXT if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether the bytes may be delimited text; another encoding than UTF-8 is for the job to name."""
    if head.startswith(UTF16_MARKS):
        return True
    if not _is_plain(head) or head.startswith(b"%PDF"):
        return False
    return _first_character(head) not in (b"[", b"{", b"<")


def _is_plain(head: bytes) -> bool:
    return bool(head) and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in set(head))


def _first_character(head: bytes) -> bytes:
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _unpacked_head(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _extension(sent_name: str) -> str:
    _, dot, extension = sent_name.rpartition(".")
    return extension.strip().lower() if dot else ""


def _extensions_of_others(found: SourceFormat) -> set[str]:
    claimed = {*TEXT_EXTENSIONS, *FOREIGN_EXTENSIONS}
    return claimed - set(EXTENSIONS[found])
