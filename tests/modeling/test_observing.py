"""What a fold in training leaves behind: points once, checkpoints whole or not at all."""

from __future__ import annotations

import math
import resource
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.errors import JobFailed
from jobs.exits import exit_of
from jobs.models import JobAttempt
from jobs.statuses import ExitKind, JobStatus
from jobs.workers import claimant
from modeling.charting import CURVES
from modeling.models import MetricPoint
from modeling.observing import RunObserver, Stage, newest_checkpoint, write_points
from modeling.training.checkpoint import Checkpoint, Provenance
from modeling.training.losses import ALL_HEADS, BALANCED_HEADS
from modeling.training.observer import EpochMetrics, StepMetrics
from modeling.training.pace import Pace
from tests import factories

pytestmark = pytest.mark.django_db
PROVENANCE = Provenance(spec_sha256="5" * 64, dataset_sha256="d" * 64, seed=3)
SECOND_FOLD = Stage(fold=2, folds=2, steps_before=100, steps_in_all=250)


@pytest.fixture
def run():
    experiment = factories.make_experiment(factories.make_workspace())
    return factories.make_run(experiment, status=JobStatus.QUEUED)


@pytest.fixture
def attempt(run) -> RunningAttempt:
    lease = claim(run.job_id, claimant())
    assert lease is not None
    return RunningAttempt(lease)


@pytest.fixture
def observer(run, attempt, tmp_path) -> RunObserver:
    return RunObserver(run, attempt, tmp_path / "checkpoints", replace(SECOND_FOLD, pace=Pace()))


def test_training_goes_on_where_the_certificate_of_the_features_left_the_progress():
    first, last = Stage(1, 2, 0, 40), Stage(2, 2, 20, 40)
    assert 0.02 < first.progress_at(1) < first.progress_at(20) == last.progress_at(0)
    assert last.progress_at(20) == pytest.approx(0.90)


def checkpoint(step: int, *, floats: int = 10) -> Checkpoint:
    arrays = {"network/w": np.arange(floats, dtype=np.float32)}
    return Checkpoint(2, step, arrays, {"provenance": PROVENANCE.to_json(), "threads": 1})


def found_by(observer: RunObserver) -> Checkpoint | None:
    return newest_checkpoint(
        observer.run, observer.attempt, observer.folder, fold=2, provenance=PROVENANCE
    )


@contextmanager
def largest_file(size: int):
    """Files of this process cannot grow beyond `size`: what a full disk looks like to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_checkpoint_is_counted_over_all_folds(observer):
    observer.save(checkpoint(20))

    assert observer.last_saved == 20
    assert JobAttempt.objects.get(pk=observer.attempt.attempt_id).checkpoint_step == 120
    assert observer.run.checkpoints.get().step == 20


NUMBERS = {"loss": 0.5, "learning_rate": 1e-3, "gradient_norm": 2.0, "mean_dropout": 0.1}


def step_of(number: int, *, samples_per_s: float | None = None) -> StepMetrics:
    return StepMetrics(
        fold=2,
        step=number,
        total_steps=150,
        epoch=1,
        losses={},
        balance={},
        samples=32,
        samples_per_s=samples_per_s,
        **NUMBERS,
    )


def test_points_up_to_a_checkpoint_are_stored_before_it(observer):
    observer.on_step(step_of(20))
    observer.save(checkpoint(20))

    points = MetricPoint.objects.filter(run=observer.run, fold=2, step=20)
    assert dict(points.exclude(value=None).values_list("name", "value")) == NUMBERS


def told_after(observer: RunObserver, steps: range, *, samples_per_s: float | None = 64.0):
    """What the attempt's row holds once these steps were made."""
    for step in steps:
        observer.on_step(step_of(step, samples_per_s=samples_per_s))
    observer.attempt.flush()
    return JobAttempt.objects.get(pk=observer.attempt.attempt_id).told


def test_the_time_left_is_told_from_the_twentieth_step_of_the_attempt_on(observer):
    # Going on after a checkpoint of step 30: the steps before were those of another attempt.
    told = told_after(observer, range(31, 50))
    assert (told["left_s"], told["samples_per_s"]) == (None, None)
    told = told_after(observer, range(50, 51))
    # Half a second a step; 100 of the 250 steps lie before this fold, and 50 in it.
    assert (told["left_s"], told["samples_per_s"]) == (50.0, 64.0)
    assert told["memory_mib"] > 10


def test_only_the_last_fifty_steps_make_the_pace(observer):
    told_after(observer, range(1, 31), samples_per_s=1.0)
    told = told_after(observer, range(31, 81), samples_per_s=32.0)
    assert (told["left_s"], told["samples_per_s"]) == (70.0, 32.0)


def test_a_fold_that_stops_early_leaves_the_steps_of_the_later_ones(observer):
    first = RunObserver(
        observer.run, observer.attempt, observer.folder, Stage(1, 2, 0, 250, Pace())
    )
    assert told_after(first, range(1, 21))["left_s"] == 115.0
    first.on_last_step(of_fold=100)
    first.attempt.progress(0.4, "Fold 1 of 2: predicting")
    assert told_after(first, range(0))["left_s"] == 75.0


def test_every_curve_of_the_page_draws_what_is_logged(observer):
    by_head = dict.fromkeys(ALL_HEADS, 0.5)
    balanced = dict.fromkeys(BALANCED_HEADS, 0.1)
    observer.on_step(replace(step_of(10), losses=by_head, balance=balanced))
    observer.on_epoch(
        EpochMetrics(
            fold=2,
            epoch=1,
            step=10,
            losses=by_head,
            validation_losses=by_head,
            ratios=balanced,
            ratio=0.9,
            is_best=True,
        )
    )
    observer.attempt.flush()
    logged = set(MetricPoint.objects.filter(run=observer.run).values_list("name", flat=True))
    drawn = {name for _, _, labels in CURVES.values() for name in labels}
    assert drawn <= logged


def test_two_newest_checkpoints_are_kept_as_rows_and_files(observer):
    for step in (10, 20, 30):
        observer.save(checkpoint(step))

    assert list(observer.run.checkpoints.values_list("step", flat=True)) == [30, 20]
    assert len(list(observer.folder.glob("*.json"))) == 2


def test_full_disk_fails_with_the_step_that_is_kept(observer):
    observer.save(checkpoint(20))

    with pytest.raises(JobFailed) as failed, largest_file(64 * 1024):
        observer.save(checkpoint(40, floats=100_000))

    assert failed.value.code == "disk_full"
    assert "0.4 MiB needed" in failed.value.message
    assert "The checkpoint of step 120 is intact" in failed.value.message
    assert exit_of(failed.value).kind == ExitKind.DISK_FULL


def test_full_disk_leaves_the_previous_checkpoint_valid_and_nothing_else(observer):
    observer.save(checkpoint(20))
    before = {path.name: path.read_bytes() for path in observer.folder.iterdir()}

    with pytest.raises(JobFailed), largest_file(64 * 1024):
        observer.save(checkpoint(40, floats=100_000))

    assert {path.name: path.read_bytes() for path in observer.folder.iterdir()} == before
    found = found_by(observer)
    assert found is not None
    assert found.step == 20


def test_full_disk_before_the_first_checkpoint_claims_none(observer):
    with pytest.raises(OSError) as full, largest_file(64 * 1024):
        observer.save(checkpoint(40, floats=100_000))

    assert exit_of(full.value).kind == ExitKind.DISK_FULL
    assert found_by(observer) is None


def test_newest_checkpoint_of_the_fold_that_is_whole_and_fits_is_found(observer):
    for step in (10, 20):
        observer.save(checkpoint(step))
    (observer.folder / observer.run.checkpoints.get(step=20).name).write_bytes(b"{")
    other = Provenance(spec_sha256="6" * 64, dataset_sha256="d" * 64, seed=3)

    found = found_by(observer)
    assert found is not None
    assert found.step == 10
    assert not observer.run.checkpoints.filter(step=20).exists()
    assert (
        newest_checkpoint(observer.run, observer.attempt, observer.folder, fold=2, provenance=other)
        is None
    )


def test_repeated_point_overwrites_and_never_doubles(run):
    row = {"run_id": run.pk, "fold": 1, "name": "gradient_norm", "step": 7, "value": 1.5}
    write_points([row, row])
    write_points([row])

    assert MetricPoint.objects.get(run=run, name="gradient_norm").value == 1.5


def test_planted_loss_stays_not_finite_from_its_step_on(observer, settings, monkeypatch):
    settings.TEST_HOOKS = True
    monkeypatch.setenv("OUTSAMPLE_FAULT", "nan_at_step:105")

    factors = [observer.before_step(step) for step in (4, 5, 6)]
    assert [math.isnan(factor) for factor in factors] == [False, True, True]
