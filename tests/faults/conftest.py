from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.machine import Machine, wait_for

# Steps of the quick spec over its two folds are 174; only a longer spec reaches the deadly one.
DEADLY_STEP = 180
PATIENT = {"OUTSAMPLE_FAULT": f"sleep_per_step:15,die_at_step:{DEADLY_STEP}"}
OF_ALL_TRIALS = ("trials_", "overfitting", "deflated_")
# Slow steps and a short lease: six services can be killed within one run.
HASTY = {
    "OUTSAMPLE_FAULT": "sleep_per_step:130",
    "OUTSAMPLE_LEASE_S": "15",
    "OUTSAMPLE_HEARTBEAT_S": "2",
    "OUTSAMPLE_RECONCILE_S": "3",
}
UNSOUND = {"OUTSAMPLE_FAULT": "nan_at_step:45"}


@dataclass(frozen=True)
class Undisturbed:
    """What the quick experiment gives when nothing happens to it."""

    experiment: int
    weights_sha256: str
    predictions_sha256: str
    fold_weights: list[str]
    points: dict[tuple[int, str, int], float | None]
    numbers: dict[str, Any]


@pytest.fixture(scope="session")
def any_machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.remove()


@pytest.fixture(scope="session")
def undisturbed(any_machine: Machine) -> Undisturbed:
    machine = any_machine
    machine.ensure(**PATIENT)
    experiment = machine.experiment()
    run = machine.launch(experiment)
    row = machine.finished(run)
    assert row["status"] == "succeeded", machine.what_broke(run)
    return Undisturbed(
        experiment=experiment,
        weights_sha256=row["weights_sha256"],
        predictions_sha256=row["predictions_sha256"],
        fold_weights=[fold["weights_sha256"] for fold in machine.folds(run)],
        points=machine.points(run),
        numbers=numbers_of(machine, run),
    )


@pytest.fixture
def machine(any_machine: Machine, undisturbed: Undisturbed) -> Machine:
    """Up, with the lease of production and slow steps."""
    any_machine.ensure(**PATIENT)
    return any_machine


@pytest.fixture
def hasty_machine(any_machine: Machine, undisturbed: Undisturbed) -> Machine:
    any_machine.ensure(**HASTY)
    return any_machine


@pytest.fixture
def unsound_machine(any_machine: Machine, undisturbed: Undisturbed) -> Machine:
    """Up, with a loss that is not finite from step 45 of every run on."""
    any_machine.ensure(**UNSOUND)
    return any_machine


def numbers_of(machine: Machine, run: int) -> dict[str, Any]:
    """The report's numbers of the run's own backtest, once its job has succeeded.

    Without what counts or is judged by the trials that other tests made in the same workspace.
    """
    wait_for(lambda: machine.backtest_of(run)["status"] == "succeeded", 60)
    numbers: dict[str, Any] = machine.backtest_of(run)["report"]["numbers"]
    return {name: value for name, value in numbers.items() if not name.startswith(OF_ALL_TRIALS)}


def assert_undisturbed(machine: Machine, run: int, expected: Undisturbed) -> None:
    """The run and its backtest succeeded and left exactly what undisturbed ones leave."""
    row = machine.finished(run)
    assert row["status"] == "succeeded", machine.what_broke(run)
    assert row["weights_sha256"] == expected.weights_sha256
    assert row["predictions_sha256"] == expected.predictions_sha256
    assert [fold["weights_sha256"] for fold in machine.folds(run)] == expected.fold_weights
    assert machine.points(run) == expected.points
    assert numbers_of(machine, run) == expected.numbers
    wait_for(lambda: not machine.trainers(), 15)
    assert machine.unfinished_files(run) == []
