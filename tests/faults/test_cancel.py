"""Cancel and resume through the API, with the backtest that waits for the run."""

from __future__ import annotations

import os
import time

import pytest

from tests.faults.conftest import Undisturbed, assert_undisturbed
from tests.faults.machine import Machine, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_cancelled_run_keeps_its_checkpoint_and_resumes_to_the_same_result(
    machine: Machine, undisturbed: Undisturbed
) -> None:
    run = machine.launch(undisturbed.experiment)
    attempt = machine.in_second_fold(run)
    status, answer = machine.api("POST", f"/api/runs/{run}/cancel/")
    asked_at = time.monotonic()
    assert (status, answer["status"]) == (202, "cancelling")
    wait_for(lambda: not is_group_alive(attempt["trainer_pid"]), 10)
    gone_s = time.monotonic() - asked_at

    row = machine.finished(run, 10)
    stopped = machine.attempts(attempt["job_id"])[-1]
    saved = stopped["checkpoint_step"]
    assert (row["status"], stopped["exit_kind"]) == ("cancelled", "cancelled")
    assert (
        row["message"] == f"Stopped by alice at step {saved}. Resume continues from step {saved}."
    )
    kept = machine.rows("SELECT * FROM modeling_checkpoint WHERE run_id = %s ORDER BY id", run)
    assert [(found["fold"], found["step"] + 68) for found in kept][-1] == (2, saved)
    assert machine.trainers() == {}
    waiting = machine.backtest_of(run)
    assert (waiting["status"], waiting["code"]) == ("cancelled", "after_not_succeeded")
    assert machine.api("POST", f"/api/runs/{run}/cancel/")[0] == 409

    status, answer = machine.api("POST", f"/api/runs/{run}/resume/")
    assert status == 202, answer
    assert answer["id"] == str(machine.run(run)["job_id"]) != str(attempt["job_id"])
    assert machine.api("POST", f"/api/runs/{run}/resume/")[0] == 409
    assert_undisturbed(machine, run, undisturbed)
    resumed = machine.event(machine.attempts(answer["id"])[-1]["id"], "resumed")
    assert resumed is not None
    assert resumed["data"]["step"] == saved
    assert machine.api("POST", f"/api/runs/{run}/resume/")[0] == 409
    print(f"process group gone after {gone_s:.1f} s at step {saved}")
