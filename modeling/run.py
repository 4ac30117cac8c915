"""The trainer: a process of its own for one attempt of one training run.

With several devices torchrun starts it once for each; the first leads and the others follow.
"""

from jobs.trainer import die_with_parent, leave, place, run, run_beside

if __name__ == "__main__":
    die_with_parent()

import os


def main(attempt):  # type: ignore[no-untyped-def]  # typed imports would load Django too early
    from modeling.models import HoldoutOpening, ModelPrediction, TrainingRun

    openings = HoldoutOpening.objects.select_related("experiment", "run__experiment")
    opening = attempt.write(lambda: openings.filter(job_id=attempt.job_id).first())
    if opening is not None:
        from modeling.holdout import score_holdout

        score_holdout(opening, attempt)
        return

    later = ModelPrediction.objects.for_work()
    prediction = attempt.write(lambda: later.filter(job_id=attempt.job_id).first())
    if prediction is not None:
        from modeling.predicting import predict_version

        predict_version(prediction, attempt)
        return

    from modeling.beside import loss_told, meet
    from modeling.pipeline import train

    rows = TrainingRun.objects.select_related("experiment", "workspace").prefetch_related(
        "experiment__versions__dataset__instrument", "experiment__versions__file"
    )
    row = attempt.write(lambda: rows.get(job_id=attempt.job_id))
    with loss_told():
        train(row, attempt, meet(place()))


def follow():  # type: ignore[no-untyped-def]  # as above
    from modeling.beside import follow, loss_told, meet

    with loss_told():
        follow(meet(place()))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    leave(run(main) if place().is_leader else run_beside(follow))
