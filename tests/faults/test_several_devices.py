"""A run on two devices, here two processes on the processor: torchrun's ranks live and die together."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from tests.faults.machine import Machine, Row, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
TWO_DEVICES = {"OUTSAMPLE_DEVICES": "2", "OUTSAMPLE_FAULT": "sleep_per_step:15"}


@dataclass(frozen=True)
class Undisturbed:
    """A run on two devices to which nothing happened."""

    experiment: int
    run: int
    weights_sha256: str


@pytest.fixture
def machine(any_machine: Machine) -> Machine:
    any_machine.ensure(**TWO_DEVICES)
    return any_machine


@pytest.fixture(scope="module")
def undisturbed(any_machine: Machine) -> Undisturbed:
    any_machine.ensure(**TWO_DEVICES)
    experiment = any_machine.experiment(devices=2)
    run = any_machine.launch(experiment)
    row = any_machine.finished(run)
    assert row["status"] == "succeeded", any_machine.what_broke(run)
    assert row["device"] == "2 × cpu"
    return Undisturbed(experiment, run, row["weights_sha256"])


def ranks(machine: Machine) -> dict[int, int]:
    """The living trainers that torchrun started on this machine: process id by rank."""
    found = {}
    for process in machine.processes():
        try:
            if process.cmdline()[1:4] == ["-u", "-m", "modeling.run"]:
                found[int(process.environ()["RANK"])] = process.pid
        except psutil.Error:
            continue
    return found


def nobody_trains(machine: Machine) -> bool:
    """No rank and no torchrun is left."""
    words = [" ".join(_words(process)) for process in machine.processes()]
    return not any("modeling.run" in line for line in words)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def actions(machine: Machine, run: int) -> np.ndarray:
    stored = machine.row(
        "SELECT f.key FROM modeling_predictionset p JOIN artifacts_storedfile f ON f.id = p.file_id"
        " WHERE p.run_id = %s AND p.rung = 'model'",
        run,
    )
    assert stored is not None
    table = pq.read_table(machine.state / "files" / stored["key"])
    return np.asarray(table["action"].to_numpy())


def exit_kinds(machine: Machine, first: Row) -> list[str]:
    return [attempt["exit_kind"] for attempt in machine.attempts(first["job_id"])]


def assert_goes_on_as_if_nothing_had_been(
    machine: Machine, run: int, first: Row, undisturbed: Undisturbed
) -> None:
    row = machine.finished(run, 200)
    assert row["status"] == "succeeded", machine.what_broke(run)
    last = machine.attempts(first["job_id"])[-1]
    resumed = machine.event(last["id"], "resumed")
    assert resumed is not None and resumed["data"]["fold"] == 2
    assert row["weights_sha256"] == undisturbed.weights_sha256
    wait_for(lambda: nobody_trains(machine), 15)
    assert machine.unfinished_files(run) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_rank_ends_the_others_and_the_run_goes_on(
    machine: Machine, undisturbed: Undisturbed, rank: int
) -> None:
    run = machine.launch(undisturbed.experiment)
    first = machine.in_second_fold(run)
    before = ranks(machine)
    assert set(before) == {0, 1}
    kill(before[rank])
    killed_at = time.monotonic()
    wait_for(lambda: not set(before.values()) & set(ranks(machine).values()), 40)
    gone_s = time.monotonic() - killed_at
    assert_goes_on_as_if_nothing_had_been(machine, run, first, undisturbed)
    assert exit_kinds(machine, first) == ["killed", "ok"]
    assert machine.run(run)["counted_tries"] == 1
    print(f"both ranks gone {gone_s:.1f} s after rank {rank} was killed")


@pytest.mark.parametrize("victim", ["supervisor", "torchrun"])
def test_killed_parent_takes_its_ranks_along(
    machine: Machine, undisturbed: Undisturbed, victim: str
) -> None:
    run = machine.launch(undisturbed.experiment)
    first = machine.in_second_fold(run)
    before = set(ranks(machine).values())
    kill(first["pid"] if victim == "supervisor" else first["trainer_pid"])
    wait_for(lambda: not before & {process.pid for process in machine.processes()}, 5)
    assert_goes_on_as_if_nothing_had_been(machine, run, first, undisturbed)
    assert exit_kinds(machine, first) == ["lost" if victim == "supervisor" else "killed", "ok"]


def test_stopped_rank_is_killed_with_the_others_when_nothing_moves(
    any_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = any_machine
    machine.ensure(**TWO_DEVICES, OUTSAMPLE_STALL_S="30")
    run = machine.launch(undisturbed.experiment)
    first = machine.in_second_fold(run)
    os.kill(ranks(machine)[1], signal.SIGSTOP)
    assert_goes_on_as_if_nothing_had_been(machine, run, first, undisturbed)
    assert exit_kinds(machine, first) == ["stalled", "ok"]


def test_cancelled_run_leaves_no_rank_and_resumes_to_the_same_weights(
    machine: Machine, undisturbed: Undisturbed
) -> None:
    run = machine.launch(undisturbed.experiment)
    machine.in_second_fold(run)
    assert machine.api("POST", f"/api/runs/{run}/cancel/")[0] == 202
    asked_at = time.monotonic()
    wait_for(lambda: nobody_trains(machine), 10)
    gone_s = time.monotonic() - asked_at
    row = machine.finished(run, 10)
    assert row["status"] == "cancelled"
    saved = machine.attempts(row["job_id"])[-1]["checkpoint_step"]
    assert (
        row["message"] == f"Stopped by alice at step {saved}. Resume continues from step {saved}."
    )

    assert machine.api("POST", f"/api/runs/{run}/resume/")[0] == 202
    row = machine.finished(run, 200)
    assert row["weights_sha256"] == undisturbed.weights_sha256
    print(f"ranks gone {gone_s:.1f} s after the cancel")


@pytest.mark.parametrize(
    ("fault", "code"), [("nan_at_step:45", "diverged"), ("cuda_oom_at_step:45", "oom")]
)
def test_failure_of_the_leader_ends_all_with_its_message(
    any_machine: Machine, undisturbed: Undisturbed, fault: str, code: str
) -> None:
    machine = any_machine
    machine.ensure(OUTSAMPLE_DEVICES="2", OUTSAMPLE_FAULT=fault)
    run = machine.launch(undisturbed.experiment)
    row = machine.finished(run)
    assert (row["status"], row["code"]) == ("failed", code)
    assert len(machine.attempts(row["job_id"])) == 1
    wait_for(lambda: nobody_trains(machine), 10)


def test_more_devices_than_the_machine_has_are_refused(
    any_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = any_machine
    machine.ensure(OUTSAMPLE_DEVICES="1")
    run = machine.launch(undisturbed.experiment)
    row = machine.finished(run)
    assert (row["status"], row["code"]) == ("failed", "invalid_spec")
    assert row["message"] == (
        "training.devices: 2; expected at most 1, the devices of the machine that trains. "
        "Change it and start again."
    )
