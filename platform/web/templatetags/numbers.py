"""The one way numbers, times and states are written on pages. Loaded in every template."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from datetime import timezone as zones
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString

from specs.writing import grouped as digits

register = template.Library()

MINUS = "−"
UNIT_SPACE = "\u00a0"
DASH = "—"
NO_NUMBER = SafeString(f'<span class="num muted">{DASH}</span>')
NO_TIME = SafeString(f'<span class="muted">{DASH}</span>')

SHAPES = {
    "queued": "○",
    "running": "◔",
    "cancelling": "◑",
    "succeeded": "●",
    "failed": "✕",
    "errored": "⚠",
    "cancelled": "⊘",
}
VERDICTS = {
    "beats": "Beats",
    "ties": "Not better",
    "loses": "Loses",
    "undecided": "Undecided",
    "withheld": "Withheld",
}


@register.filter
def number(value: object, kind: str = "plain") -> SafeString:
    """A number in the words of its kind, with the full value on hover; undefined is a dash."""
    text = number_text(value, kind)
    if text == DASH:
        return NO_NUMBER
    quiet = " muted" if not float(value) else ""  # type: ignore[arg-type]  # number_text took it
    # Written without format_html, which would cost more than the number: a list has hundreds.
    return SafeString(f'<span class="num{quiet}" title="{escape(repr(value))}">{text}</span>')


@register.filter
def number_text(value: object, kind: str = "plain") -> str:
    """The same as plain text, for titles and attributes."""
    if isinstance(value, bool) or value is None:
        return DASH
    try:
        found = float(value)  # type: ignore[arg-type]  # whatever float refuses is a dash
    except (TypeError, ValueError):
        return DASH
    return WRITERS[kind](found) if math.isfinite(found) else DASH


def with_minus(text: str) -> str:
    """A true minus sign, and none before a zero."""
    if text.startswith("-"):
        return text[1:] if not text.strip("-+0.eE,% \u2009") else MINUS + text[1:]
    return text


def grouped(value: float, decimals: int = 0) -> str:
    return with_minus(digits(value, decimals))


def percent(value: float) -> str:
    return f"{with_minus(f'{100 * value:.{2 if abs(value) < 1 else 1}f}')}{UNIT_SPACE}%"


def signed_percent(value: float) -> str:
    return f"{'+' if round(value, 4) > 0 else ''}{percent(value)}"


def points(value: float) -> str:
    """The difference of two shares: percentage points, never a percentage of either."""
    return in_points(percent(value))


def in_points(text: str) -> str:
    """A share's text as that of a difference of shares, with its sign."""
    text = text.removeprefix("+").replace(f"{UNIT_SPACE}%", f"{UNIT_SPACE}pp")
    is_more = not text.startswith(MINUS) and any(digit in text for digit in "123456789")
    return f"+{text}" if is_more else text


def drawdown(value: float) -> str:
    return f"{with_minus(f'{100 * value:.1f}')}{UNIT_SPACE}%"


def price(value: float) -> str:
    return significant(value, 6)


def significant(value: float, digits: int = 4) -> str:
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if places > 10 or places < -8:
        return with_minus(f"{value:.{digits - 1}e}")
    return grouped(value, max(0, places))


def binary_bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{grouped(value, 0 if unit == 'B' else 1)}{UNIT_SPACE}{unit}"
        value /= 1024
    raise AssertionError("the last unit takes every size")


def seconds(value: float) -> str:
    if value < 60:
        return f"{value:.0f}{UNIT_SPACE}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{UNIT_SPACE}min {rest:02d}{UNIT_SPACE}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}{UNIT_SPACE}h {minutes:02d}{UNIT_SPACE}min"
    return f"{hours // 24}{UNIT_SPACE}days"


WRITERS = {
    "plain": significant,
    "rough": lambda value: significant(value, 2),
    "count": grouped,
    "ratio": lambda value: grouped(value, 2),
    "percent": percent,
    "signed": signed_percent,
    "points": points,
    "drawdown": drawdown,
    "score": lambda value: grouped(value, 3),
    "fine_score": lambda value: grouped(value, 4),
    "progress": lambda value: f"{100 * value:.0f}{UNIT_SPACE}%",
    "times": lambda value: f"{grouped(value, 1)}{UNIT_SPACE}×",
    "factor": lambda value: f"{value:g}",
    "price": price,
    "money": lambda value: grouped(value, 2),
    "bytes": binary_bytes,
    "seconds": seconds,
    "bps": lambda value: f"{grouped(value, 1)}{UNIT_SPACE}bp",
    "days": lambda value: f"{grouped(value)}{UNIT_SPACE}days",
}


@register.filter
def difference(value: object, kind: str = "plain") -> str:
    """How far a number is from another of its kind: with sign, shares in percentage points."""
    text = number_text(value, kind)
    return DASH if text == DASH else in_points(text)


@register.filter
def bound(value: object, kind: str = "plain") -> str:
    """An end of the interval of a difference: one that rounds to 0 keeps the side it is on."""
    text = difference(value, kind)
    if text == DASH or text[0] in f"+{MINUS}" or not float(value):  # type: ignore[arg-type]  # as above
        return text
    return f"{MINUS if float(value) < 0 else '+'}{text}"  # type: ignore[arg-type]  # as above


@register.filter
def deviation(value: object, kind: str = "plain") -> str:
    """A standard deviation of numbers of this kind, which has no sign."""
    return number_text(value, kind).removeprefix("+")


@register.filter
def instant(value: datetime | None) -> SafeString:
    """2024-03-24 12:40 UTC, in a time element."""
    if value is None:
        return NO_TIME
    day, time = utc_words(value)
    return SafeString(f'<time class="num" datetime="{day}T{time}Z">{day} {time[:5]} UTC</time>')


@register.filter
def age(value: datetime | None) -> SafeString:
    """How long ago, with the exact time on hover."""
    if value is None:
        return NO_TIME
    day, time = utc_words(value)
    words = age_words((timezone.now() - value).total_seconds())
    return SafeString(f'<time datetime="{day}T{time}Z" title="{day} {time} UTC">{words}</time>')


@register.filter
def day(value: datetime | None) -> SafeString:
    """2024-03-24, the day in UTC."""
    if value is None:
        return NO_NUMBER
    return SafeString(f'<span class="num">{utc_words(value)[0]}</span>')


def utc_words(value: datetime) -> tuple[str, str]:
    """Day and time of an instant in UTC, to the second."""
    text = value.astimezone(zones.utc).isoformat(" ", "seconds")
    return text[:10], text[11:19]


def age_words(passed: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if passed >= size:
            count = int(passed // size)
            return f"{count}{UNIT_SPACE}{'day' if unit == 'days' and count == 1 else unit} ago"
    return f"{max(0, int(passed))}{UNIT_SPACE}s ago"


@register.filter
def duration(value: timedelta | None) -> SafeString:
    return number(value.total_seconds() if value is not None else None, "seconds")


@register.filter
def status(value: str) -> SafeString:
    """A state as shape and word; the colour only repeats what they say."""
    word, shape = escape(value), SHAPES.get(value, "○")
    return SafeString(
        f'<span class="status status-{word}"><span aria-hidden="true">{shape}</span> {word}</span>'
    )


@register.filter
def verdict(value: str) -> SafeString:
    words = VERDICTS.get(value, DASH)
    return SafeString(f'<span class="verdict verdict-{escape(value)}">{words}</span>')


@register.filter
def short(value: str) -> SafeString:
    """A checksum or id shortened to eight characters, with a button that copies all of it."""
    if not value:
        return format_html('<span class="muted">{}</span>', DASH)
    return format_html(
        '<span class="num"><code title="{0}">{1}</code> <button type="button" class="copy" '
        'data-copy="{0}" aria-label="Copy {1}…">Copy</button></span>',
        str(value),
        str(value)[:8],
    )


@register.filter
def direction(value: object) -> SafeString:
    """Up, down or flat as a mark; never by colour alone."""
    found = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    kind, mark = ("up", "▲") if found > 0 else ("down", "▼") if found < 0 else ("muted", "■")
    return format_html('<span class="{}" aria-hidden="true">{}</span>', kind, mark)


@register.filter
def item(mapping: Any, key: object) -> Any:  # Any: templates look into plain JSON
    """The value of a key that is only known at run time; None when it is absent."""
    return mapping.get(key) if isinstance(mapping, dict) else None


@register.filter
def shown(value: object) -> str:
    """A setting's value as a person reads it."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, datetime):
        return f"{value.astimezone(zones.utc):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)
