"""What a version that a model cannot predict is told, and what stands in the form."""

from datetime import timedelta

import pytest

from markets.models import DatasetVersion
from markets.reading import ns_of
from modeling.models import Experiment, RegisteredModel
from modeling.predictable import Limits
from modeling.specs import DataSpec
from modeling.windows.samples import first_window
from specs.writing import grouped
from tests import factories
from tests.registry import make_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def model(alice):
    return make_model(factories.make_run(factories.make_experiment(alice.first_workspace())))


def obstacle_of(version):
    """As somebody finds it who fetches the model now."""
    return Limits.of(RegisteredModel.objects.get()).obstacle(version)


def page_of(client, model):
    return client.get(f"/models/{model.pk}/").content.decode()


def change_spec(model, **update):
    experiment = model.run.experiment
    experiment.model_spec = experiment.model_spec.model_copy(update=update)
    experiment.save(update_fields=["model_spec"])


def test_where_the_seal_leaves_nothing_new_the_way_out_is_to_open_it(client, model):
    own = model.run.experiment.version
    Experiment.objects.update(holdout_at=model.out_of_sample_from - timedelta(hours=5))
    found = obstacle_of(own)
    assert (found.code, found.needs_opening) == ("nothing_to_predict", True)
    assert "Open the hold-out with the run of this model first" in found.text
    assert "newer version" not in found.text
    page = page_of(client, model)
    assert f'/experiments/{model.run.experiment_id}/#holdout">Open the hold-out</a>' in page
    assert "newer candles" not in page


def test_where_the_candles_end_too_early_the_way_out_is_a_newer_version(client, model):
    candles = factories.candles_of(model.run.experiment.version).slice(0, 400)
    Experiment.objects.update(holdout_at=model.run.experiment.holdout_until)
    early = factories.make_version(model.workspace, candles=candles)
    found = obstacle_of(early)
    assert (found.code, found.needs_opening) == ("nothing_to_predict", False)
    assert "Choose a newer version, or choose another instrument" in found.text


def test_a_version_that_ends_at_the_seal_gains_nothing_by_opening_it(model):
    own = model.run.experiment.version
    Experiment.objects.update(holdout_at=model.out_of_sample_from - timedelta(hours=5))
    own.last_at = model.out_of_sample_from - timedelta(hours=5) - own.bar
    found = obstacle_of(own)
    assert (found.code, found.needs_opening) == ("nothing_to_predict", False)
    assert "Choose a newer version" in found.text


def test_where_the_seal_leaves_too_few_bars_the_way_out_is_to_open_it(model):
    own = model.run.experiment.version
    seal = model.out_of_sample_from + 20 * own.bar
    Experiment.objects.update(holdout_at=seal)
    own.first_at, own.last_at = seal - 9 * own.bar, seal + 9000 * own.bar
    found = obstacle_of(own)
    assert (found.code, found.needs_opening) == ("not_enough_history", True)
    assert "Open the hold-out with the run of this model first, or choose a longer" in found.text
    own.last_at = seal
    assert not obstacle_of(own).needs_opening


def test_the_form_asks_for_newer_candles_where_nothing_is_sealed(client, model):
    own = model.run.experiment.version
    Experiment.objects.update(holdout_at=model.run.experiment.holdout_until)
    early = own.first_at + 30 * own.bar
    DatasetVersion.objects.filter(pk=own.pk).update(last_at=early)
    assert "newer candles or another instrument</a>" in page_of(client, model)


def test_versions_that_are_refused_hide_none_that_can_be_predicted(client, model, monkeypatch):
    monkeypatch.setattr("modeling.registry_views.VERSIONS_SHOWN", 2)
    candles = factories.candles_of(model.run.experiment.version)
    for symbol in ("AAA/USDT", "BBB/USDT", "CCC/USDT"):
        factories.make_version(model.workspace, symbol=symbol, candles=candles.slice(0, 9))
    fits = factories.make_version(model.workspace, symbol="ZZZ/USDT")
    page = page_of(client, model)
    choices = page.split('id="version"')[1].split("</select>")[0]
    assert f'value="{fits.pk}"' in choices
    assert choices.count("disabled>") == 2
    assert "Nothing can be predicted" not in page


def test_judging_more_versions_takes_no_more_queries(client, model, django_assert_max_num_queries):
    for number in range(12):
        factories.make_version(model.workspace, symbol=f"C{number}/USDT")
    with django_assert_max_num_queries(15):
        page_of(client, model)


def test_a_span_that_begins_between_two_bars_refuses_no_version_that_just_fits(model):
    spec, own = model.run.experiment.model_spec, model.run.experiment.version
    Experiment.objects.update(holdout_at=model.run.experiment.holdout_until)
    began = own.first_at + 400 * own.bar
    change_spec(
        model,
        data=DataSpec(from_at=began - timedelta(minutes=40)),
        features=spec.features.model_copy(update={"scales": (1, 4)}),
        windows=spec.windows.model_copy(update={"context_bars": 96}),
    )
    needed = needed_from(own, began)
    own.last_at = began + (needed - 1) * own.bar
    assert obstacle_of(own) is None
    own.last_at -= own.bar
    found = obstacle_of(own)
    assert found.words == f"{grouped(needed - 1)} bars, {grouped(needed)} needed"


def needed_from(version, first):
    spec = RegisteredModel.objects.get().run.experiment.model_spec
    minutes = version.dataset.timeframe_minutes
    return 1 + first_window(
        spec.features.names(),
        spec.features.scales_for(minutes),
        spec.windows.context_bars,
        first_open=ns_of(first),
        timeframe_minutes=minutes,
    )


def test_counts_are_written_in_groups_of_digits_and_one_bar_is_one(model):
    windows = model.run.experiment.model_spec.windows
    change_spec(model, windows=windows.model_copy(update={"context_bars": 4096}))
    short = factories.make_version(model.workspace, symbol="SOL/USDT")
    short.last_at = short.first_at + 1499 * short.bar
    found = obstacle_of(short)
    assert found.words == f"1\u2009500 bars, {grouped(needed_from(short, short.first_at))} needed"
    assert (
        "has 1\u2009500 bars that this model may see; its first window needs 4\u2009" in found.text
    )
    short.last_at = short.first_at
    assert obstacle_of(short).words.startswith("1 bar, ")
