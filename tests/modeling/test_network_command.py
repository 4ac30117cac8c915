from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command("network", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (("--preset", "tiny"), 50_662),
        (("--preset", "small"), 245_878),
        (("--preset", "reference"), 29_808_026),
        (("--preset", "reference", "--features", "67"), 30_043_034),
    ],
)
def test_sizes_of_the_presets(arguments, parameters):
    found = json.loads(said(*arguments, "--json"))
    assert found["parameters"] == sum(found["modules"].values()) == parameters
    assert found["shapes"]["input"] == ["B", found["context_bars"], found["features"]]
    assert f"{parameters:,} parameters" in said(*arguments)


def test_table_names_every_module():
    text = said("--preset", "tiny")
    for name in json.loads(said("--preset", "tiny", "--json"))["modules"]:
        assert f"\n{name} " in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--preset", "huge"),
        ("--preset", "tiny", "--features", "0"),
        ("--preset", "tiny", "--features", "-3"),
        ("--preset", "tiny", "--features", "100000"),
    ],
)
def test_bad_input_gives_one_line(arguments):
    with pytest.raises(CommandError) as error:
        said(*arguments)
    assert "\n" not in str(error.value)
    assert "expected" in str(error.value)
