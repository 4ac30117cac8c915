from __future__ import annotations

import pytest

from specs.writing import grouped


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0, 0, "0"),
        (999, 0, "999"),
        (157_232, 0, "157\u2009232"),
        (1_572_320, 0, "1\u2009572\u2009320"),
        (9_688.824, 2, "9\u2009688.82"),
        (-12_345.5, 1, "-12\u2009345.5"),
    ],
)
def test_digits_stand_in_groups_of_three(value, decimals, text):
    assert grouped(value, decimals) == text
