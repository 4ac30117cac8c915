"""Real causes, not planted ones: the largest learning rate, and memory that ends."""

from __future__ import annotations

import re
import time
from typing import Any

import psutil
import pytest

from tests.faults.machine import Machine, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLOW_STEPS = {"OUTSAMPLE_FAULT": "sleep_per_step:40"}
# Nothing holds this network back: the rate is the largest that a spec allows, from the first step on.
UNBRIDLED: dict[str, Any] = {"learning_rate": 1.0, "grad_clip": 100.0, "warmup": 0.0}


def test_learning_rate_that_is_far_too_large_fails_and_says_what_to_try(
    any_machine: Machine,
) -> None:
    """Layer norms keep the losses finite; they rise to a multiple of what knowing nothing costs."""
    machine = any_machine
    machine.ensure()
    run = machine.launch(machine.experiment(**UNBRIDLED))
    row = machine.finished(run, 300)
    print(row["status"], row["message"])
    assert (row["status"], row["code"]) == ("failed", "diverged"), machine.what_broke(run)
    assert re.fullmatch(
        r"Training stopped: the loss rose to [\d.\u2009]+ times that of a constant prediction at step \d+\."
        r" Start again with learning rate 0\.33\..*",
        row["message"],
    )


def test_memory_that_ends_fails_with_step_batch_and_what_to_do(any_machine: Machine) -> None:
    machine = any_machine
    machine.ensure(**SLOW_STEPS)
    run = machine.launch(machine.experiment(batch=1024, epochs=8, patience=8))
    attempt = wait_for(
        lambda: machine.row(
            "SELECT a.* FROM jobs_jobattempt a JOIN modeling_trainingrun r ON r.job_id = a.job_id"
            " JOIN modeling_metricpoint p ON p.run_id = r.id WHERE r.id = %s LIMIT 1",
            run,
        ),
        240,
    )
    trainer = psutil.Process(attempt["trainer_pid"])
    held = trainer.memory_info().vms
    trainer.rlimit(psutil.RLIMIT_AS, (held, held))
    limited_at = time.monotonic()
    row = machine.finished(run, 120)
    print(row["status"], row["message"], f"after {time.monotonic() - limited_at:.1f} s")
    assert (row["status"], row["code"]) == ("failed", "oom"), machine.what_broke(run)
    found = machine.attempts(row["job_id"])[-1]
    assert found["exit_kind"] == "oom"
    assert found["peak_memory_mib"] > 100
    assert re.fullmatch(
        r"Out of memory at step \d+: batch 1024 needs about [1-9]?\d\.\d GB, 0\.\d GB free\. "
        r"Start again with batch 512\.",
        row["message"],
    )
    assert machine.trainers() == {}
