"""JSON as we take it from people: nothing doubled, endless, infinite or unprintable."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 64


class UnusableJson(ValueError):
    """The text is no JSON that we take; the message says why."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises UnusableJson."""
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        raise UnusableJson("expected UTF-8") from None
    if _depth(plain) > MAX_DEPTH:
        raise UnusableJson(f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(
            plain, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except UnusableJson:
        raise
    except ValueError as error:
        raise UnusableJson(f"no valid JSON: {error}") from None
    _refuse_unprintable(value)
    return value


def _depth(text: str) -> int:
    """The deepest nesting, told without recursion; the stock parser fails on deep input."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    in_text = escaped = False
    for letter in text:
        if in_text:
            in_text = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            in_text, escaped = True, False
        elif letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise UnusableJson(f"the key {key[:80]!r} occurs twice")
        data[key] = value
    return data


def _no_constant(text: str) -> Any:
    raise UnusableJson(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UnusableJson(f"the number {text[:40]} is too large")
    return value


def _refuse_unprintable(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise UnusableJson("a text holds a NUL or half a character")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_unprintable(key)
            _refuse_unprintable(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unprintable(inner)
