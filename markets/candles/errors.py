"""What is wrong with a candle file, in words its sender can act on."""

from __future__ import annotations

from collections.abc import Sequence


class InvalidCandles(ValueError):
    """A candle file that cannot be accepted; `code` is stable, `message` says what to do.

    `line` is the first offending line (from 1), `lines` the first five, `count` how many there are.
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
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.count = count
        self.lines = tuple(lines)
