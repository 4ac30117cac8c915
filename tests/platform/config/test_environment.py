from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import environment

NAME = "OUTSAMPLE_COMPILE"


@pytest.mark.parametrize("value", ["auto", "off"])
def test_choice_that_is_set_is_taken(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, value)
    assert environment.choice(NAME, "auto", "off") == value


def test_first_choice_is_taken_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert environment.choice(NAME, "auto", "off") == "auto"


@pytest.mark.parametrize("value", ["on", "Off", ""])
def test_other_word_is_refused_with_the_choices(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(ImproperlyConfigured, match="expected auto or off"):
        environment.choice(NAME, "auto", "off")
