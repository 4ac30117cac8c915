"""A Celery app whose `export` jobs run the fake trainer: `celery -A tests.jobs.faults.fake_app`."""

from config import celery_app
from jobs.statuses import JobKind, Queue

app = celery_app


@app.on_after_finalize.connect
def _register(sender, **_):
    from jobs.decorators import job_task
    from jobs.supervisor import supervise

    @job_task(kind=JobKind.EXPORT, queue=Queue.TRAINING)
    def run_fake(job, attempt):
        supervise(job, attempt, module="tests.jobs.faults.fake_trainer")
