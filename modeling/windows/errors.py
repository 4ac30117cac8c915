"""What can be wrong between a candle series and its samples."""

from __future__ import annotations


class NotEnoughHistory(Exception):
    """Too few bars for what the spec asks; `found` and `needed` count bars or samples."""

    code = "not_enough_history"

    def __init__(self, message: str, *, found: int, needed: int) -> None:
        super().__init__(message)
        self.found = found
        self.needed = needed


class ContextTooShort(Exception):
    """The window is too short to hold one whole bar of a timescale at every phase."""

    code = "context_too_short"


class IntervalsMeet(Exception):
    """Samples of two slices share time: what was learned could know what is tested."""

    code = "leak_intervals"
