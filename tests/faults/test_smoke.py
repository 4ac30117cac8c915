"""The shortest of the faults, for every run of the tests: a kill, a cancel and a resume in one run."""

from __future__ import annotations

import pytest

from tests.faults.conftest import PATIENT, numbers_of
from tests.faults.machine import Machine, kill, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_killed_cancelled_and_resumed_run_ends_with_its_report(any_machine: Machine) -> None:
    machine = any_machine
    machine.ensure(**PATIENT)
    run = machine.launch(machine.experiment(epochs=1))
    first = machine.in_second_fold(run)
    kill(first["trainer_pid"])
    wait_for(lambda: len(machine.attempts(first["job_id"])) == 2, 90)
    assert machine.api("POST", f"/api/runs/{run}/cancel/")[0] == 202
    assert machine.finished(run, 15)["status"] == "cancelled"
    wait_for(lambda: not machine.trainers(), 5)

    status, job = machine.api("POST", f"/api/runs/{run}/resume/")
    assert status == 202
    row = machine.finished(run)
    assert row["status"] == "succeeded", machine.what_broke(run)
    resumed = machine.event(machine.attempts(job["id"])[0]["id"], "resumed")
    assert resumed is not None
    assert resumed["data"]["step"] == machine.attempts(first["job_id"])[0]["checkpoint_step"]
    assert numbers_of(machine, run)["days"] > 0
    assert machine.unfinished_files(run) == []
