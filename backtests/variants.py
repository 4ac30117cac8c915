"""The variants of an ablation: each changes exactly one component of a base spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backtests.specs import ExperimentSpec
from specs.declaration import InvalidSpec
from specs.forms import choices_of, in_words

BASE = "base"
BASE_LABEL = "Base"
UNPATCHED, PATCH_BARS = 1, 10
SAME_AS_BASE = "The base is like this already."
NO_NETWORK = (
    "The base has no network, so there is no component to change. Choose one with a network."
)

Change = dict[str, dict[str, Any]]  # Any: values of spec fields; part → field → value


@dataclass(frozen=True)
class Variant:
    """One component and what becomes of it; `change` may look at the base."""

    key: str
    label: str
    change: Callable[[ExperimentSpec], Change]


@dataclass(frozen=True)
class Derived:
    """A variant of one base: its spec, or the reason why there is none; `change` in words."""

    key: str
    label: str
    spec: ExperimentSpec | None
    change: str
    reason: str = ""


def _always(**change: dict[str, Any]) -> Callable[[ExperimentSpec], Change]:
    return lambda base: change


def _other_patch(base: ExperimentSpec) -> Change:
    is_patched = base.network.patch_bars != UNPATCHED
    return {"network": {"patch_bars": UNPATCHED if is_patched else PATCH_BARS}}


VARIANTS: tuple[Variant, ...] = (
    Variant("context_50", "Context of 50 bars", _always(windows={"context_bars": 50})),
    Variant("context_250", "Context of 250 bars", _always(windows={"context_bars": 250})),
    Variant("bias_off", "No temporal bias", _always(network={"temporal_bias": False})),
    Variant("scales_off", "No multi-scale", _always(network={"multi_scale": False})),
    Variant(
        "features_15",
        "15 features",
        _always(features={"feature_set": "basic-15", "select_top": "none"}),
    ),
    Variant(
        "features_40", "40 features", _always(features={"feature_set": "all-67", "select_top": 40})
    ),
    Variant(
        "features_67",
        "67 features",
        _always(features={"feature_set": "all-67", "select_top": "none"}),
    ),
    Variant("dropout_fixed", "Fixed dropout", _always(network={"adaptive_dropout": False})),
    Variant("patch", "Other patches", _other_patch),
)
KEYS = tuple(variant.key for variant in VARIANTS)
LABELS = {BASE: BASE_LABEL, **{variant.key: variant.label for variant in VARIANTS}}


def derived_variants(base: ExperimentSpec) -> list[Derived]:
    """Every variant of the base in order, those that cannot be among them with their reason."""
    return [_derived(variant, base) for variant in VARIANTS]


def _derived(variant: Variant, base: ExperimentSpec) -> Derived:
    change = variant.change(base)
    words = _in_words(change, base)
    if base.network.is_linear:
        return Derived(variant.key, variant.label, None, words, NO_NETWORK)
    try:
        spec = _changed(base, change)
    except InvalidSpec as error:
        return Derived(variant.key, variant.label, None, words, reason_of(error))
    if _computes(spec) == _computes(base):
        return Derived(variant.key, variant.label, None, words, SAME_AS_BASE)
    return Derived(variant.key, variant.label, spec, words)


def reason_of(error: InvalidSpec) -> str:
    """Why a spec cannot be used, as a row says it: the setting and what is wrong with it."""
    texts = error.fields.items()
    return "; ".join(text if path == "datasets" else f"{path}: {text}" for path, text in texts)


def _changed(base: ExperimentSpec, change: Change) -> ExperimentSpec:
    document = base.to_json()
    for part, values in change.items():
        document[part] = {**document[part], **values}
    return ExperimentSpec.parse(document)


def _computes(spec: ExperimentSpec) -> object:
    """What a spec comes to: two ways to write one set of features are one."""
    features = spec.features
    return (
        spec.model_copy(update={"features": None}),
        (features.names(), features.count, features.scales),
    )


def _in_words(change: Change, base: ExperimentSpec) -> str:
    """ "Context 64 → 50 bars": label, value of the base, new value, unit."""
    parts = []
    for part, values in change.items():
        section = getattr(base, part)
        for name, value in values.items():
            field = type(section).model_fields[name]
            extra = field.json_schema_extra
            unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
            labels = choices_of(field)
            before = _shown(in_words(getattr(section, name), labels))
            then = _shown(in_words(value, labels))
            after = " ".join(filter(None, [then, unit if value != "none" else ""]))
            if before != then:
                parts.append(f"{field.title} {before} → {after}")
    return ", ".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{len(value)} names" if isinstance(value, tuple) else str(value)
