"""A running server as a person's browser meets it: forms without JavaScript, cookies, and what is read."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPErrorProcessor, build_opener

from tests.blackbox.server import Broken

Attributes = list[tuple[str, str | None]]
EMPTY_TAGS = {"input", "meta", "link", "img", "br", "hr"}


class FormPage(HTMLParser):
    """One form of a page: its values by name, its errors by field, and which fields can be seen."""

    def __init__(self, text: str, form: str = "") -> None:
        super().__init__()
        self.form = form
        self.values: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.unseen: set[str] = set()
        self.text = text
        self._is_inside = False
        self._field = self._select = self._area = self._error = ""
        self._details: list[bool] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: Attributes) -> None:
        has = dict(attributes)
        if tag == "form":
            self._is_inside = (has.get("id") or "") == self.form
        elif tag == "details":
            self._details.append("open" in has)
        if not self._is_inside:
            return
        name = has.get("name") or ""
        if "data-field" in has:
            self._field = has["data-field"] or ""
            if not all(self._details):
                self.unseen.add(self._field)
        elif tag == "input" and (has.get("type") != "checkbox" or "checked" in has):
            self.values[name] = has.get("value") or ("on" if has.get("type") == "checkbox" else "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in has:
            self.values[self._select] = has.get("value") or ""
        elif tag == "textarea":
            self._area, self.values[name] = name, ""
        elif tag == "p" and has.get("class") == "error":
            self._error = self._field

    def handle_data(self, data: str) -> None:
        if self._area:
            # The line break behind the tag is no part of the value.
            self.values[self._area] += data
        elif self._error:
            self.errors[self._error] = self.errors.get(self._error, "") + data

    def handle_endtag(self, tag: str) -> None:
        if tag == "details" and self._details:
            self._details.pop()
        elif tag == "form":
            self._is_inside = False
        elif tag == "textarea":
            self.values[self._area] = self.values[self._area].removeprefix("\n")
            self._area = ""
        elif tag == "p":
            self._error = ""


class KeepErrors(HTTPErrorProcessor):
    """A refusal is an answer to look at, no exception."""

    def http_response(self, request, response):  # type: ignore[no-untyped-def]  # the stock signature
        return response if response.status >= 400 else super().http_response(request, response)


class Pages:
    """A person with a session. Raises Broken for an answer of 500 or more."""

    def __init__(self, address: str, sign_in_link: str) -> None:
        self.address = address
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()), KeepErrors())
        token = self.get(sign_in_link).values["csrfmiddlewaretoken"]
        self.post(sign_in_link, {"csrfmiddlewaretoken": token})

    def get(self, path: str, form: str = "") -> FormPage:
        return FormPage(self._asked(path, None)[1], form)

    def post(self, path: str, values: Mapping[str, str], form: str = "") -> tuple[int, FormPage]:
        status, text = self._asked(path, urlencode(values).encode())
        return status, FormPage(text, form)

    def _asked(self, path: str, body: bytes | None) -> tuple[int, str]:
        try:
            with self.opener.open(urljoin(self.address, path), body, timeout=60) as answer:
                status, text = answer.status, answer.read().decode()
        except HTTPError as error:
            status, text = error.code, error.read().decode()
        if status >= 500:
            raise Broken(f"{path} answered {status}: {text[:200]}")
        return status, text
