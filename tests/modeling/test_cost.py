"""Estimates of time and memory against what was measured on two cores."""

from datetime import timedelta

import pytest
from django.db.models import Sum

from artifacts.models import StoredFile
from modeling.cost import (
    APART_SHARE,
    CERTIFIED_S,
    FEATURE_S,
    SCORE_S,
    memory_mib,
    run_time,
    samples_per_second,
    storage_mib,
)
from modeling.network.size import network_size
from modeling.presets import PRESETS
from modeling.services import estimate
from modeling.specs import ModelSpec
from modeling.windows.planning import plan_experiment
from tests.path import demo_version, finished_run, make_people, quick_spec

DAY_NS = 86_400 * 10**9


def case(name, days=180, scheme="anchored", **training):
    spec: ModelSpec = PRESETS[name]
    evaluation = spec.evaluation.model_copy(update={"scheme": scheme})
    parts = {"training": spec.training.model_copy(update=training), "evaluation": evaluation}
    spec = spec.model_copy(update=parts)
    plan = plan_experiment(spec, first_open=0, last_close=days * DAY_NS, timeframe_minutes=5)
    size = network_size(
        spec.network,
        features=spec.features.count,
        context_bars=spec.windows.context_bars,
        scales=(1, 3, 6, 12),
    )
    return spec, plan, size


@pytest.mark.parametrize(("name", "measured"), [("tiny", 6200), ("small", 1000), ("reference", 3)])
def test_presets_train_as_fast_as_they_were_measured(name, measured):
    spec, _, size = case(name)
    assert samples_per_second(spec.network, size) == pytest.approx(measured)


@pytest.mark.parametrize(
    ("name", "days", "measured_s"),
    # Seconds of processor time of whole runs on BTC candles.
    [("tiny", 180, 96), ("linear", 180, 42), ("linear", 546, 66)],
)
def test_whole_runs_are_estimated_within_a_factor_of_two(name, days, measured_s):
    time = run_time(*case(name, days))
    assert time.high / 2 <= measured_s <= time.low * 2


def test_the_range_is_what_early_stopping_leaves_open():
    time = run_time(*case("small"))
    assert (time.least, time.most) == (3, 8)
    assert time.high - time.low == pytest.approx(5 * time.epoch)
    never = run_time(*case("small", patience=20))
    assert never.low == never.high


def test_certificates_and_scores_of_each_instrument_take_time():
    spec, plan, size = case("tiny")
    one, two, three = (run_time(spec, plan, size, instruments=count).fixed for count in (1, 2, 3))
    features = len(spec.features.names()) * FEATURE_S
    certified = len(plan.folds) * CERTIFIED_S
    assert three - two == pytest.approx(features + certified)
    predicted = sum(fold.samples["predicted"] for fold in plan.folds)
    scored = predicted * spec.evaluation.bootstrap_draws * SCORE_S
    assert two - one == pytest.approx(features + certified + APART_SHARE * scored)


def test_the_reference_network_takes_hours_an_epoch_on_two_cores():
    time = run_time(*case("reference"))
    assert 6 * 3600 < time.epoch < 9 * 3600
    assert time.least == 11


def test_without_a_network_there_is_no_epoch():
    time = run_time(*case("linear"))
    assert (time.epoch, time.least, time.most) == (0.0, 0, 0)
    assert time.low == time.high > 0


@pytest.mark.parametrize(
    ("name", "rows", "measured_mib"),
    # Peaks of whole runs on BTC candles.
    [("tiny", 157_232, 879), ("linear", 157_232, 971), ("linear", 51_840, 880)],
)
def test_memory_is_estimated_within_a_quarter(name, rows, measured_mib):
    spec, _, size = case(name)
    assert memory_mib(spec, rows, size) == pytest.approx(measured_mib, rel=0.25)


def test_heads_without_a_network_keep_no_activations():
    spec, _, size = case("linear")
    assert memory_mib(spec, 51_840, size) < 900


def test_the_ladder_takes_no_longer_than_it_may():
    spec, plan, size = case("linear", days=3000)
    assert run_time(spec, plan, size).fixed < 120 + 8 + 5 + 8 + 120


def test_every_split_stores_its_weights_and_every_path_its_predictions():
    spec, plan, size = case("reference", days=546, scheme="cpcv")
    assert len(plan.folds) == 28
    weights = 28 * size["weight_mib"]
    assert storage_mib(spec, plan, size) > weights > 3000
    walked = storage_mib(*case("reference", days=546))
    assert storage_mib(spec, plan, size) > 7 * (walked - 4 * size["weight_mib"]) + weights


def test_a_smaller_model_stores_its_predictions_all_the_same():
    linear, tiny = storage_mib(*case("linear")), storage_mib(*case("tiny"))
    assert 0.6 * tiny < linear < tiny


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_run_stores_what_was_estimated_within_a_fifth():
    user, workspace = make_people()
    version = demo_version(workspace, user)
    from_at = version.last_at - timedelta(days=30)
    spec = quick_spec(
        data={"from_at": f"{from_at:%Y-%m-%dT%H:%M:%SZ}"},
        features={"scales": [1, 3]},
        windows={"context_bars": 32},
        target={"regime_bars": 12},
        evaluation={"embargo_bars": 12},
    )
    candles = set(StoredFile.objects.values_list("pk", flat=True))
    run = finished_run(user, version, spec)
    stored = StoredFile.objects.exclude(pk__in=candles).aggregate(size=Sum("size"))["size"]
    planned = estimate(run.experiment.model_spec, [version])["storage_mib"]
    assert planned == pytest.approx(stored / 2**20, rel=0.2)
    seeds = spec.model_spec().training.model_copy(update={"seeds": (0, 1, 2)})
    three = spec.model_spec().model_copy(update={"training": seeds})
    assert estimate(three, [version])["storage_mib"] == pytest.approx(3 * planned, abs=0.2)
