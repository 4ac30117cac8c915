from __future__ import annotations

from typing import Any

from django import forms

from markets.models import Import
from markets.specs import ImportSpec
from specs.forms import SpecForm

ACCEPTED = ".csv,.tsv,.txt,.gz,.parquet,.feather,.arrow,.json"


class UploadForm(SpecForm):
    """ImportSpec and the file it is about."""

    def __init__(
        self, data: Any = None, files: Any = None, *, initial: ImportSpec | None = None
    ) -> None:
        super().__init__(ImportSpec, data, files, initial=initial)
        self.fields["file"] = forms.FileField(
            label="Candle file",
            help_text="CSV, TSV, gzip of those, Parquet, Feather or JSON arrays; at most 200 MiB.",
            allow_empty_file=True,
            widget=forms.ClearableFileInput(attrs={"accept": ACCEPTED}),
            error_messages={"required": "no file was chosen; choose one"},
        )
        self.order_fields(["file"])
        dress(self)

    @classmethod
    def again(cls, row: Import) -> UploadForm:
        """The form as it was sent for an import, to be mended."""
        return cls(initial=row.spec)


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
