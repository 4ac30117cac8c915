"""Which pages of candles are asked of an exchange, and how they are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_EMPTY = 3

Rows = NDArray[np.float64]
"""[N, 6]: open time in ms since 1970 UTC, open, high, low, close, volume."""


@dataclass(frozen=True)
class Span:
    """Opens of the bars wanted, in ms since 1970 UTC: from `from_ms` up to before `until_ms`."""

    from_ms: int
    until_ms: int
    bar_ms: int


@dataclass(frozen=True)
class PageRange:
    """Where a page began, where the next one begins, and how many bars it brought."""

    since_ms: int
    next_ms: int
    new_bars: int


@dataclass(frozen=True, eq=False)
class Page:
    """The rows of one answer within the span, sorted by time, and the range they stand for."""

    range: PageRange
    rows: Rows


def closed_span(from_ms: int, to_ms: int | None, bar_ms: int, now_ms: int) -> Span:
    """The bars from `from_ms` on, before `to_ms` (None: no end), that are closed at `now_ms`."""
    first = -(-from_ms // bar_ms) * bar_ms
    after_last_closed = (now_ms - bar_ms) // bar_ms * bar_ms + bar_ms
    return Span(first, min(to_ms or after_last_closed, after_last_closed), bar_ms)


def pages(
    ask: Callable[[int], Rows], span: Span, page_bars: int, had: Sequence[PageRange] = ()
) -> Iterator[Page]:
    """Ask page after page until the span is complete.

    The next page starts at the last bar received, so each overlaps its predecessor by one bar. A
    page without a new bar is followed by one that starts `page_bars` later; three in a row end
    the download. `had` are the ranges of pages that an earlier attempt received: it goes on there.
    """
    since, empty, overlap = _start(span, had)
    while empty < MAX_EMPTY and since < span.until_ms - (span.bar_ms if overlap else 0):
        rows = _within(ask(since), since, span)
        new = rows[:, 0] > since if overlap else np.ones(len(rows), dtype=np.bool_)
        overlap = bool(new.any())
        empty = 0 if overlap else empty + 1
        following = int(rows[-1, 0]) if overlap else since + page_bars * span.bar_ms
        yield Page(PageRange(since, following, int(new.sum())), rows)
        since = following


def _start(span: Span, had: Sequence[PageRange]) -> tuple[int, int, bool]:
    """Where to ask next, how many empty pages came last, and whether that bar was received."""
    if not had:
        return span.from_ms, 0, False
    empty = 0
    for page in reversed(had):
        if page.new_bars:
            break
        empty += 1
    return had[-1].next_ms, empty, not empty


def _within(rows: Rows, since: int, span: Span) -> Rows:
    rows = rows[(rows[:, 0] >= since) & (rows[:, 0] < span.until_ms)]
    return rows[np.argsort(rows[:, 0], kind="stable")]


def joined(pages_rows: Sequence[Rows]) -> tuple[Rows, int]:
    """All rows [N, 6] in order of pages, and how many overlapping bars had changed meanwhile.

    Where two pages have the same bar, the newer page's is kept.
    """
    kept: list[Rows] = []
    changed = 0
    for rows in pages_rows:
        if not len(rows):
            continue
        if kept and kept[-1][-1, 0] == rows[0, 0]:
            changed += int((kept[-1][-1] != rows[0]).any())
            kept[-1] = kept[-1][:-1]
            if not len(kept[-1]):
                kept.pop()
        kept.append(rows)
    return (np.concatenate(kept) if kept else np.empty((0, 6)), changed)
