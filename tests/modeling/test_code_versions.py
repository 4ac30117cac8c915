"""Which code trained a run, and what is said where several versions stand beside each other."""

import pytest

from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.statuses import JobStatus
from jobs.workers import claimant
from modeling.code_versions import (
    CodeRuns,
    changed_notice,
    code_version,
    in_order_of_use,
    mixed_code,
    trained_by,
)
from modeling.provenance import note_machine
from modeling.training.ranks import ALONE
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def runs():
    experiment = factories.make_experiment(factories.make_workspace())
    return [factories.make_run(experiment, seed=seed) for seed in range(3)]


def test_runs_of_one_code_version_need_no_word(runs):
    assert mixed_code(runs, "Advice.") is None
    assert mixed_code([], "Advice.") is None


def test_runs_of_several_are_told_by_version_the_latest_last(runs):
    runs[1].code_version = "0.1.0+new"
    found = mixed_code([runs[1], runs[2], runs[0], runs[0]], "Train them again.")
    assert found.versions == [
        CodeRuns("0.1.0+new", [runs[1].pk]),
        CodeRuns("0.1.0", [runs[0].pk, runs[2].pk]),
    ]
    assert found.message.startswith("These runs were trained by 2 code versions")
    assert found.message.endswith("Train them again.")


def test_a_run_that_went_on_from_other_code_is_of_both(runs):
    runs[0].notices = [changed_notice("Goes on.", "0.0.9"), changed_notice("Goes on.", "0.1.0")]
    assert trained_by(runs[0]) == "0.1.0 after 0.0.9"
    assert len(mixed_code(runs, "").versions) == 2


def test_a_change_that_an_earlier_release_noted_counts_without_its_version(runs):
    runs[0].notices = [{"code": "code_changed", "message": "Goes on with code."}]
    assert trained_by(runs[0]) == "0.1.0 after unknown"


def test_the_newest_of_the_running_code_comes_last_else_the_newest(runs):
    runs[0].code_version = "0.1.0+running"
    assert in_order_of_use(runs, "0.1.0+running") == [runs[1], runs[2], runs[0]]
    assert in_order_of_use(runs, "0.1.0+another") == runs


@pytest.mark.parametrize("has_finished", [True, False])
def test_an_attempt_of_other_code_notes_the_folds_it_finds_finished(has_finished):
    experiment = factories.make_experiment(factories.make_workspace())
    run = factories.make_run(experiment, status=JobStatus.QUEUED)
    if has_finished:
        factories._finish(run)
    lease = claim(run.job_id, claimant())
    assert lease is not None
    for _ in range(2):
        note_machine(run, RunningAttempt(lease), "d" * 64, ALONE, 1)
    run.refresh_from_db()
    running = code_version()
    assert run.code_version == running
    assert trained_by(run) == (f"{running} after 0.1.0" if has_finished else running)
    assert len(run.notices) == has_finished
