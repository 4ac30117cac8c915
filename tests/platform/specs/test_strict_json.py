from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.strict_json import MAX_DEPTH, UnusableJson, parse_json

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.just("key"), inner),
    max_leaves=20,
)


@given(PLAIN)
@settings(max_examples=50, deadline=None)
def test_plain_data_comes_back_as_it_was(data):
    assert parse_json(json.dumps(data)) == data


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_data_or_refused(body):
    try:
        parse_json(body)
    except UnusableJson:
        return


def test_depth_up_to_the_limit_passes():
    parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(UnusableJson, match="deeper"):
        parse_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_brackets_in_texts_and_neighbours_are_no_depth():
    assert parse_json('{"a": "' + "[" * 100 + '\\""}') == {"a": "[" * 100 + '"'}
    assert parse_json("[" + ",".join(["[]"] * 200) + "]") == [[]] * 200


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "1e999", '{"a":1,"a":1}', '"\\udc00"', "", " "]
)
def test_what_plain_parsers_let_through_is_refused(text):
    with pytest.raises(UnusableJson):
        parse_json(text)
