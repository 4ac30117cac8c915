"""A trainer without a network: it counts steps, keeps checkpoints, and obeys as a real one must."""

from jobs.trainer import die_with_parent, run

die_with_parent()

import os  # noqa: E402 — the parent-death signal comes before everything else
import sys  # noqa: E402
import time  # noqa: E402

STEPS = int(os.environ.get("FAKE_STEPS", "60"))
STEP_S = 0.05
CHECKPOINT_STEPS = 10


def main(attempt):
    from django.db.models import Max

    from jobs import faults
    from jobs.errors import StopRequested
    from jobs.models import JobAttempt
    from jobs.statuses import EventKind

    rows = JobAttempt.objects.filter(job=attempt.job_id)
    done = rows.aggregate(step=Max("checkpoint_step"))["step"] or 0
    if done:
        attempt.write(lambda: attempt.event(EventKind.RESUMED, step=done + 1))
    for step in range(done + 1, STEPS + 1):
        faults.at_step(step)
        time.sleep(STEP_S)
        attempt.progress(step / STEPS, f"Step {step} of {STEPS}", step=step)
        attempt.log(f"step {step}")
        if step % CHECKPOINT_STEPS == 0 or attempt.stop_requested:
            attempt.write(lambda step=step: attempt.record_checkpoint(step))
        try:
            attempt.raise_if_stopping()
        except StopRequested:
            attempt.log(f"stopping at {step}")
            raise
    attempt.write(lambda: attempt.succeed(f"{STEPS} steps."))


if __name__ == "__main__":
    sys.exit(run(main))
