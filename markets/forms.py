from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.forms.boundfield import BoundField

from markets.models import Import
from markets.specs import REQUIRED_COLUMNS, ImportSpec
from specs.forms import SpecForm

ACCEPTED = ".csv,.tsv,.txt,.gz,.parquet,.feather,.arrow,.json"
UNREADABLE_HEADER = frozenset({"columns_not_found", "duplicate_column"})
SHOWN_CHARACTERS = 40


class UploadForm(SpecForm):
    """ImportSpec and the file it is about."""

    def __init__(
        self, data: Any = None, files: Any = None, *, initial: ImportSpec | None = None
    ) -> None:
        super().__init__(ImportSpec, data, files, initial=initial)
        self.fields["file"] = forms.FileField(
            label="Candle file",
            help_text="CSV, TSV, gzip of those, Parquet, Feather or JSON arrays; at most "
            f"{settings.UPLOAD_MAX_BYTES // 2**20} MiB.",
            allow_empty_file=True,
            widget=forms.ClearableFileInput(attrs={"accept": ACCEPTED}),
            error_messages={"required": "no file was chosen; choose one"},
        )
        self.fields["venue"].help_text += " Empty: the one that the file name begins with."
        self.order_fields(["file"])
        dress(self)


class SettingsForm(SpecForm):
    """ImportSpec of an upload that is here; its columns are chosen from those of the file."""

    def __init__(self, row: Import, data: Any = None) -> None:
        super().__init__(ImportSpec, data, initial=row.spec)
        self.sent_map = row.spec.column_map
        del self.fields["column_map"]
        preview = row.preview or {}
        names = _column_names(preview)
        chosen = _chosen_columns(row.spec, preview, names)
        used = (preview.get("settings") or {}).get("used", {})
        for role in REQUIRED_COLUMNS if names else ():
            self.fields[_field_of(role)] = forms.ChoiceField(
                label=role.capitalize(),
                required=False,
                initial=chosen.get(role, ""),
                choices=[("", _detected_words(used.get(role))), *names.items()],
            )
        dress(self)

    def clean(self) -> dict[str, Any]:
        self.cleaned_data["column_map"] = self._column_map()
        return super().clean()

    def _column_map(self) -> dict[str, str] | None:
        if not self.columns:
            return self.sent_map
        texts = {role: self.cleaned_data.get(_field_of(role)) for role in REQUIRED_COLUMNS}
        return {role: text for role, text in texts.items() if text} or None

    @property
    def main(self) -> list[BoundField]:
        """What says which instrument and timeframe it is."""
        return [self[name] for name in ("symbol", "venue", "kind", "timeframe")]

    @property
    def reading(self) -> list[BoundField]:
        """How times and broken rows are read."""
        return [self[name] for name in ("timestamp_unit", "timezone", "on_violation")]

    @property
    def columns(self) -> list[BoundField]:
        """One choice for each required column; none where the file shows no columns."""
        names = [_field_of(role) for role in REQUIRED_COLUMNS]
        return [self[name] for name in names if name in self.fields]


def _field_of(role: str) -> str:
    return f"column_{role}"


def _column_names(preview: dict[str, Any]) -> dict[str, str]:
    """#n → what the n-th column is called, or its first value where there is no header."""
    sample = preview.get("sample") or [[]]
    header = preview.get("header") or []
    texts = header or [f"starts with {cell}" for cell in sample[0]]
    return {
        f"#{place}": f"{place}: {text.strip()[:SHOWN_CHARACTERS] or '(no name)'}"
        for place, text in enumerate(texts, 1)
    }


def _chosen_columns(
    spec: ImportSpec, preview: dict[str, Any], names: dict[str, str]
) -> dict[str, str]:
    """The map that was sent; the best guess where the columns could not be told."""
    sent = spec.column_map or {}
    found = {problem["code"] for problem in preview.get("problems", ())}
    guess = preview.get("guess", {}) if found & UNREADABLE_HEADER else {}
    header = preview.get("header") or []
    by_name = {name: f"#{place}" for place, name in reversed(list(enumerate(header, 1)))}
    columns = {role: by_name.get(text, text) for role, text in {**guess, **sent}.items()}
    return {role: text for role, text in columns.items() if text in names}


def _detected_words(name: str | None) -> str:
    return f"Detect ({name.strip()[:SHOWN_CHARACTERS]})" if name else "Detect"


def dress(form: forms.Form) -> None:
    """Give every widget the look of the page and tie help and errors to it."""
    for bound in form:
        widget = bound.field.widget
        if isinstance(widget, forms.CheckboxInput):
            css = "form-check-input"
        elif isinstance(widget, forms.Select):
            css = "form-select"
        else:
            css = "form-control"
        widget.attrs["class"] = css
        described = [f"{bound.auto_id}_helptext"] if bound.help_text else []
        if form.is_bound and bound.errors:
            widget.attrs["aria-invalid"] = "true"
            described.append(f"{bound.auto_id}_error")
        if described:
            widget.attrs["aria-describedby"] = " ".join(described)
