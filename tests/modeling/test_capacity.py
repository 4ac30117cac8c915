"""Effective samples beside parameters: before a run, on its page and in its notices."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from backtests.presets import preset
from backtests.services import estimate
from markets.candles.synthetic import synthetic_candles
from markets.models import DatasetVersion
from modeling.capacity import CAPACITY, Capacity, capacities, capacity_notices, fit_samples
from modeling.judging import Judgement
from modeling.presets import PRESETS
from modeling.specs import ModelSpec
from modeling.storing import notices_of
from modeling.windows.planning import plan_experiment
from tests import factories
from tests.backtests.test_experiment_views import body

DAY_NS = 86_400 * 10**9
HEART = "the network can learn the noise by heart. Choose a smaller preset or more candles."


def splits_of(spec: ModelSpec, days: int) -> list[dict[str, Any]]:
    plan = plan_experiment(spec, first_open=0, last_close=days * DAY_NS, timeframe_minutes=5)
    return [fold.to_json() for fold in plan.folds]


@pytest.fixture
def version(alice: User) -> DatasetVersion:
    workspace = alice.first_workspace()
    assert workspace is not None
    return factories.make_version(workspace, candles=synthetic_candles(days=90))


def test_the_warning_says_how_many_parameters_learn_from_how_few_samples() -> None:
    assert Capacity(1, 29_808_026, 2100.4).warning == (
        "29.8 M parameters for 2\u2009100 effective samples in fold 1: fewer than 1 sample per 100 "
        f"parameters, {HEART}"
    )
    assert Capacity(2, 50_662, 500.0).warning.startswith("50\u2009662 parameters for 500 ")


def test_one_sample_for_a_hundred_parameters_is_enough() -> None:
    assert Capacity(1, 50_000, 500.0).warning == ""
    assert Capacity(1, 50_000, 499.9).is_short


def test_samples_of_the_fit_slice_count_by_their_horizon() -> None:
    spec = PRESETS["tiny"]
    fold = splits_of(spec, 180)[0]
    samples = fold["slices"]["fit"]["samples"]
    assert fit_samples(spec, fold) == pytest.approx(samples / 12, rel=1e-2)


def test_a_stride_counts_only_when_labels_leave_bars_uncovered() -> None:
    spec = PRESETS["tiny"]
    fold = splits_of(spec, 180)[0]

    def at(stride: int) -> float:
        windows = spec.windows.model_copy(update={"stride": stride})
        return fit_samples(spec.model_copy(update={"windows": windows}), fold)

    assert at(1) == at(4) == at(12)
    assert at(24) == pytest.approx(at(1) / 2)


def test_the_notice_is_that_of_the_fold_with_the_fewest_samples() -> None:
    spec = PRESETS["reference"]
    splits = splits_of(spec, 365)
    (notice,) = capacity_notices(spec, splits, 5)
    assert notice["code"] == CAPACITY
    assert "29.8 M parameters" in notice["message"] and "in fold 1:" in notice["message"]
    assert capacity_notices(PRESETS["tiny"], splits, 5) == []


def test_without_a_network_nothing_is_counted() -> None:
    spec = PRESETS["linear"]
    splits = splits_of(spec, 180)
    assert capacities(spec, splits, 5) == [None] * 4
    assert capacity_notices(spec, splits, 5) == []


@pytest.mark.django_db
def test_the_estimate_counts_the_samples_of_the_scarcest_fold(version: DatasetVersion) -> None:
    found = estimate(preset("reference"), [version])
    fewest = min(fold["slices"]["fit"]["effective_samples"] for fold in found["splits"])
    assert found["effective_samples"] == round(fewest)
    assert found["samples_per_parameter"] == pytest.approx(fewest / 29_808_026)
    assert HEART in found["capacity_warning"]
    none = estimate(preset("linear"), [version])
    assert (none["effective_samples"], none["samples_per_parameter"]) == (None, None)
    assert none["capacity_warning"] == ""


@pytest.mark.django_db
@pytest.mark.usefixtures("signed_in")
def test_the_cost_panel_warns_of_a_network_too_large_for_its_samples(
    client: Client, version: DatasetVersion
) -> None:
    sent = body(version)
    page = client.post("/experiments/estimate/", sent).content.decode()
    assert "Samples per parameter" in page
    assert HEART not in page
    sent |= {"network.d_model": 256, "network.layers": 6, "network.heads": 8}
    assert HEART in client.post("/experiments/estimate/", sent).content.decode()
    sent |= {"network.kind": "linear"}
    page = client.post("/experiments/estimate/", sent).content.decode()
    assert "Samples per parameter" not in page


@pytest.mark.django_db
@pytest.mark.usefixtures("signed_in")
def test_every_fold_stands_with_its_samples_for_each_parameter(
    client: Client, version: DatasetVersion
) -> None:
    run = factories.make_run(factories.make_experiment(version.workspace, version))
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "Fit effective" in page
    assert ">0.00049<" in page
    assert '<span class="badge-word warn">few</span>' in page


@pytest.mark.django_db
def test_a_run_keeps_its_notices_and_adds_that_of_its_capacity(version: DatasetVersion) -> None:
    run = factories.make_run(factories.make_experiment(version.workspace, version))
    run.notices = [{"code": "code_changed", "message": "Goes on."}]
    judgement = Judgement({}, {}, {}, {}, [{"code": "calibrated", "message": "Is."}], ())
    kept = notices_of(run, list(run.folds.all()), judgement)
    assert [notice["code"] for notice in kept] == ["code_changed", "calibrated", CAPACITY]
    assert kept[-1]["message"].startswith(
        "50\u2009662 parameters for 25 effective samples in fold 1"
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("signed_in")
def test_the_page_of_a_run_says_its_notice(client: Client, version: DatasetVersion) -> None:
    run = factories.make_run(factories.make_experiment(version.workspace, version))
    spec = run.experiment.model_spec
    run.notices = capacity_notices(spec, [fold.splits for fold in run.folds.all()], 5)
    run.save()
    assert (
        f"<code>capacity</code> {run.notices[0]['message']}"
        in client.get(f"/runs/{run.pk}/").content.decode()
    )
