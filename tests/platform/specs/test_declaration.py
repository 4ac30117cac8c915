import pytest

from modeling.specs import ModelSpec
from specs.declaration import InvalidSpec


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 0, -1, 1.5, True]
)
def test_times_outside_the_calendar_and_numbers_are_refused(text):
    with pytest.raises(InvalidSpec) as caught:
        ModelSpec.parse({"data": {"from_at": text}})
    assert list(caught.value.fields) == ["data.from_at"]


def test_truth_values_are_no_numbers():
    with pytest.raises(InvalidSpec, match="truth value"):
        ModelSpec.parse({"training": {"epochs": True}})
    assert ModelSpec.parse({"network": {"temporal_bias": False}}).network.temporal_bias is False
