"""What is wrong with a candle file, in words its sender can act on."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
    """The text with a mark for each control character and lone surrogate, which no page, and not
    every store, can hold.
    """
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


class InvalidCandles(ValueError):
    """A candle file that cannot be accepted; `code` is stable, `message` says what to do.

    `line` is the first offending line (from 1), `lines` the first five, `count` how many there are.
    What the message repeats of the file is made printable.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        line: int | None = None,
        count: int | None = None,
        lines: Sequence[int] = (),
    ) -> None:
        self.message = printable(message)
        super().__init__(self.message)
        self.code = code
        self.line = line
        self.count = count
        self.lines = tuple(lines)
