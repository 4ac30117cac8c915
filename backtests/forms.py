from __future__ import annotations

import json
from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

from django import forms
from django.db.models import Q

from accounts.models import NAME_MAX, NOTES_MAX, Workspace
from backtests.specs import ExperimentSpec
from markets.forms import dress
from markets.models import DatasetVersion
from modeling.models import Experiment
from specs.declaration import InvalidSpec
from specs.forms import SpecForm, choices_of, declared_fields
from specs.strict_json import parse_json
from specs.writing import grouped

# Sections of the form in the order of the path, with what they are for.
SECTIONS = {
    "data": ("Data", "Which part of the candles is used."),
    "features": ("Features", "What the model sees of each bar."),
    "windows": ("Windows", "How much history a sample has, and how far it looks ahead."),
    "target": ("Targets", "What the five heads learn."),
    "network": ("Model", "Shape of the transformer."),
    "training": ("Training", "How it is fitted."),
    "evaluation": ("Evaluation", "How it is split, purged and judged."),
    "backtest": ("Backtest", "From predictions to an account after costs."),
}


# With all of them the page would grow with the workspace; an older one is chosen on its own page.
CHOICES_SHOWN = 200
VERSIONS_SHOWN = 4
KIND = "network.kind"


class Setting(NamedTuple):
    """One declared field of an experiment with the words of the pages."""

    path: str
    section: str
    label: str
    unit: str
    choices: dict[str, str]


def declared_settings() -> Iterator[Setting]:
    """Every field of ExperimentSpec in the order of the form."""
    for path, info in declared_fields(ExperimentSpec):
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        section = SECTIONS[path.split(".")[0]][0]
        unit = str(extra.get("unit", ""))
        yield Setting(path, section, str(info.title), unit, choices_of(info))


def value_at(spec: ExperimentSpec, path: str) -> Any:  # Any: a field of any type
    """The value of a dotted path."""
    value: Any = spec
    for part in path.split("."):
        value = getattr(value, part)
    return value


def is_read(kind: object, path: str) -> bool:
    """Whether a setting changes anything with this kind of network: without one its shape and its
    components do not.
    """
    return kind != "linear" or path == KIND or not path.startswith("network.")


class VersionsField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: DatasetVersion) -> str:  # type: ignore[override]  # the field's own rows
        span = f"{obj.first_at:%Y-%m-%d} to {obj.last_at:%Y-%m-%d}"
        synthetic = ", synthetic" if obj.is_synthetic else ""
        unusable = ", not usable: findings not accepted" if obj.needs_acceptance else ""
        return f"{obj} · {span} · {grouped(obj.rows)} bars{synthetic}{unusable}"


class ExperimentForm(SpecForm):
    """Name, candles, notes and every field of ExperimentSpec, beside the same spec as JSON.

    The JSON counts where it says another thing than `spec_served`, as which the fields were shown. What
    is valid is shown in both again.
    """

    is_text = False

    def __init__(
        self,
        data: Any = None,
        *,
        workspace: Workspace,
        initial: ExperimentSpec | None = None,
        **named: Any,
    ) -> None:
        super().__init__(ExperimentSpec, data, initial=initial)
        text = spec_text(initial) if initial else ""
        self.initial.update(named, spec_json=text, spec_served=text)
        # Of this workspace only, whatever else the person may see: its members see the results.
        versions = DatasetVersion.objects.filter(workspace=workspace).for_list()
        self.fields["name"] = forms.CharField(
            label="Name", max_length=NAME_MAX, help_text="As lists and reports show it."
        )
        self.fields["datasets"] = VersionsField(
            versions.order_by("-pk"),
            label="Candles",
            help_text=f"A sealed dataset version, of the newest {CHOICES_SHOWN}. "
            "An older one has “Use in experiment” on its own page. Several instruments of one "
            "timeframe are learned together: Ctrl or ⌘ with a click adds one.",
            widget=forms.SelectMultiple(attrs={"size": VERSIONS_SHOWN}),
            error_messages={
                "required": "no dataset version was chosen; choose one",
                "invalid_choice": "this dataset version was not found; choose another",
                "invalid_pk_value": "this dataset version was not found; choose another",
            },
        )
        self.fields["datasets"].choices = lambda: offered_versions(self)  # type: ignore[attr-defined]  # a VersionsField
        self.fields["notes"] = forms.CharField(
            label="Notes",
            required=False,
            max_length=NOTES_MAX,
            widget=forms.Textarea(attrs={"rows": 2}),
        )
        self.fields["spec_json"] = forms.CharField(
            label="Spec as JSON",
            required=False,
            help_text="All settings above, as they were when this page came. Change either them or this "
            "text; Validate shows in both what was changed in one.",
            widget=forms.Textarea(attrs={"rows": 16, "spellcheck": "false"}),
        )
        self.fields["spec_served"] = forms.CharField(required=False, widget=forms.HiddenInput())
        dress(self)

    def clean(self) -> dict[str, Any]:
        text, served = (self.data.get(name, "") for name in ("spec_json", "spec_served"))
        self.is_text = bool(text.strip()) and not is_same_json(text, served)
        if not self.is_text:
            cleaned = super().clean()
            if isinstance(self.spec, ExperimentSpec):
                self._show({"spec_json": spec_text(self.spec), "spec_served": spec_text(self.spec)})
            return cleaned
        # The JSON is the spec: what the other inputs say about it no longer counts.
        for path in [*self.errors]:
            if path not in ("name", "datasets", "notes"):
                del self.errors[path]
        cleaned = forms.Form.clean(self) or {}
        try:
            self._parse(_only_spec(parse_json(text)))
        except ValueError as error:
            self.add_error("spec_json", f"expected JSON: {error}")
        if isinstance(self.spec, ExperimentSpec):
            self._take_text(shown_values(self.spec), text, served)
        return cleaned

    def _take_text(self, values: dict[str, Any], text: str, served: str) -> None:
        """Show in the fields what the JSON says, unless some were changed too: then it counts for nothing."""
        changed = self._fields_changed(served, values)
        if not changed:
            self._show(values | {"spec_served": text})
            return
        self.spec = None
        self.add_error(
            "spec_json",
            f"found changes in this text and in {changed}; expected them in one of the two. Empty the text "
            "to go by the fields, or set the fields back to go by the text.",
        )

    def _fields_changed(self, served: str, values: dict[str, Any]) -> str:
        """Which fields say another thing than they were shown with, and than `values` of the JSON."""
        try:
            shown = shown_values(ExperimentSpec.parse(_only_spec(parse_json(served))))
        except ValueError:  # a page of ours always says what it has shown
            return ""
        typed = {name: self[name].value() or "" for name in shown}
        found = [
            f"{self.fields[name].label} (was {value or 'empty'})"
            for name, value in shown.items()
            if str(typed[name]).strip() not in (str(value or ""), str(values[name] or ""))
        ]
        return ", ".join(found)

    def _show(self, values: dict[str, Any]) -> None:
        """Let the inputs say this, as if it had been typed."""
        data: Any = copy(self.data)  # Any: a QueryDict, whose copy can be changed
        for name, value in values.items():
            data[name] = value
            if value is False:  # a box that is not ticked sends nothing
                del data[name]
        self.data = data

    def add_spec_errors(self, error: InvalidSpec) -> None:
        if self.is_text:
            texts = [f"{path}: {text}" for path, text in error.fields.items()]
            self.add_error("spec_json", texts)  # type: ignore[arg-type]  # a list of texts is allowed
            return
        super().add_spec_errors(error)

    def named_sections(self) -> list[dict[str, Any]]:
        """The spec's sections with the words of the page; the first is open."""
        return [
            {
                "section": section,
                "label": SECTIONS[section.key][0],
                "help": SECTIONS[section.key][1],
            }
            for section in self.sections
        ]


def offered_versions(form: ExperimentForm) -> list[tuple[int, str]]:
    """What the form names, however old it is, and then the newest versions."""
    field: Any = form.fields["datasets"]  # Any: a VersionsField
    chosen = chosen_ids(form)
    newest = field.queryset.values("pk")[:CHOICES_SHOWN]
    rows = field.queryset.filter(Q(pk__in=newest) | Q(pk__in=chosen))
    in_sight = sorted(rows, key=lambda row: row.pk not in chosen)
    return [(row.pk, field.label_from_instance(row)) for row in in_sight]


def chosen_ids(form: ExperimentForm) -> list[int]:
    """What the form names as its candles, as far as that can be an id at all."""
    value = form["datasets"].value() or []
    named = [str(pk) for pk in (value if isinstance(value, list | tuple) else [value])]
    return [int(pk) for pk in named if pk.isascii() and pk.isdigit() and len(pk) <= 18]


def spec_text(spec: ExperimentSpec) -> str:
    """A spec as JSON for people."""
    return json.dumps(spec.to_json(), indent=2)


def is_same_json(text: str, other: str) -> bool:
    """Whether both hold the same values, however they are written."""
    try:
        ours, theirs = (json.dumps(parse_json(one), sort_keys=True) for one in (text, other))
    except ValueError:
        return False
    return ours == theirs


def _only_spec(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("found no object; expected {…}")
    return data


def spec_of(experiment: Experiment) -> ExperimentSpec:
    return ExperimentSpec.parse(experiment.spec)


def shown_values(spec: ExperimentSpec) -> dict[str, Any]:
    """What every input of the form shows for a spec, as the script compares it."""
    values: dict[str, Any] = {}
    for bound in SpecForm(ExperimentSpec, initial=spec):
        value = bound.value()
        if not isinstance(bound.field, forms.BooleanField):
            shown = bound.field.widget.format_value(value)
            # A select's value comes as a list.
            value = (shown[0] if isinstance(shown, list) else shown) or ""
        values[bound.html_name] = value
    return values
