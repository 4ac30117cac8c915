"""A study under kills, cancels and impatient people: every run of it counts once, its table fills."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.faults.conftest import Undisturbed
from tests.faults.machine import Machine, Row, wait_for
from tests.faults.test_killed_services import kill_and_wait

pytestmark = [pytest.mark.faults, pytest.mark.timeout(500)]
SEEDS = [0]
AT_ONCE = 4
TABLE_S = 240.0
RUNS = (
    "SELECT p.run_id, v.key, v.comparison, v.experiment_id FROM backtests_studyrun p"
    " JOIN backtests_studyvariant v ON v.id = p.variant_id"
    " WHERE v.study_id = %s ORDER BY v.place"
)
OPEN = "SELECT 1 FROM jobs_job WHERE ended_at IS NULL AND kind IN ('training', 'backtest', 'study')"


def body(experiment: int, variant: str) -> dict[str, Any]:
    return {"experiment": experiment, "variants": [variant], "seeds": SEEDS}


def launched(machine: Machine, experiment: int, variant: str) -> tuple[int, Row]:
    """A study of one variant, and the run that it has to make: that of the base is there."""
    status, study = machine.api("POST", "/api/studies/", body(experiment, variant))
    assert status == 202, study
    base, row = machine.rows(RUNS, study["id"])
    assert (base["key"], row["key"]) == ("base", variant)
    return int(study["id"]), row


def assert_table_is_full(machine: Machine, study: int, run: int) -> None:
    wait_for(lambda: not machine.rows(OPEN), TABLE_S)
    status, answer = machine.api("GET", f"/api/studies/{study}/")
    assert (status, answer["status"]) == (200, "succeeded"), answer
    assert answer["progress"]["succeeded"] == 2
    rows = machine.rows(RUNS, study)
    assert len(rows) == 2
    assert rows[1]["comparison"]["runs"] == [run]
    assert machine.unfinished_files(run) == []


def at_once(ask: Callable[[], tuple[int, Any]]) -> list[tuple[int, Any]]:
    """The answers to the same request, sent by several clients at the same moment."""
    barrier = Barrier(AT_ONCE)

    def wait_and_ask(_: int) -> tuple[int, Any]:
        barrier.wait()
        return ask()

    with ThreadPoolExecutor(AT_ONCE) as clients:
        return list(clients.map(wait_and_ask, range(AT_ONCE)))


def test_study_survives_the_death_of_database_and_workers(
    hasty_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = hasty_machine
    study, row = launched(machine, undisturbed.experiment, "bias_off")
    run = row["run_id"]
    attempt = machine.in_second_fold(run)
    for name in ("postgres", "valkey", "worker-training", "worker-backtests"):
        kill_and_wait(machine, name)

    finished = machine.finished(run, TABLE_S)
    assert finished["status"] == "succeeded", machine.what_broke(run)
    assert_table_is_full(machine, study, run)
    attempts = machine.attempts(attempt["job_id"])
    assert [attempt["exit_kind"] for attempt in attempts] == ["lost", "ok"]


def test_cancelled_study_resumes_once_and_to_the_same_result(
    hasty_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = hasty_machine
    study, row = launched(machine, undisturbed.experiment, "scales_off")
    run = row["run_id"]
    machine.in_second_fold(run)
    assert machine.api("POST", f"/api/studies/{study}/cancel/")[0] == 202
    wait_for(lambda: not machine.rows(OPEN), 30)
    assert machine.trainers() == {}
    assert machine.api("GET", f"/api/studies/{study}/")[1]["status"] == "cancelled"
    assert machine.api("POST", f"/api/studies/{study}/cancel/")[0] == 409

    answers = at_once(lambda: machine.api("POST", f"/api/studies/{study}/resume/"))
    assert sorted(status for status, _ in answers) == [202, 409, 409, 409], answers
    resumed = machine.finished(run, TABLE_S)
    assert resumed["status"] == "succeeded", machine.what_broke(run)
    assert_table_is_full(machine, study, run)
    assert machine.api("POST", f"/api/studies/{study}/resume/")[0] == 409

    again = machine.finished(machine.launch(row["experiment_id"]), TABLE_S)
    assert again["weights_sha256"] == resumed["weights_sha256"]


def test_study_launched_by_several_clicks_at_once_is_one(
    hasty_machine: Machine, undisturbed: Undisturbed
) -> None:
    machine = hasty_machine
    before = machine.counts()
    request = body(undisturbed.experiment, "dropout_fixed")
    answers = at_once(lambda: machine.api("POST", "/api/studies/", request, key="clicks"))
    assert [status for status, _ in answers] == [202] * AT_ONCE, answers
    (study,) = {answer["id"] for _, answer in answers}
    new = {name: count - before[name] for name, count in machine.counts().items()}
    assert (new["backtests_study"], new["modeling_trainingrun"]) == (1, 1)
    # run, backtest and comparison, and the comparison of the launch itself
    assert new["jobs_job"] == 4

    # Another tab wants the same: a study of its own, and no experiment twice.
    status, other = machine.api("POST", "/api/studies/", request, key="another-tab")
    assert status == 202
    assert other["id"] != study
    assert machine.counts()["modeling_experiment"] - before["modeling_experiment"] == 1
    for pk in (study, other["id"]):
        assert machine.api("POST", f"/api/studies/{pk}/cancel/")[0] == 202
    wait_for(lambda: not machine.rows(OPEN), 30)
    assert machine.trainers() == {}
