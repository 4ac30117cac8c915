"""Two processes under a real supervisor predict what one predicts, also when one of them was killed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.faults.machine import QUICK, QUICK_DAYS, Machine, kill, wait_for
from tests.faults.test_several_devices import TWO_DEVICES, actions, nobody_trains, ranks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


def experiment_without_dropout(machine: Machine, devices: int) -> int:
    parts = {"training": {**QUICK, "devices": devices}, "network": {"dropout": 0.0}}
    asked = {"days": QUICK_DAYS, "parts": parts}
    return int(machine._inside("tests.faults.experiment", json.dumps(asked)))


def test_two_devices_one_of_them_killed_predict_what_one_device_predicts(
    any_machine: Machine,
) -> None:
    machine = any_machine
    machine.ensure(**TWO_DEVICES)
    one = machine.launch(experiment_without_dropout(machine, 1))
    assert machine.finished(one, 200)["status"] == "succeeded", machine.what_broke(one)

    two = machine.launch(experiment_without_dropout(machine, 2))
    first = machine.in_second_fold(two, 200)
    kill(ranks(machine)[1])
    row = machine.finished(two, 200)
    assert row["status"] == "succeeded", machine.what_broke(two)
    kinds = [attempt["exit_kind"] for attempt in machine.attempts(first["job_id"])]
    assert kinds == ["killed", "ok"]
    wait_for(lambda: nobody_trains(machine), 15)

    ours, theirs = actions(machine, one), actions(machine, two)
    assert len(ours) == len(theirs) > 5000
    apart = np.abs(ours - theirs)
    print(f"actions are at most {apart.max():.2g} apart, {apart.mean():.2g} in the mean")
    assert apart.max() < 1e-3
