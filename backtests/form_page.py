"""What the experiment form shows beside its fields: preset cards, split ribbon, memory, clone difference."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psutil

from backtests.forms import (
    KIND,
    ExperimentForm,
    declared_settings,
    is_read,
    shown_values,
    spec_of,
)
from backtests.presets import preset as preset_named
from backtests.services import estimate
from backtests.specs import ExperimentSpec
from markets.models import DatasetVersion
from modeling.models import Experiment, span_used
from modeling.presets import PRESETS, PURPOSE
from modeling.services import plan_for
from specs.declaration import InvalidSpec
from specs.forms import in_words
from specs.writing import grouped

# More folds than this are drawn as thin lines, one below the other.
LOOSE_FOLDS = 20
Part = dict[str, Any]  # Any: words and numbers of a page


def preset_cards(versions: list[DatasetVersion]) -> list[Part]:
    """Every preset with what it is for, its size and its time on these candles, where they suffice."""
    return [
        {"name": name, "purpose": PURPOSE[name], **_preset_cost(name, versions)} for name in PRESETS
    ]


def _preset_cost(name: str, versions: list[DatasetVersion]) -> Part:
    if not versions:
        return {}
    try:
        return {"cost": estimate(preset_named(name), versions)}
    except InvalidSpec as error:
        return {"problem": " ".join(error.fields.values())}


def split_ribbon(found: Part, spec: ExperimentSpec, versions: list[DatasetVersion]) -> Part:
    """Folds, gaps and hold-out as parts of one strip, in percent of the span that is used."""
    bar = versions[0].bar
    first, last = span_used(spec, versions)
    whole = last - first
    label = bar * max(spec.windows.horizon_bars, spec.target.regime_bars)

    def part(kind: str, start: datetime, stop: datetime) -> Part:
        left = 100 * ((start - first) / whole)
        return {"kind": kind, "left": left, "width": max(0.0, 100 * ((stop - start) / whole))}

    def fold_parts(fold: Part) -> list[Part]:
        stretches = _stretches(fold)
        starts = [start for start, _, _ in stretches[1:]]
        parts = []
        for (start, end, kind), then in zip(stretches, [*starts, None], strict=True):
            # A stretch ends with its last label; its last sample is known one label earlier.
            known = end if then is None else end - label
            parts.append(part(kind, start, known))
            if then is not None and kind == "train":
                purge = max(known, then - label)
                parts += [part("embargo", known, purge), part("purge", purge, then)]
            elif then is not None and then > end:
                parts += [part("purge", known, end), part("embargo", end, then)]
        return parts

    gaps = []
    for gap in (gap for version in versions for gap in version.report.get("largest_gaps", [])):
        start = datetime.fromisoformat(gap["after"]) + bar
        stop = start + gap["missing_bars"] * bar
        if first < stop and start < last:
            gaps.append(part("gap", max(first, start), min(stop, last)))
    return {
        "folds": [{**fold, "parts": fold_parts(fold)} for fold in found["splits"]],
        "gaps": gaps,
        "holdout": part("holdout", found["holdout_at"], last),
        "purge_bars": label // bar,
        "first_at": first,
        "last_at": last - bar,
        "is_dense": len(found["splits"]) > LOOSE_FOLDS,
        "dropped": {
            name: [min(counts), max(counts)]
            for name in ("purged", "embargoed")
            for counts in [[fold[name] for fold in found["splits"]]]
        },
    }


def stored_ribbon(experiment: Experiment) -> Part | None:
    """The ribbon of an experiment that is stored; None where its candles would not do any more."""
    spec, versions = spec_of(experiment), experiment.pool
    try:
        plan = plan_for(spec.model_spec(), versions)
    except InvalidSpec:
        return None
    splits = [fold.to_json() for fold in plan.folds]
    return split_ribbon({"splits": splits, "holdout_at": experiment.holdout_at}, spec, versions)


def _stretches(fold: Part) -> list[tuple[datetime, datetime, str]]:
    """From when to when a fold trains and tests, in order of time."""
    found = [
        (at, "test" if name == "test" else "train")
        for name, whole in fold["slices"].items()
        for at in whole.get("parts", [whole])
    ]
    return sorted(
        (datetime.fromisoformat(at["from_at"]), datetime.fromisoformat(at["to_at"]), kind)
        for at, kind in found
    )


def free_mib() -> float:
    """Memory that could still be had on this machine."""
    return float(psutil.virtual_memory().available / 2**20)


def memory_problem(found: Part) -> str:
    """Why this is likely not to fit; empty when it does."""
    free = free_mib()
    if found["memory_mib"] <= free:
        return ""
    return (
        f"Memory: about {grouped(found['memory_mib'])} MiB wanted, {grouped(free)} MiB free here. "
        "Use a smaller batch, width or context, or a machine with more memory."
    )


def candles_difference(ours: list[DatasetVersion], theirs: list[DatasetVersion]) -> list[Part]:
    """The candles of both, as a row beside the settings, unless they are the same."""
    value, source = (", ".join(sorted(map(str, versions))) for versions in (ours, theirs))
    if {version.pk for version in ours} == {version.pk for version in theirs}:
        return []
    return [{"label": "Candles", "section": "Data", "unit": "", "source": source, "value": value}]


def clone_difference(form: ExperimentForm, source: ExperimentSpec) -> list[Part]:
    """Every field whose input says another thing than the source, as both are written in the form."""
    if isinstance(form.spec, ExperimentSpec):
        return spec_difference(form.spec, source)
    theirs = shown_values(source)
    return _differing({name: form[name].value() for name in theirs}, theirs)


def spec_difference(spec: ExperimentSpec, source: ExperimentSpec) -> list[Part]:
    """Every setting in which a spec differs from another, as both are written in the form."""
    return _differing(shown_values(spec), shown_values(source))


def _differing(ours: Part, theirs: Part) -> list[Part]:
    """What differs of the settings that both sides read."""
    return [
        {
            **setting._asdict(),
            "source": in_words(theirs[setting.path], setting.choices),
            "value": in_words(ours[setting.path], setting.choices),
        }
        for setting in declared_settings()
        if all(is_read(side[KIND], setting.path) for side in (ours, theirs))
        and _text(ours[setting.path]) != _text(theirs[setting.path])
    ]


def _text(value: object) -> str:
    return "" if value is None or value is False else str(value).strip()
