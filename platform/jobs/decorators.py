from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from celery import shared_task

from jobs.execution import Body, execute
from jobs.publishing import task_name
from jobs.statuses import JobKind, Queue


@dataclass(frozen=True)
class JobTask:
    kind: JobKind
    queue: Queue
    body: Body


TASKS: dict[str, JobTask] = {}


def job_task(
    *, kind: str, queue: str, extra_memory_gib: float | None = None
) -> Callable[[Body], Body]:
    """Register the body of a kind of job. The function itself stays a plain function.

    A worker of `queue` claims the job, calls `body(job, attempt)` and closes the attempt by what it
    does: `attempt.succeed()` inside `attempt.fenced()`, JobFailed, or any other exception.
    """

    def register(body: Body) -> Body:
        TASKS[kind] = JobTask(JobKind(kind), Queue(queue), body)

        @shared_task(name=task_name(kind), ignore_result=True, acks_late=False)
        def run(job_id: str) -> None:
            execute(uuid.UUID(job_id), body, extra_memory_gib=extra_memory_gib)

        return body

    return register
