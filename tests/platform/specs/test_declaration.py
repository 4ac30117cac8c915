from datetime import UTC, datetime

import pytest

from modeling.specs import DataSpec, ModelSpec
from specs.declaration import InvalidSpec


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 0, -1, 1.5, True]
)
def test_times_outside_the_calendar_and_numbers_are_refused(text):
    with pytest.raises(InvalidSpec) as caught:
        ModelSpec.parse({"data": {"from_at": text}})
    assert list(caught.value.fields) == ["data.from_at"]


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01T00:00:00Z", "2024"])
def test_text_that_is_no_time_is_answered_with_one_that_is(text):
    with pytest.raises(InvalidSpec, match="expected a time such as 2024-01-31T00:00:00Z"):
        ModelSpec.parse({"data": {"from_at": text}})


def test_span_that_ends_before_the_candles_begin_is_wrong_at_its_end():
    first, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    for name, at in (("to_at", "2020-01-01T00:00:00Z"), ("from_at", "2030-01-01T00:00:00Z")):
        with pytest.raises(InvalidSpec) as caught:
            DataSpec.parse({name: at}).within(first, last)
        assert list(caught.value.fields) == [f"data.{name}"]


def test_truth_values_are_no_numbers():
    with pytest.raises(InvalidSpec, match="truth value"):
        ModelSpec.parse({"training": {"epochs": True}})
    assert ModelSpec.parse({"network": {"temporal_bias": False}}).network.temporal_bias is False
