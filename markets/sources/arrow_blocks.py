"""The weight of an Arrow file, from its footer and block headers, before anything is unpacked.

A packed buffer of a few bytes can claim gigabytes, and the usual reader believes the claim. Layouts
are those of the Arrow columnar format (File.fbs, Message.fbs): FlatBuffers tables, all little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"ARROW1"
FOOTER_SCHEMA, FOOTER_DICTIONARIES, FOOTER_BATCHES = 1, 2, 3
SCHEMA_FIELDS = 1
MESSAGE_KIND, MESSAGE_HEADER = 1, 2
KIND_DICTIONARY, KIND_BATCH = 2, 3
DICTIONARY_DATA = 1
BATCH_LENGTH, BATCH_BUFFERS, BATCH_COMPRESSION = 0, 2, 3
BLOCK_BYTES, BUFFER_BYTES = 24, 16
CONTINUATION = 0xFFFFFFFF
NOT_PACKED = -1
MAX_BLOCKS = 1_000_000


class BrokenFile(ValueError):
    """The headers of an Arrow file contradict themselves or point outside it."""


@dataclass(frozen=True)
class Weight:
    """What a file says it holds: rows and columns, and the bytes of all its buffers unpacked."""

    rows: int
    columns: int
    unpacked_bytes: int


def weigh_blocks(content: memoryview) -> Weight:
    """Rows, columns and unpacked bytes of an Arrow file.

    Raises BrokenFile or struct.error where the headers cannot be followed.
    """
    footer = _footer(content)
    schema = footer.table(FOOTER_SCHEMA)
    columns = schema.vector(SCHEMA_FIELDS, 4)[1] if schema else 0
    rows = unpacked = 0
    for field in (FOOTER_DICTIONARIES, FOOTER_BATCHES):
        for block in _blocks(footer, field):
            batch, body = _batch(content, *block)
            unpacked += _unpacked_bytes(batch, body)
            if field == FOOTER_BATCHES:
                rows += batch.number(BATCH_LENGTH, "<q")
    if rows < 0 or unpacked < 0:
        raise BrokenFile("a count is negative")
    return Weight(rows, columns, unpacked)


@dataclass(frozen=True)
class _Table:
    """One FlatBuffers table: a position in a buffer, from which its fields are found."""

    data: memoryview
    position: int

    def place(self, field: int) -> int:
        """Position of a field's value, or 0 where the table leaves it out."""
        start = self.position - _read(self.data, "<i", self.position)
        entry = 4 + 2 * field
        if entry + 2 > _read(self.data, "<H", start):
            return 0
        offset = _read(self.data, "<H", start + entry)
        return self.position + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return _read(self.data, form, place) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self.place(field)
        return _Table(self.data, place + _read(self.data, "<I", place)) if place else None

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Position of a vector's first item and the number of items."""
        place = self.place(field)
        if not place:
            return 0, 0
        start = place + _read(self.data, "<I", place)
        count = _read(self.data, "<I", start)
        if start + 4 + count * item_bytes > len(self.data):
            raise BrokenFile("a list runs beyond its block")
        return start + 4, count


def _read(data: memoryview, form: str, position: int) -> int:
    # A negative position would count from the end.
    if position < 0:
        raise BrokenFile("a position is negative")
    return int(struct.unpack_from(form, data, position)[0])


def _part(data: memoryview, start: int, length: int) -> memoryview:
    if start < 0 or length < 0 or start + length > len(data):
        raise BrokenFile("a block lies outside the file")
    return data[start : start + length]


def _root(data: memoryview) -> _Table:
    return _Table(data, _read(data, "<I", 0))


def _footer(content: memoryview) -> _Table:
    if content[-len(MAGIC) :] != MAGIC:
        raise BrokenFile("the footer is missing")
    end = len(content) - len(MAGIC) - 4
    length = _read(content, "<i", end)
    return _root(_part(content, end - length, length))


def _blocks(footer: _Table, field: int) -> Iterator[tuple[int, int, int]]:
    start, count = footer.vector(field, BLOCK_BYTES)
    if count > MAX_BLOCKS:
        raise BrokenFile("there are more blocks than any writer makes")
    for index in range(count):
        yield struct.unpack_from("<qi4xq", footer.data, start + index * BLOCK_BYTES)


def _batch(
    content: memoryview, offset: int, head_bytes: int, body_bytes: int
) -> tuple[_Table, memoryview]:
    head = _part(content, offset, head_bytes)
    prefix = 8 if _read(head, "<I", 0) == CONTINUATION else 4
    message = _root(head[prefix:])
    kind, header = message.number(MESSAGE_KIND, "<B"), message.table(MESSAGE_HEADER)
    if kind == KIND_DICTIONARY and header is not None:
        header = header.table(DICTIONARY_DATA)
    if header is None or kind not in (KIND_DICTIONARY, KIND_BATCH):
        raise BrokenFile("a block holds no rows")
    return header, _part(content, offset + head_bytes, body_bytes)


def _unpacked_bytes(batch: _Table, body: memoryview) -> int:
    is_packed = bool(batch.place(BATCH_COMPRESSION))
    start, count = batch.vector(BATCH_BUFFERS, BUFFER_BYTES)
    total = 0
    for index in range(count):
        offset, length = struct.unpack_from("<qq", batch.data, start + index * BUFFER_BYTES)
        buffer = _part(body, offset, length)
        claimed = _read(buffer, "<q", 0) if is_packed and length else NOT_PACKED
        if claimed < NOT_PACKED:
            raise BrokenFile("a size is negative")
        total += length if claimed == NOT_PACKED else claimed
    return total
