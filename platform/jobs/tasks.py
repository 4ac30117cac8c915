from celery import shared_task


@shared_task(name="jobs.reconcile", ignore_result=True)
def reconcile_jobs() -> None:
    from jobs.reconciler import reconcile

    reconcile()
