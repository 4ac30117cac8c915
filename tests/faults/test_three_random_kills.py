"""The real trainer, killed at three random steps of one run, ends with the bits of an undisturbed one."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.faults.conftest import Undisturbed, assert_undisturbed
from tests.faults.machine import QUICK, Machine, Row, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
SEED = 20261126
STEPS_OF_FOLD_2 = 106
SLOW_STEPS = {"OUTSAMPLE_FAULT": "sleep_per_step:150"}


def at_step(machine: Machine, run: int, fold: int, step: int) -> Row:
    """The open attempt once it has told of this step (it tells of every tenth)."""

    def found() -> Row | None:
        told = machine.row(
            "SELECT 1 FROM modeling_metricpoint WHERE run_id = %s AND fold = %s AND step >= %s",
            run,
            fold,
            step,
        )
        if told is None:
            return None
        return machine.row(
            "SELECT a.* FROM jobs_jobattempt a JOIN modeling_trainingrun r ON r.job_id = a.job_id"
            " WHERE r.id = %s AND a.ended_at IS NULL AND a.trainer_pid IS NOT NULL",
            run,
        )

    return wait_for(found, 200, 0.02)


def last_step(machine: Machine, run: int, fold: int) -> int:
    row = machine.row(
        "SELECT max(step) AS step FROM modeling_metricpoint WHERE run_id = %s AND fold = %s",
        run,
        fold,
    )
    assert row is not None
    return int(row["step"])


def first_step(machine: Machine, attempt: int, fold: int) -> int:
    text = f"Fold {fold} of 2: first step of this attempt is step "

    def found() -> str | None:
        return next((line for line in machine.log(attempt) if line.startswith(text)), None)

    return int(wait_for(found, 200).removeprefix(text).removesuffix("."))


def has_ended(machine: Machine, attempt: Row) -> Row | None:
    return machine.row(
        "SELECT 1 FROM jobs_jobattempt WHERE id = %s AND ended_at IS NOT NULL", attempt["id"]
    )


def next_attempt(machine: Machine, job: str, attempt: Row) -> Row | None:
    return next((row for row in machine.attempts(job) if row["id"] > attempt["id"]), None)


def test_run_killed_at_three_random_steps_ends_bitwise_the_same(
    machine: Machine, undisturbed: Undisturbed
) -> None:
    machine.ensure(**SLOW_STEPS)  # what a trainer tells comes up to a second late
    fold = 2  # a finished fold is not computed again, so all three fall into one
    steps = sorted(random.Random(SEED).sample(range(11, STEPS_OF_FOLD_2 - 30), 3))
    run = machine.launch(undisturbed.experiment)
    job = machine.run(run)["job_id"]
    for step in steps:
        attempt = at_step(machine, run, fold, step)
        kill(attempt["trainer_pid"])
        wait_for(partial(has_ended, machine, attempt), 30)
        reached = last_step(machine, run, fold)
        if step == steps[-1]:  # three tries are all that a job has; a person resumes it
            row = machine.finished(run, 30)
            assert (row["status"], row["code"]) == ("errored", "worker_died")
            status, job_row = machine.api("POST", f"/api/runs/{run}/resume/")
            assert status == 202
            job = job_row["id"]
        following = wait_for(partial(next_attempt, machine, job, attempt), 120)
        again = first_step(machine, following["id"], fold)
        assert reached - (again - 1) <= QUICK["checkpoint_steps"]
        print(f"killed after step {reached} or later, went on with step {again}")
    assert_undisturbed(machine, run, undisturbed)
