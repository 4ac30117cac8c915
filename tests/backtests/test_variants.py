import pytest

from backtests.presets import preset
from backtests.specs import ExperimentSpec
from backtests.variants import KEYS, SAME_AS_BASE, derived_variants
from specs.forms import changed_fields

TINY = preset("tiny")
PARTS = {
    "context_50": {"windows.context_bars"},
    "context_250": {"windows.context_bars"},
    "bias_off": {"network.temporal_bias"},
    "scales_off": {"network.multi_scale"},
    "features_15": {"features.feature_set", "features.select_top"},
    "features_40": {"features.feature_set", "features.select_top"},
    "features_67": {"features.feature_set", "features.select_top"},
    "dropout_fixed": {"network.adaptive_dropout"},
    "patch": {"network.patch_bars"},
}


def by_key(base):
    return {derived.key: derived for derived in derived_variants(base)}


def with_part(base, part, **values):
    document = base.to_json()
    document[part] |= values
    return ExperimentSpec.parse(document)


def test_each_variant_changes_one_component_only():
    found = by_key(TINY)
    assert tuple(found) == KEYS
    for key, derived in found.items():
        if derived.spec is not None:
            assert set(changed_fields(derived.spec, TINY)) <= PARTS[key]
            assert changed_fields(derived.spec, TINY)


def test_variant_equal_to_the_base_stays_with_its_reason():
    found = by_key(TINY)["features_15"]
    assert (found.spec, found.reason) == (None, SAME_AS_BASE)


def test_another_way_to_write_the_same_features_is_the_base():
    base = with_part(TINY, "features", select_top=40)  # 40 of fifteen are all fifteen
    assert by_key(base)["features_15"].reason == SAME_AS_BASE
    assert by_key(preset("small"))["features_40"].reason == SAME_AS_BASE


def test_variant_that_no_spec_allows_stays_with_its_reason():
    base = with_part(with_part(TINY, "network", patch_bars=64), "windows", context_bars=128)
    found = by_key(base)["context_50"]
    assert found.spec is None
    assert "network.patch_bars" in found.reason


@pytest.mark.parametrize(("patch", "other"), [(4, 1), (1, 10)])
def test_patched_base_loses_its_patches_and_another_gets_some(patch, other):
    found = by_key(with_part(TINY, "network", patch_bars=patch))["patch"]
    assert found.spec.network.patch_bars == other


def test_change_is_said_with_both_values_and_the_unit():
    found = by_key(TINY)
    assert found["context_250"].change == "Context 64 → 250 bars"
    assert found["bias_off"].change == "Temporal attention bias on → off"
    assert found["features_67"].change == "Feature set 15 basic features → all 67 features"
