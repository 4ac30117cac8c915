import pytest

from markets.features.registry import FEATURE_SETS
from modeling.presets import PRESETS
from modeling.specs import FeatureSpec
from specs.declaration import InvalidSpec
from specs.forms import choices_of


@pytest.mark.parametrize(("asked", "kept"), [(40, 40), ("40", 40), (1, 1), (67, 67), (500, 67)])
def test_no_more_features_are_kept_than_asked_for_and_than_there_are(asked, kept):
    assert FeatureSpec.parse({"feature_set": "all-67", "select_top": asked}).count == kept


@pytest.mark.parametrize("asked", [None, "none"])
def test_none_keeps_all_features(asked):
    spec = FeatureSpec.parse({"feature_set": "all-67", "select_top": asked})
    assert (spec.count, spec.most_kept) == (67, None)
    assert FeatureSpec.parse(spec.to_json()) == spec


@pytest.mark.parametrize("asked", [0, -1, 2.5, "all", "", True, "9" * 5000])
def test_no_feature_and_no_number_are_refused(asked):
    with pytest.raises(InvalidSpec) as refused:
        FeatureSpec.parse({"select_top": asked})
    assert list(refused.value.fields) == ["select_top"]


def test_presets_see_the_features_that_the_design_names():
    assert {name: spec.features.count for name, spec in PRESETS.items()} == {
        "tiny": 15,
        "small": 40,
        "reference": 40,
        "linear": 40,
    }
    assert PRESETS["tiny"].features.most_kept is None


def test_every_named_feature_set_has_a_label():
    feature_set = FeatureSpec.model_fields["feature_set"]
    assert set(choices_of(feature_set)) == set(FEATURE_SETS)
