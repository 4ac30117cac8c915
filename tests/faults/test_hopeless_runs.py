"""Runs that cannot succeed end with a reason, and others go on."""

from __future__ import annotations

import hashlib

import pytest

from tests.faults.conftest import DEADLY_STEP, Undisturbed
from tests.faults.machine import Machine, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_run_that_kills_its_trainer_three_times_ends_and_others_flow(
    machine: Machine, undisturbed: Undisturbed
) -> None:
    poison = machine.launch(machine.experiment(epochs=4))
    other = machine.launch(undisturbed.experiment)
    row = machine.finished(poison, 200)

    attempts = machine.attempts(row["job_id"])
    assert [attempt["exit_kind"] for attempt in attempts] == ["killed"] * 3
    assert (row["status"], row["code"], row["counted_tries"]) == ("errored", "worker_died", 3)
    saved = max(attempt["checkpoint_step"] or 0 for attempt in attempts)
    reference = row["error_reference"]
    assert row["message"] == f"The worker died three times at step {saved}. Reference {reference}."
    assert 0 < saved < DEADLY_STEP
    assert machine.backtest_of(poison)["status"] == "cancelled"
    assert machine.finished(other)["status"] == "succeeded"
    assert machine.run(other)["weights_sha256"] == undisturbed.weights_sha256


def test_loss_that_is_not_finite_fails_with_what_to_do(
    unsound_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = unsound_machine
    run = machine.launch(undisturbed.experiment)
    row = machine.finished(run)

    assert (row["status"], row["code"]) == ("failed", "diverged")
    assert row["message"] == (
        "Training stopped: the loss became non-finite at step 46. "
        "Start again with learning rate 0.00033. The checkpoint of step 34 is kept."
    )
    kept = machine.rows("SELECT * FROM modeling_checkpoint WHERE run_id = %s ORDER BY step", run)
    assert [found["step"] for found in kept] == [20, 34]
    for found in kept:
        content = (machine.state / "checkpoints" / str(run) / found["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == found["sha256"]
    assert len(machine.attempts(row["job_id"])) == 1


@pytest.mark.parametrize("fault", ["altered", "gone"])
def test_sealed_candles_that_changed_fail_before_any_training(
    machine: Machine, undisturbed: Undisturbed, fault: str
) -> None:
    stored = machine.row(
        "SELECT f.key FROM artifacts_storedfile f JOIN markets_datasetversion v ON v.file_id = f.id"
    )
    assert stored is not None
    path = machine.state / "files" / stored["key"]
    content = path.read_bytes()
    trials = machine.counts()["modeling_trial"]
    path.unlink()
    try:
        if fault == "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        run = machine.launch(undisturbed.experiment)
        row = machine.finished(run)
    finally:
        path.write_bytes(content)

    assert (row["status"], row["code"]) == ("failed", "data_changed")
    assert row["message"] == (
        "The stored candles no longer match version 1. Import the file again as a new version."
    )
    assert machine.points(run) == {}
    assert machine.folds(run) == []
    assert machine.counts()["modeling_trial"] == trials
    assert wait_for(lambda: machine.backtest_of(run)["status"] == "cancelled", 5)
