"""What the experiment form shows beside its fields: preset cards, split ribbon, memory, clone difference."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psutil

from backtests.forms import ExperimentForm, declared_settings, shown_values
from backtests.presets import preset as preset_named
from backtests.services import estimate
from backtests.specs import ExperimentSpec
from markets.models import DatasetVersion
from modeling.presets import PRESETS, PURPOSE
from specs.declaration import InvalidSpec

TRAINING = ("fit", "validation", "calibration")
Part = dict[str, Any]  # Any: words and numbers of a page


def preset_cards(version: DatasetVersion | None) -> list[Part]:
    """Every preset with what it is for, its size and its time on these candles, where they suffice."""
    return [
        {"name": name, "purpose": PURPOSE[name], **_preset_cost(name, version)} for name in PRESETS
    ]


def _preset_cost(name: str, version: DatasetVersion | None) -> Part:
    if version is None:
        return {}
    try:
        return {"cost": estimate(preset_named(name), version)}
    except InvalidSpec as error:
        return {"problem": " ".join(error.fields.values())}


def split_ribbon(found: Part, spec: ExperimentSpec, version: DatasetVersion) -> Part:
    """Folds, gaps and hold-out as parts of one strip, in percent of the span of the candles."""
    first, last = version.first_at, version.last_at + version.bar
    whole = last - first
    label = version.bar * max(spec.windows.horizon_bars, spec.target.regime_bars)

    def part(kind: str, start: datetime, stop: datetime) -> Part:
        left = 100 * ((start - first) / whole)
        return {"kind": kind, "left": left, "width": max(0.0, 100 * ((stop - start) / whole))}

    def fold_parts(fold: Part) -> list[Part]:
        slices = fold["slices"]
        spans = {
            name: (datetime.fromisoformat(at["from_at"]), datetime.fromisoformat(at["to_at"]))
            for name, at in slices.items()
        }
        following = [spans[name][0] for name in (*TRAINING[1:], "test")]
        parts = [part("test", *spans["test"])]
        for name, then in zip(TRAINING, following, strict=True):
            # A slice ends with its last label; its last sample is known one label earlier.
            known = spans[name][1] - label
            purge = max(known, then - label)
            parts += [
                part("train", spans[name][0], known),
                part("embargo", known, purge),
                part("purge", purge, then),
            ]
        return parts

    gaps = []
    for gap in version.report.get("largest_gaps", []):
        start = datetime.fromisoformat(gap["after"]) + version.bar
        gaps.append(part("gap", start, start + gap["missing_bars"] * version.bar))
    return {
        "folds": [{**fold, "parts": fold_parts(fold)} for fold in found["splits"]],
        "gaps": gaps,
        "holdout": part("holdout", found["holdout_at"], last),
        "purge_bars": label // version.bar,
    }


def free_mib() -> float:
    """Memory that could still be had on this machine."""
    return float(psutil.virtual_memory().available / 2**20)


def memory_problem(found: Part) -> str:
    """Why this is likely not to fit; empty when it does."""
    free = free_mib()
    if found["memory_mib"] <= free:
        return ""
    return (
        f"Memory: about {found['memory_mib']:,.0f} MiB wanted, {free:,.0f} MiB free here. "
        "Use a smaller batch, width or context, or a machine with more memory."
    )


def clone_difference(form: ExperimentForm, source: ExperimentSpec) -> list[Part]:
    """Every field whose input says another thing than the source, as both are written in the form."""
    if isinstance(form.spec, ExperimentSpec):
        ours = shown_values(form.spec)
    else:
        ours = {name: form[name].value() for name in shown_values(source)}
    theirs = shown_values(source)
    return [
        {**setting._asdict(), "source": theirs[setting.path], "value": ours[setting.path]}
        for setting in declared_settings()
        if _text(ours[setting.path]) != _text(theirs[setting.path])
    ]


def _text(value: object) -> str:
    return "" if value is None or value is False else str(value).strip()
