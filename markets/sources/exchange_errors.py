"""Why an exchange gave no candles, in words the person can act on, and how often it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from markets.sources.exchange_network import Unanswered
from markets.specs import KEPT_HOURS

T = TypeVar("T")
TRIES = 6
LONGEST_PAUSE_S = 60.0
LONGEST_ASKED_S = 900.0


class ExchangeFailed(Exception):
    """A download that cannot go on; `code` is stable, `message` says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def patiently(ask: Callable[[], T], name: str, sleep: Callable[[float], None]) -> T:
    """The answer of `ask`, asked again after 1, 2, 4 … 60 s, or when Retry-After says.

    `name` is the exchange in messages; `sleep` waits so many seconds and may raise to stop.
    Raises ExchangeFailed `exchange_unreachable` after six failures in a row, and `exchange_busy`
    when the exchange asks for more than 15 minutes.
    """
    failure: Unanswered | None = None
    for number in range(TRIES):
        if failure is not None:
            sleep(_pause_s(failure, number, name))
        try:
            return ask()
        except Unanswered as error:
            failure = error
    raise ExchangeFailed(
        "exchange_unreachable",
        f"{name} did not answer. Check the connection, or upload a file.",
    ) from failure


def _pause_s(failure: Unanswered, number: int, name: str) -> float:
    asked = failure.retry_after_s
    if asked is None:
        return min(LONGEST_PAUSE_S, 2.0 ** (number - 1))
    if asked > LONGEST_ASKED_S:
        raise ExchangeFailed(
            "exchange_busy",
            f"{name} asks to wait {asked / 60:.0f} minutes. Go on with the download after that; "
            f"what has come is kept for {KEPT_HOURS} hours.",
        ) from failure
    return asked
