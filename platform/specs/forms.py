"""Spec → form: one form field for each declared field, named by its dotted path."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from django import forms
from django.forms.boundfield import BoundField
from pydantic.fields import FieldInfo

from specs.declaration import InvalidSpec, Spec
from specs.strict_json import UnusableJson, parse_json


@dataclass
class Section:
    """The fields of one part of the spec, as the page shows them."""

    key: str
    label: str
    help: str
    basic: list[BoundField] = field(default_factory=list)
    advanced: list[BoundField] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        return any(bound.errors for bound in [*self.basic, *self.advanced])

    @property
    def has_advanced_errors(self) -> bool:
        return any(bound.errors for bound in self.advanced)


class SpecForm(forms.Form):
    """A form over every field of a spec. Valid input becomes `self.spec`."""

    def __init__(
        self,
        spec_class: type[Spec],
        data: Mapping[str, Any] | None = None,
        files: Any = None,
        *,
        initial: Spec | None = None,
        **options: Any,
    ) -> None:
        self.spec_class = spec_class
        self.spec: Spec | None = None
        super().__init__(data, files, initial=dict(_shown(initial)) if initial else None, **options)
        for path, info in declared_fields(spec_class):
            self.fields[path] = _form_field(info)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        data: dict[str, Any] = {}
        for path, info in declared_fields(self.spec_class):
            if path in self.errors:
                continue
            value = cleaned.get(path)
            if _is_absent(value, info):
                continue
            inner = data
            *parents, last = path.split(".")
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = value
        if not self.errors:
            self._parse(data)
        return cleaned

    def _parse(self, data: dict[str, Any]) -> None:
        try:
            self.spec = self.spec_class.parse(data)
        except InvalidSpec as error:
            self.add_spec_errors(error)

    def add_spec_errors(self, error: InvalidSpec) -> None:
        """Put each text beside its field; what has no field goes on top."""
        for path, text in error.fields.items():
            known = next(
                (name for name in self.fields if path == name or path.startswith(name + ".")), None
            )
            self.add_error(known, text if known else f"{path}: {text}")

    @property
    def sections(self) -> list[Section]:
        sections: dict[str, Section] = {}
        for path, info in declared_fields(self.spec_class):
            key = path.split(".")[0] if "." in path else ""
            if key not in sections:
                sections[key] = self._section(key)
            extra = _extra(info)
            target = sections[key].advanced if extra.get("advanced") else sections[key].basic
            target.append(self[path])
        return list(sections.values())

    def _section(self, key: str) -> Section:
        inner = self.spec_class.model_fields[key].annotation if key else self.spec_class
        text = (getattr(inner, "__doc__", "") or "").strip()
        return Section(key, key.replace("_", " ").capitalize(), text)


def declared_fields(spec_class: type[Spec], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf of a spec as (dotted path, declaration), in order of declaration."""
    for name, info in spec_class.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Spec):
            yield from declared_fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def changed_fields(spec: Spec, base: Spec) -> dict[str, tuple[object, object]]:
    """Dotted path → (value, value of the base) for every field that differs."""
    ours, theirs = dict(_shown(spec)), dict(_shown(base))
    return {
        path: (value, theirs.get(path)) for path, value in ours.items() if value != theirs.get(path)
    }


def in_words(value: object, choices: Mapping[str, str]) -> object:
    """A value that has a declared label as that label, any other as it is."""
    return choices.get(value, value) if isinstance(value, str) else value


def choices_of(info: FieldInfo) -> dict[str, str]:
    """The declared label of each value that has one."""
    return dict(_extra(info).get("choices") or {})


def _shown(spec: Spec, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from _shown(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            shown = ", ".join(str(part) for part in value)
            is_one_name = len(value) == 1 and isinstance(value[0], str)
            yield f"{prefix}{name}", f"{shown}," if is_one_name else shown
        elif isinstance(value, dict):
            yield f"{prefix}{name}", json.dumps(value)
        else:
            yield f"{prefix}{name}", value


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _is_absent(value: object, info: FieldInfo) -> bool:
    return value is None or (value == "" and info.default != "")


def _form_field(info: FieldInfo) -> forms.Field:
    extra = _extra(info)
    shared: dict[str, Any] = {
        "label": info.title,
        "help_text": info.description,
        "required": info.is_required(),
    }
    kinds = _kinds(info.annotation)
    literals = _literals(info.annotation)
    if kinds == {bool}:
        made: forms.Field = forms.BooleanField(**{**shared, "required": False})
    elif dict in kinds:
        made = JsonField(**shared)
    elif tuple in kinds:
        made = ListField(sole=literals[0] if literals else "", names=str in kinds, **shared)
        if named := choices_of(info):
            made.widget = forms.TextInput(attrs={"placeholder": ", ".join(named)})
            known = "; ".join(f"{value}: {label}" for value, label in named.items())
            made.help_text = f"{info.description} {known}."
    elif literals and not kinds - {str, int}:
        if kinds:
            made = forms.CharField(**shared)
        else:
            named = choices_of(info)
            choices = [
                (str(value), named.get(value, str(value).replace("_", " "))) for value in literals
            ]
            made = forms.TypedChoiceField(
                choices=choices,
                coerce=type(literals[0]),  # type: ignore[arg-type]  # int or str
                # Else an empty form would show the first choice for the default.
                initial=None if info.is_required() else info.default,
                error_messages={
                    "invalid_choice": "found '%(value)s'; expected one of: "
                    + ", ".join(map(str, literals))
                },
                **shared,
            )
    elif literals:
        made = forms.CharField(**shared)
    elif datetime in kinds:
        made = UtcField(**shared)
    else:
        made = forms.CharField(**shared)
        made.widget.attrs["inputmode"] = "decimal" if kinds & {int, float} else "text"
    made.unit = extra.get("unit", "")  # type: ignore[attr-defined]  # shown beside the input
    made.bounds = _bounds(info)  # type: ignore[attr-defined]  # shown below the input
    return made


class JsonField(forms.CharField):
    """JSON text; the spec checks what is inside."""

    widget = forms.Textarea(attrs={"rows": 2})

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_json(text)
        except UnusableJson as error:
            raise forms.ValidationError(
                f'expected JSON such as {{"timestamp": "Date"}}: {error}'
            ) from None


class ListField(forms.CharField):
    """Values between commas, or one word that stands for all of them."""

    def __init__(self, *, sole: str, names: bool, **options: Any) -> None:
        self.sole, self.names = sole, names
        super().__init__(**options)

    def clean(self, value: Any) -> Any:
        text = super().clean(value).strip()
        if not text:
            return None
        if text == self.sole:
            return text
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if self.names:
            # One name alone is that of a set; with a comma behind it, it is a list of one.
            return parts if "," in text else text
        return parts


class UtcField(forms.CharField):
    """An instant; without a zone it is UTC."""

    widget = forms.TextInput(attrs={"placeholder": "2024-01-31 00:00"})

    def clean(self, value: Any) -> Any:
        text = super().clean(value).strip().removesuffix("UTC").strip()
        if not text:
            return None
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            raise forms.ValidationError(
                f"found {text!r}; expected a time such as 2024-01-31 00:00 (UTC)"
            ) from None
        return instant.isoformat() if instant.tzinfo else f"{instant.isoformat()}+00:00"


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for part in typing.get_args(annotation) for inner in _members(part)]
    return [annotation]


def _kinds(annotation: Any) -> set[type]:
    """The plain types a field takes, literals and None left out."""
    kinds: set[type] = set()
    for part in _members(annotation):
        origin = typing.get_origin(part)
        if origin is Literal or part is type(None):
            continue
        if origin is tuple:
            kinds |= {tuple, *(inner for inner in typing.get_args(part) if isinstance(inner, type))}
        elif origin is typing.Annotated:
            kinds |= _kinds(typing.get_args(part)[0])
        else:
            kinds.add(
                datetime if getattr(part, "__name__", "") == "AwareDatetime" else origin or part
            )
    return kinds


def _literals(annotation: Any) -> list[Any]:
    return [
        value
        for part in _members(annotation)
        if typing.get_origin(part) is Literal
        for value in typing.get_args(part)
    ]


def _bounds(info: FieldInfo) -> str:
    low = next((f"{part.ge}" for part in info.metadata if hasattr(part, "ge")), "") or next(
        (f"more than {part.gt}" for part in info.metadata if hasattr(part, "gt")), ""
    )
    high = next((f"{part.le}" for part in info.metadata if hasattr(part, "le")), "") or next(
        (f"less than {part.lt}" for part in info.metadata if hasattr(part, "lt")), ""
    )
    return " to ".join(part for part in (low, high) if part)
