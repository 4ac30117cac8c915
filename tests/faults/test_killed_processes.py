"""A trainer or its supervisor dies in mid-run: the run goes on and ends as if nothing had been."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Undisturbed, assert_undisturbed
from tests.faults.machine import Machine, Row, Sampler, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
AGAIN_S = 90.0
STEPS_OF_FOLD_1 = 68


def first_step(machine: Machine, attempt: Row) -> int:
    """The step of the second fold that an attempt began with."""
    text = "Fold 2 of 2: first step of this attempt is step "
    lines = [line for line in machine.log(attempt["id"]) if line.startswith(text)]
    assert len(lines) == 1, machine.log(attempt["id"])
    return int(lines[0].removeprefix(text).removesuffix("."))


def wait_for_second_attempt(machine: Machine, first: Row, within_s: float) -> Row:
    """Attempt 2 once it has a trainer that makes steps."""

    def trains() -> Row | None:
        attempt = machine.attempts(first["job_id"])[-1]
        is_training = any("first step" in line for line in machine.log(attempt["id"]))
        return attempt if attempt["number"] == 2 and is_training else None

    return wait_for(trains, within_s)


def assert_resumed_after_its_checkpoint(machine: Machine, first: Row, second: Row) -> None:
    saved = machine.attempts(first["job_id"])[0]["checkpoint_step"]
    resumed = machine.event(second["id"], "resumed")
    assert resumed is not None
    assert resumed["data"] == {"step": saved, "fold": 2}
    assert first_step(machine, second) == saved - STEPS_OF_FOLD_1 + 1 > 1


def test_killed_trainer_goes_on_after_its_checkpoint(
    machine: Machine, undisturbed: Undisturbed
) -> None:
    run = machine.launch(undisturbed.experiment)
    first = machine.in_second_fold(run)
    finished = machine.folds(run)
    kill(first["trainer_pid"])
    killed_at = time.monotonic()
    second = wait_for_second_attempt(machine, first, AGAIN_S)
    again_s = time.monotonic() - killed_at

    assert_undisturbed(machine, run, undisturbed)
    attempts = machine.attempts(first["job_id"])
    assert [attempt["exit_kind"] for attempt in attempts] == ["killed", "ok"]
    assert attempts[0]["signal"] == 9
    assert_resumed_after_its_checkpoint(machine, first, second)
    assert machine.folds(run)[:1] == finished
    assert "Fold 1 of 2 is finished already and not computed again." in machine.log(second["id"])
    assert machine.run(run)["counted_tries"] == 1
    print(f"running again after {again_s:.1f} s at step {first_step(machine, second)} of fold 2")


def test_killed_supervisor_takes_its_trainer_along_and_the_run_goes_on(
    machine: Machine, undisturbed: Undisturbed
) -> None:
    run = machine.launch(undisturbed.experiment)
    first = machine.in_second_fold(run)
    finished = machine.folds(run)
    with Sampler(machine) as sampler:
        kill(first["pid"])
        killed_at = time.monotonic()
        wait_for(lambda: first["trainer_pid"] not in machine.trainers(), 5)
        gone_s = time.monotonic() - killed_at
        second = wait_for_second_attempt(machine, first, AGAIN_S)
        again_s = time.monotonic() - killed_at
        assert_undisturbed(machine, run, undisturbed)

    assert sampler.most == 1
    assert sampler.looks > 4 * again_s  # ten a second are asked for; a busy machine gives fewer
    attempts = machine.attempts(first["job_id"])
    assert [attempt["exit_kind"] for attempt in attempts] == ["lost", "ok"]
    assert_resumed_after_its_checkpoint(machine, first, second)
    assert machine.folds(run)[:1] == finished
    print(f"trainer gone after {gone_s:.1f} s, running again after {again_s:.1f} s")
