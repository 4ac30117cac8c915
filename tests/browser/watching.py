"""What a browser complains about while its pages are used."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, Response, WebError


class Watch:
    """Everything that went wrong in a browser context, page by page, as lines of text."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.address = address
        self.complaints: list[str] = []
        self.expected: set[tuple[str, int]] = set()
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)

    def expect(self, path: str, status: int) -> None:
        """This path may answer with this status."""
        self.expected.add((self.address + path, status))

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium also writes a line for each refused answer, which `_response` judges.
        if message.type in ("error", "warning") and not self._is_expected(message):
            self.complaints.append(f"console {message.type}: {message.text}")

    def _is_expected(self, message: ConsoleMessage) -> bool:
        url = message.location["url"]
        return "Failed to load resource" in message.text and any(
            url == known for known, _ in self.expected
        )

    def _error(self, error: WebError) -> None:
        self.complaints.append(f"script: {error.error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.address}/", "data:", "blob:")):
            self.complaints.append(f"left the origin: {request.url}")

    def _failed(self, request: Request) -> None:
        # A page that is left gives up its polls; that is no fault.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"no answer: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and (response.url, response.status) not in self.expected:
            self.complaints.append(f"{response.status}: {response.request.method} {response.url}")
