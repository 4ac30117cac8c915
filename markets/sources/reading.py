"""A stored file to rows, whatever its format."""

from __future__ import annotations

from pathlib import Path

from markets.candles.errors import InvalidCandles
from markets.candles.raw import RawCandles
from markets.sources.feather import read_feather
from markets.sources.formats import (
    HEAD_BYTES,
    TAIL_BYTES,
    RefusedFile,
    SourceFormat,
    display_name,
    sniff,
)
from markets.sources.json_arrays import read_json
from markets.sources.parquet import read_parquet
from markets.sources.text import read_text
from markets.specs import ImportSpec

READERS = {
    SourceFormat.PARQUET: read_parquet,
    SourceFormat.FEATHER: read_feather,
    SourceFormat.JSON: read_json,
}


def read_source(
    path: Path, sent_name: str, spec: ImportSpec, *, last_line: int | None = None
) -> RawCandles:
    """The rows of a sent file in file order, with the settings found.

    With `last_line` only the rows up to this line (of text) or row (of a table) are read.

    Raises InvalidCandles for everything that is wrong with the file's structure; the rows
    themselves are judged by `validate_candles`.
    """
    found = sniff_file(path, sent_name)
    shown = display_name(sent_name)
    if found in READERS:
        return READERS[found](path, shown, spec, last_row=last_line)
    packed = found is SourceFormat.GZIP_TEXT
    return read_text(path, shown, spec, packed=packed, last_line=last_line)


def sniff_file(path: Path, sent_name: str) -> SourceFormat:
    """The format of a file on disk. Raises InvalidCandles with the code of the refusal."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(max(0, size - TAIL_BYTES))
        tail = stream.read(TAIL_BYTES)
    try:
        return sniff(head, tail, size, sent_name)
    except RefusedFile as error:
        raise InvalidCandles(error.code, error.message) from error
