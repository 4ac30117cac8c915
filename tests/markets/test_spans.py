"""The span that a page or a program asks for, however the time is written."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from markets.reading import CandleRange, shown_span, span_query

SHOWN = SimpleNamespace(
    first_at=datetime(2024, 1, 1, tzinfo=timezone.utc),
    last_at=datetime(2024, 1, 31, tzinfo=timezone.utc),
    bar=timedelta(hours=1),
)


def test_links_keep_the_instants_of_a_span_that_was_asked_in_another_zone():
    span = CandleRange.parse({"from": "2024-01-10T00:00+05:00", "to": "2024-01-11T00:00+05:00"})

    assert span_query(span.from_at, span.to_at) == (
        "from=2024-01-09T19%3A00Z&to=2024-01-10T19%3A00Z"
    )


@pytest.mark.parametrize("name", ["from", "to", "at"])
@pytest.mark.parametrize(
    "text",
    ["0001-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59-14:00"],
)
def test_link_of_a_far_span_can_be_followed(name, text):
    span = shown_span(SHOWN, {"from": "2024-01-10", "to": "2024-01-11", name: text})

    query = span_query(span.from_at, span.to_at)

    parsed = dict(part.replace("%3A", ":").split("=") for part in query.split("&"))
    assert shown_span(SHOWN, parsed) == span
