"""The base of every spec: a frozen pydantic model whose fields carry label, unit, bounds and help."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

KEY_MAX = 80
SHOWN_MAX = 120  # an error text repeats so much of what was sent


class InvalidSpec(ValueError):
    """A spec that cannot be used; `fields` maps a dotted field path to what is wrong with it."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        super().__init__("; ".join(f"{path}: {text}" for path, text in self.fields.items()))


EXPECTED_TIME = "expected a time such as 2024-01-31T00:00:00Z"


def _written_time(value: object) -> object:
    if not isinstance(value, (str, datetime)) or _is_number(value):
        raise ValueError(EXPECTED_TIME)
    return value


def _is_number(value: object) -> bool:
    """Whether pydantic would take a text for seconds since 1970."""
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from None


UtcInstant = Annotated[AwareDatetime, BeforeValidator(_written_time), AfterValidator(_in_utc)]
"""An instant with a zone, kept in UTC; numbers are refused, because their unit is not said."""


class Spec(BaseModel):
    """A frozen declaration. Unknown keys are refused with the nearest known name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_unknown_key(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        known = cls.model_fields  # pydantic looks for it again at each access
        unknown = [str(key) for key in data if key not in known]
        if unknown:
            raise InvalidSpec({key[:KEY_MAX]: cls._hint(key) for key in unknown})
        # Python counts True as 1; nobody who writes true for a number means one.
        for key, value in data.items():
            if isinstance(value, bool) and known[key].annotation is not bool:
                raise InvalidSpec({key: f"found {str(value).lower()}; expected no truth value"})
        return data

    @classmethod
    def _hint(cls, key: str) -> str:
        near = difflib.get_close_matches(key, cls.model_fields, n=1, cutoff=0.6)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(cls.model_fields)}"
        return f'unknown key "{key[:KEY_MAX]}"; {hint}'

    @classmethod
    def parse(cls, data: object) -> Self:
        """Validate plain data. Raises InvalidSpec with one text per offending field."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidSpec(_texts_by_field(error)) from error

    def to_json(self) -> dict[str, Any]:  # Any: JSON has no narrower type
        """Plain JSON data; parse(to_json()) gives an equal spec."""
        return self.model_dump(mode="json")

    def sha256(self) -> str:
        """Checksum of the spec with keys sorted; equal specs have equal checksums."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def declared(
    default: Any = ...,  # Any: the default of a field of any type
    *,
    label: str,
    help: str,
    unit: str = "",
    advanced: bool = False,
    choices: Mapping[str, str] | None = None,
    **bounds: Any,  # Any: pydantic's own bound arguments (ge, le, gt, lt, max_length …)
) -> Any:  # Any: pydantic's Field has no other type
    """Declare one field: the form, the API schema, the docs and the checks are made from this."""
    extra: dict[str, Any] = {"unit": unit, "advanced": advanced}
    if choices:
        extra["choices"] = dict(choices)
    return Field(default, title=label, description=help, json_schema_extra=extra, **bounds)


def _texts_by_field(error: ValidationError) -> dict[str, str]:
    texts: dict[str, str] = {}
    for item in error.errors():
        path = [str(part) for part in item["loc"] if not str(part).startswith("function-")]
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, InvalidSpec):
            for field, text in cause.fields.items():
                texts[".".join([*path, field])] = text
            continue
        found = item.get("input")
        message = str(cause) if isinstance(cause, ValueError) else _in_words(item["type"], item)
        shown = "" if isinstance(found, (Mapping, list, tuple)) else f"found {_clipped(found)}; "
        texts[".".join(path) or "spec"] = f"{shown}{message}"
    return texts


def _clipped(value: object) -> str:
    """The value as an error names it. A whole number of thousands of digits has no text."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 70 digits"
    return repr(value)[:SHOWN_MAX]


def _in_words(kind: str, item: Any) -> str:  # Any: pydantic's ErrorDetails
    bounds = item.get("ctx", {})
    if kind == "missing":
        return "a value is required"
    if kind.startswith("datetime_"):
        return EXPECTED_TIME
    for name, word in (
        ("ge", "at least"),
        ("gt", "more than"),
        ("le", "at most"),
        ("lt", "less than"),
    ):
        if name in bounds:
            return f"expected {word} {bounds[name]}"
    return f"expected: {item['msg'].removeprefix('Input should be ').lower()}"
