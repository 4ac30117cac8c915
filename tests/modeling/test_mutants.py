"""One mutant in each stage of the pipeline: the run ends as failed, names it, and stores no result."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

from backtests.services import create_experiment, launch_experiment
from jobs.statuses import JobStatus
from markets.features.compute import compute_features
from modeling import certifying, fold_task, pipeline
from modeling.causality import state_of
from modeling.training.resident import ResidentWindows
from modeling.windows import certificate, learned, make
from modeling.windows.learned import learn_from_fit
from modeling.windows.targets import raw_targets
from tests.path import demo_version, make_people, quick_spec, run_training


def feature_that_knows_the_next_bar(monkeypatch):
    def compute(candles, names, scales, **options):
        table = compute_features(candles, names, scales, **options)
        values = table.base.values.copy()
        values[0, :-1] = values[0, 1:]
        base = dataclasses.replace(table.base, values=values)
        return dataclasses.replace(table, scales=table.scales | {1: base})

    monkeypatch.setattr(pipeline, "compute_features", compute)


def coarse_bar_known_at_its_open(monkeypatch):
    def compute(candles, names, scales, **options):
        table = compute_features(candles, names, scales, **options)
        coarse = table.scales[12]
        early = np.searchsorted(coarse.open_time, candles.time, side="right") - 1
        changed = dataclasses.replace(coarse, last_closed=early.astype(np.int32))
        return dataclasses.replace(table, scales=table.scales | {12: changed})

    monkeypatch.setattr(pipeline, "compute_features", compute)


def learning_from_later_bars(part):
    """Scalers or thresholds from all bars instead of the fit slice."""

    def plant(monkeypatch):
        def learn(parts, raw, fit_bars, spec, *, selection=None):
            honest = learn_from_fit(parts, raw, fit_bars, spec, selection=selection)
            later = np.arange(int(fit_bars[0]), len(raw.valid))
            seen = learn_from_fit(parts, raw, later, spec, selection=honest.selection)
            return dataclasses.replace(honest, **{part: getattr(seen, part)})

        monkeypatch.setattr(learned, "learn_from_fit", learn)
        proof = partial(certificate.certify_fit, learn=learn)
        monkeypatch.setattr(certifying, "certify_fit", proof)

    return plant


def selection_that_knows_the_test_block(monkeypatch):
    """The features of all labelled bars instead of those of the fit slice, with honest scalers."""

    def learn(parts, raw, fit_bars, spec, *, selection=None):
        later = np.flatnonzero(raw.valid)
        later = later[later >= fit_bars[0]]
        seen = selection or learn_from_fit(parts, raw, later, spec).selection
        return learn_from_fit(parts, raw, fit_bars, spec, selection=seen)

    monkeypatch.setattr(learned, "learn_from_fit", learn)
    proof = partial(certificate.certify_fit, learn=learn)
    monkeypatch.setattr(certifying, "certify_fit", proof)


def label_that_reads_a_bar_too_far(monkeypatch):
    def targets(candles, spliced, *, horizon_bars, regime_bars, target):
        return raw_targets(
            candles,
            spliced,
            horizon_bars=horizon_bars,
            regime_bars=regime_bars + 1,
            target=target,
        )

    monkeypatch.setattr(make, "raw_targets", targets)
    monkeypatch.setattr(certificate, "raw_targets", targets)


def window_that_reads_a_bar_too_far(monkeypatch):
    real = ResidentWindows._cut

    def cut(self, scale, last, length):
        further = (last + 1).clamp(max=len(self._rows[scale]) - 1)
        return real(self, scale, further if scale == 1 else last, length)

    monkeypatch.setattr(ResidentWindows, "_cut", cut)


def coarse_bar_joined_before_its_close(monkeypatch):
    real = fold_task.ScaledBars

    def bars(*, last_closed, **arrays):
        early = np.append(last_closed[12][1:], last_closed[12][-1])
        return real(last_closed=last_closed | {12: early}, **arrays)

    monkeypatch.setattr(fold_task, "ScaledBars", bars)


@pytest.fixture
def run():
    """One that selects: the features must be chosen for the fit slice alone."""
    user, workspace = make_people()
    version = demo_version(workspace, user)
    spec = quick_spec(features={"select_top": 8})
    experiment = create_experiment(
        workspace=workspace, user=user, name="Mutant", versions=[version], spec=spec
    )
    return launch_experiment(experiment, user=user)[0]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (feature_that_knows_the_next_bar, "A feature used candles from its future"),
        (coarse_bar_known_at_its_open, "A feature used candles from its future"),
        (
            selection_that_knows_the_test_block,
            "fit slice of fold 1, or its test blocks, changed its selection",
        ),
        (
            learning_from_later_bars("scalers"),
            "fit slice of fold 1, or its test blocks, changed its scalers",
        ),
        (
            learning_from_later_bars("scale"),
            "fit slice of fold 1, or its test blocks, changed its targets",
        ),
        (
            label_that_reads_a_bar_too_far,
            "fit slice of fold 1, or its test blocks, changed its targets",
        ),
    ],
    ids=["feature", "coarse bar", "selection", "scalers", "targets", "labels"],
)
def test_a_mutant_ends_the_run_before_anything_is_trained(monkeypatch, run, plant, said):
    plant(monkeypatch)
    job = run_training(run)
    assert (job.status, job.code) == (JobStatus.FAILED, "causality"), job.message
    assert said in job.message
    run.refresh_from_db()
    assert not run.causality["passed"]
    assert not run.folds.exists() and not run.prediction_sets.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "plant",
    [window_that_reads_a_bar_too_far, coarse_bar_joined_before_its_close],
    ids=["window", "coarse bar"],
)
def test_a_mutant_between_features_and_predictions_ends_the_run_with_no_result(
    monkeypatch, run, plant
):
    plant(monkeypatch)
    job = run_training(run)
    assert (job.status, job.code) == (JobStatus.FAILED, "causality"), job.message
    assert "changed the predictions of fold 1" in job.message and "action" in job.message
    run.refresh_from_db()
    entry = run.causality["folds"][0]
    parts = [entry[name] for name in ("selection", "scalers", "targets", "predictions")]
    assert parts == ["passed", "passed", "passed", "failed"]
    assert state_of(run.causality) == "failed"
    assert not run.folds.exists() and not run.prediction_sets.exists() and not run.metrics
