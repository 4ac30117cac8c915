"""One market of an exchange and its public candles, through ccxt. No account, no key, no orders."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import ccxt
import numpy as np

from markets.sources.exchange_errors import ExchangeFailed, patiently
from markets.sources.exchange_network import TIMEOUT_S, PublicSession, TurnedAway, Unanswered
from markets.sources.exchange_pages import Rows
from markets.specs import TIMEFRAME_MINUTES, VENUES

T = TypeVar("T")
SHOWN_NEAR = 5
REFUSAL_SHOWN = 200

# At most so many bars come in one answer.
PAGE_BARS = {
    "binance": 1000,
    "binanceusdm": 1000,
    "bybit": 1000,
    "okx": 300,
    "kraken": 720,
    "coinbase": 300,
    "kucoin": 1500,
    "bitstamp": 1000,
}
# Markets that are no spot pair and no perpetual need not be listed.
LISTED_TYPES = {
    "binance": ["spot"],
    "binanceusdm": ["linear"],
    "bybit": ["spot", "linear", "inverse"],
    "okx": ["spot", "swap"],
}
LISTING_PARAMETERS = {
    "binance": {"showPermissionSets": "false"}
}  # else the list is megabytes longer

Kind = Literal["spot", "perpetual"]


class ExchangeMarket:
    """A market that an exchange lists: `symbol` as it lists it, `kind`, and bars by the page."""

    def __init__(
        self, client: _Client, listed: dict[str, Any], timeframe: str
    ) -> None:  # Any: ccxt's
        self._client = client
        self.symbol: str = listed["symbol"]
        self.kind: Kind = "spot" if listed["spot"] else "perpetual"
        self.timeframe = timeframe
        self.page_bars = PAGE_BARS[client.venue]
        self.bar_ms = TIMEFRAME_MINUTES[timeframe] * 60_000

    def now_ms(self) -> int:
        """The time of the exchange in ms since 1970 UTC; our own where it tells none."""
        if not self._client.ccxt.has["fetchTime"]:
            return self._client.clock_ms()
        return int(self._client.answer(lambda: self._client.ccxt.fetch_time()))

    def page(self, since_ms: int) -> Rows:
        """At most `page_bars` bars that open at `since_ms` or later, as rows [N, 6].

        An empty cell is NaN. Raises ExchangeFailed.
        """
        arguments = (self.symbol, self.timeframe, since_ms, self.page_bars)
        rows = self._client.answer(lambda: self._client.ccxt.fetch_ohlcv(*arguments))
        return np.array([row[:6] for row in rows], dtype=np.float64).reshape(-1, 6)


def open_market(
    venue: str,
    symbol: str,
    timeframe: str,
    *,
    kind: Kind | None = None,
    sleep: Callable[[float], None],
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    test_url: str = "",
) -> ExchangeMarket:
    """The market of this symbol (as listed, or as the exchange's own id) with bars of `timeframe`.

    `kind` picks one where spot and perpetual share an id; spot comes first without it. `sleep` waits
    between two tries and may raise to stop; `test_url` stands for a fake exchange. Raises
    ExchangeFailed `unknown_market`, `timeframe_not_offered`, `exchange_unreachable`,
    `exchange_busy` or `exchange_refused`.
    """
    client = _Client(venue, sleep, clock_ms, test_url)
    if timeframe not in client.ccxt.timeframes:
        offered = ", ".join(name for name in TIMEFRAME_MINUTES if name in client.ccxt.timeframes)
        raise ExchangeFailed(
            "timeframe_not_offered",
            f"{client.name} offers no bars of {timeframe}; it offers {offered}. Choose one of these.",
        )
    client.answer(lambda: client.ccxt.load_markets(False, LISTING_PARAMETERS.get(venue, {})))
    return ExchangeMarket(client, _listed(client, symbol, kind), timeframe)


def _listed(client: _Client, symbol: str, kind: Kind | None) -> dict[str, Any]:  # Any: ccxt's
    usable = [
        market
        for market in client.ccxt.markets.values()
        if (market["spot"] and kind != "perpetual") or (market["swap"] and kind != "spot")
    ]
    named = [market for market in usable if symbol in (market["symbol"], market["id"])]
    named = named or [market for market in usable if _bare(symbol) == _bare(market["id"])]
    if not named:
        raise _unknown(client.name, symbol, [market["symbol"] for market in usable])
    # The symbol itself before an id that reads like it, and spot before perpetual.
    return min(named, key=lambda market: (market["symbol"] != symbol, not market["spot"]))


def _bare(symbol: str) -> str:
    return "".join(filter(str.isalnum, symbol)).upper()


def _unknown(name: str, symbol: str, listed: list[str]) -> ExchangeFailed:
    by_bare = {_bare(known): known for known in reversed(listed)}
    near = difflib.get_close_matches(_bare(symbol), by_bare, n=SHOWN_NEAR, cutoff=0.6)
    hint = f"near it: {', '.join(by_bare[bare] for bare in near)}" if near else "none is near it"
    return ExchangeFailed(
        "unknown_market",
        f'{name} lists no market "{symbol}"; {hint}. Write the symbol as the exchange lists it.',
    )


class _Client:
    """ccxt's class of a venue on our session, its errors in our words."""

    def __init__(
        self,
        venue: str,
        sleep: Callable[[float], None],
        clock_ms: Callable[[], int],
        test_url: str,
    ) -> None:
        self.venue, self.name = venue, VENUES[venue]
        self.sleep, self.clock_ms = sleep, clock_ms
        self.ccxt = getattr(ccxt, venue)(
            {
                "session": PublicSession(test_url),
                "enableRateLimit": True,
                "timeout": int(TIMEOUT_S * 1000),
                "options": {"fetchMarkets": {"types": types}}
                if (types := LISTED_TYPES.get(venue))
                else {},
            }
        )
        if test_url:
            self.ccxt.urls["api"] = {
                name: test_url + urlsplit(url).path for name, url in self.ccxt.urls["api"].items()
            }

    def answer(self, ask: Callable[[], T]) -> T:
        """What the exchange answers, after tries. Raises ExchangeFailed."""
        try:
            return patiently(lambda: _translated(ask), self.name, self.sleep)
        except TurnedAway as error:
            raise ExchangeFailed(
                "exchange_refused",
                f"{self.name} cannot be used from here: {error}. Choose another exchange, or "
                "upload a file.",
            ) from error
        except ccxt.BaseError as error:
            text = " ".join(str(error).split())[:REFUSAL_SHOWN]
            raise ExchangeFailed(
                "exchange_refused",
                f"{self.name} refused the request: {text}. Check symbol, timeframe and range.",
            ) from error


def _translated(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except ccxt.OperationFailed as error:
        # Said within an answer that HTTP calls a success: busy, in maintenance.
        raise Unanswered(str(error)) from error
