from __future__ import annotations

from datetime import datetime, timezone

import pytest
from django.http import QueryDict

from backtests.presets import preset
from backtests.specs import BacktestSpec, ExperimentSpec
from markets.specs import ImportSpec
from modeling.presets import PRESETS
from modeling.specs import FeatureSpec
from specs.declaration import InvalidSpec, Spec
from specs.forms import SpecForm, changed_fields, declared_fields

SPECS = {
    "import": ImportSpec(symbol="BTC/USDT"),
    "import with everything": ImportSpec(
        symbol="BTCUSDT",
        venue="binance",
        kind="perpetual",
        timeframe="5m",
        timestamp_unit="ms",
        timezone="Europe/Berlin",
        column_map={"timestamp": "Date, UTC", "open": "#2"},
        on_violation="drop",
    ),
    "experiment": ExperimentSpec(),
    "experiment with lists": ExperimentSpec(
        features=FeatureSpec(feature_set=("ret_1", "rsi_14"), scales=(1, 3))
    ),
    "experiment with one feature": ExperimentSpec(features=FeatureSpec(feature_set=("ret_1",))),
    "backtest": BacktestSpec(),
    **{name: preset(name) for name in PRESETS},
}


def sent(form: SpecForm) -> QueryDict:
    """What a browser sends for a form whose fields nobody touched."""
    data = QueryDict(mutable=True)
    for bound in form:
        value = bound.value()
        if isinstance(value, bool):
            if value:
                data[bound.html_name] = "on"
        elif value is not None:
            data[bound.html_name] = str(value)
    return data


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_untouched_form_gives_the_same_spec(spec):
    form = SpecForm(type(spec), sent(SpecForm(type(spec), initial=spec)))
    assert form.is_valid(), form.errors
    assert form.spec == spec
    assert form.spec.sha256() == spec.sha256()


def test_instant_and_lists_come_back_as_they_were():
    data = {
        "data": {"from_at": "2024-01-31T12:30:00+02:00", "to_at": None},
        "features": {"scales": [1, 3, 12]},
        "training": {"seeds": [3, 1]},
    }
    spec = ExperimentSpec.parse(data)
    form = SpecForm(ExperimentSpec, sent(SpecForm(ExperimentSpec, initial=spec)))
    assert form.is_valid(), form.errors
    assert form.spec == spec
    assert form.spec.data.from_at == datetime(2024, 1, 31, 10, 30, tzinfo=timezone.utc)
    assert form.spec.training.seeds == (3, 1)


def changed(**values: str) -> SpecForm:
    data = sent(SpecForm(ExperimentSpec, initial=preset("tiny")))
    for path, value in values.items():
        data[path.replace("__", ".")] = value
    form = SpecForm(ExperimentSpec, data)
    form.is_valid()
    return form


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("training.learning_rate", "0", "at least 1e-07"),
        ("training.learning_rate", "abc", "found 'abc'"),
        ("training.epochs", "1.5", "expected"),
        ("training.seeds", "1, x", "expected"),
        ("training.seeds", "1, 1", "different"),
        ("network.heads", "7", "heads must divide 32"),
        ("features.feature_set", "basic-16", 'did you mean "basic-15"'),
        ("features.scales", "3, 1", "beginning with 1"),
        ("data.from_at", "yesterday", "2024-01-31 00:00"),
        ("evaluation.scheme", "kfold", "kfold"),
        ("backtest.policy.threshold", "2", "below 1"),
        ("backtest.risk.stop_pct", "1", "less than 1"),
    ],
)
def test_error_stands_at_its_field_and_typed_values_stay(path, value, text):
    form = changed(**{path.replace(".", "__"): value})
    assert form.spec is None
    assert list(form.errors) == [path]
    assert text in form.errors[path][0]
    assert form[path].value() == value
    section = next(part for part in form.sections if part.key == path.split(".")[0])
    assert section.has_errors


def test_error_that_concerns_no_field_stands_on_top():
    form = changed()
    form.add_spec_errors(InvalidSpec({"datasets": "too short"}))
    assert form.non_field_errors() == ["datasets: too short"]


def test_empty_field_takes_its_default_and_a_required_one_is_missed():
    form = SpecForm(ImportSpec, {"symbol": "", "kind": "spot"})
    assert not form.is_valid()
    assert next(iter(form.errors)) == "symbol"
    data = sent(SpecForm(ExperimentSpec, initial=preset("tiny")))
    data["training.epochs"] = ""
    form = SpecForm(ExperimentSpec, data)
    assert form.is_valid()
    assert form.spec.training.epochs == ExperimentSpec().training.epochs


def test_box_without_a_tick_is_false():
    data = sent(SpecForm(ExperimentSpec, initial=preset("tiny")))
    del data["network.multi_scale"]
    form = SpecForm(ExperimentSpec, data)
    assert form.is_valid()
    assert form.spec.network.multi_scale is False


@pytest.mark.parametrize(
    "value", ["{", "[" * 100_000, '{"open": "a", "open": "b"}', '{"open": "\\u0000"}', "NaN"]
)
def test_column_map_that_cannot_be_used_is_an_error_at_its_field(value):
    data = sent(SpecForm(ImportSpec, initial=ImportSpec(symbol="BTC/USDT")))
    data["column_map"] = value
    form = SpecForm(ImportSpec, data)
    assert not form.is_valid()
    assert list(form.errors) == ["column_map"]


def test_field_shows_label_unit_and_bounds_of_its_declaration():
    field = SpecForm(ExperimentSpec).fields["windows.context_bars"]
    assert (field.label, field.unit, field.bounds) == ("Context", "bars", "4 to 4096")
    assert field.help_text == "Bars of history in one sample."


def test_every_leaf_of_every_spec_has_a_field_and_a_help_text():
    for spec_class in (ExperimentSpec, ImportSpec):
        form = SpecForm(spec_class)
        paths = [path for path, _ in declared_fields(spec_class)]
        assert list(form.fields) == paths
        assert all(field.label and field.help_text for field in form.fields.values())


def test_sections_hold_every_field_once():
    form = SpecForm(ExperimentSpec)
    shown = [bound.name for part in form.sections for bound in [*part.basic, *part.advanced]]
    assert sorted(shown) == sorted(form.fields)


def test_changed_fields_name_what_differs_from_the_preset():
    spec = ExperimentSpec.parse({**preset("tiny").to_json(), "training": {"epochs": 9}})
    changes = changed_fields(spec, preset("tiny"))
    assert changes["training.epochs"] == (9, preset("tiny").training.epochs)
    assert "network.d_model" not in changes
    assert changed_fields(spec, spec) == {}


class Inner(Spec):
    """A part."""

    number: int = 1


class Outer(Spec):
    """A whole."""

    inner: Inner = Inner()
    name: str = "x"


def test_unknown_keys_are_all_named_at_their_place():
    with pytest.raises(InvalidSpec) as error:
        Outer.parse({"nmae": 1, "zzz": 2})
    assert 'did you mean "name"?' in error.value.fields["nmae"]
    assert "known: inner, name" in error.value.fields["zzz"]
    with pytest.raises(InvalidSpec) as error:
        Outer.parse({"inner": {"numbr": 1}})
    assert 'did you mean "number"?' in error.value.fields["inner.numbr"]


@pytest.mark.parametrize("data", [None, [], 3, "text", {"inner": 3}, {"inner": None}])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(InvalidSpec):
        Outer.parse(data)


def test_error_repeats_only_the_beginning_of_what_was_sent():
    for value in ("x" * 100_000, 10**4000):
        with pytest.raises(InvalidSpec) as error:
            Outer.parse({"inner": {"number": value}, "name": ["y"]})
        assert len(str(error.value)) < 1000
    with pytest.raises(InvalidSpec) as error:
        Outer.parse({"k" * 100_000: 1})
    assert len(str(error.value)) < 1000


def test_equal_specs_have_equal_checksums_and_others_do_not():
    assert Outer.parse({"name": "x", "inner": {"number": 1}}).sha256() == Outer().sha256()
    assert Outer(name="y").sha256() != Outer().sha256()


def test_spec_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Outer().name = "y"
