"""Faults that tests plant in real processes; dead unless OUTSAMPLE_TEST_HOOKS is 1.

`OUTSAMPLE_FAULT` holds one or more hooks, separated by commas: `exit_after_commit`,
`die_at_step:N`, `nan_at_step:N`, `cuda_oom_at_step:N`, `sleep_in_write:S`, `sleep_per_step:MS`.
"""

from __future__ import annotations

import os
import signal
import time

from django.conf import settings

FAULT_VARIABLE = "OUTSAMPLE_FAULT"


def value_of(name: str) -> float | None:
    """The number planted for a hook (0 for one without a number), or None when it is not planted."""
    if not settings.TEST_HOOKS:
        return None
    for planted in os.environ.get(FAULT_VARIABLE, "").split(","):
        hook, _, number = planted.strip().partition(":")
        if hook == name:
            return float(number or 0)
    return None


def hit(name: str) -> None:
    """Act at a hook that stands at a place, not at a step."""
    planted = value_of(name)
    if planted is None:
        return
    if name == "exit_after_commit":
        os._exit(1)
    if name == "sleep_in_write":
        time.sleep(planted)


def at_step(step: int) -> None:
    """Act at the start of a training step: wait, or die by SIGKILL."""
    wait_ms = value_of("sleep_per_step")
    if wait_ms is not None:
        time.sleep(wait_ms / 1000)
    if value_of("die_at_step") == step:
        os.kill(os.getpid(), signal.SIGKILL)


def loss_is_nan(step: int) -> bool:
    """From the planted step on: one step that is not finite is left out, two end the training."""
    planted = value_of("nan_at_step")
    return planted is not None and step >= planted


def memory_is_short(step: int) -> bool:
    return value_of("cuda_oom_at_step") == step
