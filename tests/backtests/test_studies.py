from datetime import UTC, datetime

import numpy as np
import pytest

from backtests.models import Backtest, Study, StudyRun
from backtests.presets import preset
from backtests.services import create_experiment
from backtests.specs import ExperimentSpec
from backtests.studies import cancel_study, launch_study, resume_study, seeds_of
from backtests.study_pipeline import DAILY, _store, compare_variants
from backtests.variants import BASE, KEYS, SAME_AS_BASE
from jobs.attempts import RunningAttempt
from jobs.claim import claim
from jobs.errors import JobConflict, QueueFull
from jobs.exits import Exit
from jobs.models import Job
from jobs.statuses import ExitKind, JobStatus
from jobs.workers import claimant
from markets.candles.synthetic import synthetic_candles
from modeling.code_versions import changed_notice, code_version
from modeling.models import Experiment, Trial
from specs.declaration import InvalidSpec
from tests import factories

pytestmark = pytest.mark.django_db
SEEDS = (0, 1)
END_AT = datetime(2024, 12, 1, tzinfo=UTC)


@pytest.fixture
def experiment(alice):
    """`tiny` with few draws, on enough candles for every variant."""
    workspace = alice.first_workspace()
    candles = synthetic_candles(days=100, timeframe_minutes=5, end_at=END_AT)
    version = factories.make_version(workspace, candles=candles)
    document = preset("tiny").to_json()
    document["evaluation"]["bootstrap_draws"] = 100
    return create_experiment(
        workspace=workspace,
        user=alice,
        name="Tiny transformer",
        versions=[version],
        spec=ExperimentSpec.parse(document),
    )


def launched(experiment, alice, keys=("bias_off", "scales_off"), seeds=SEEDS, key="", **more):
    return launch_study(experiment, user=alice, seeds=seeds, keys=keys, idempotency_key=key, **more)


def ran_before(experiment, code, seed=0):
    """A run of the experiment that code of this version has finished, with its own backtest."""
    run = factories.make_run(experiment, seed=seed)
    run.code_version = code
    run.save()
    factories.make_backtest(run)
    return run


def base_runs(study):
    """Of the base in order of the seeds: the run, and whether the study has made it."""
    parts = rows_of(study)[BASE].runs.order_by("run__seed").select_related("run")
    return [(part.run, part.job is not None) for part in parts]


def rows_of(study):
    return {row.key: row for row in study.variants.all()}


def test_each_variant_gets_an_experiment_and_a_run_for_each_seed(experiment, alice):
    study = launched(experiment, alice)
    rows = rows_of(study)
    assert list(rows) == [BASE, "bias_off", "scales_off"]
    assert rows[BASE].experiment == experiment
    assert rows["bias_off"].experiment.model_spec.network.temporal_bias is False
    assert rows["bias_off"].experiment.name == f"{experiment.name}, no temporal bias"
    for row in rows.values():
        assert [part.run.seed for part in row.runs.all()] == list(SEEDS)


def test_comparison_waits_for_the_backtest_that_waits_for_the_run(experiment, alice):
    study = launched(experiment, alice)
    for part in StudyRun.objects.filter(variant__study=study):
        own = part.run.backtests.get()
        assert own.is_own
        assert part.job.after == own.job
        assert own.job.after == part.run.job


def test_study_is_one_launch(experiment, alice):
    launched(experiment, alice)
    assert Job.objects.filter(is_launch=True).count() == 1


def test_variant_that_cannot_be_is_a_row_with_its_reason(experiment, alice):
    rows = rows_of(launched(experiment, alice, keys=KEYS))
    assert len(rows) == 1 + len(KEYS)
    assert rows["features_15"].reason == SAME_AS_BASE
    assert rows["features_15"].experiment is None
    assert not rows["features_15"].runs.exists()


def test_equal_finished_run_of_the_base_is_taken_over(experiment, alice):
    run = ran_before(experiment, code_version())
    first, second = base_runs(launched(experiment, alice))
    assert first == (run, False)
    assert second[0].job.status == JobStatus.QUEUED


def test_run_of_other_code_is_trained_again(experiment, alice):
    old = ran_before(experiment, "0.0.9")
    (run, is_made), _ = base_runs(launched(experiment, alice))
    assert (run.seed, is_made) == (old.seed, True)
    assert run != old


def test_run_of_other_code_is_taken_over_where_that_is_asked_for(experiment, alice):
    old = ran_before(experiment, "0.0.9")
    first, _ = base_runs(launched(experiment, alice, take_other_code=True))
    assert first == (old, False)


def test_run_that_went_on_from_other_code_is_trained_again(experiment, alice):
    run = ran_before(experiment, code_version())
    run.notices = [changed_notice("Goes on.", "0.0.9")]
    run.save()
    (_, is_made), _ = base_runs(launched(experiment, alice))
    assert is_made


@pytest.mark.parametrize("take_other_code", [True, False])
def test_newest_run_of_the_running_code_is_taken_before_a_newer_of_other(
    experiment, alice, take_other_code
):
    ran_before(experiment, code_version())
    ours = ran_before(experiment, code_version())
    ran_before(experiment, "0.0.9")
    first, _ = base_runs(launched(experiment, alice, take_other_code=take_other_code))
    assert first == (ours, False)


def test_newest_of_several_runs_of_other_code_is_taken(experiment, alice):
    ran_before(experiment, "0.0.9")
    newest = ran_before(experiment, "0.0.8")
    first, _ = base_runs(launched(experiment, alice, take_other_code=True))
    assert first == (newest, False)


def test_variants_of_an_earlier_study_are_not_made_again(experiment, alice):
    launched(experiment, alice)
    before = Experiment.objects.count()
    launched(experiment, alice, seeds=(5,))
    assert Experiment.objects.count() == before


def test_same_key_gives_the_same_study(experiment, alice):
    first = launched(experiment, alice, key="once")
    assert launched(experiment, alice, key="once") == first
    assert Study.objects.count() == 1
    for other in ({"seeds": (7,)}, {"take_other_code": True}):
        with pytest.raises(JobConflict):
            launched(experiment, alice, key="once", **other)


def test_full_queue_refuses_before_anything_is_made(experiment, alice, settings):
    settings.JOBS_QUEUED_TRAININGS = 5
    with pytest.raises(QueueFull, match="needs 6 runs and 0 are queued; the limit is 5"):
        launched(experiment, alice)
    assert not Study.objects.exists()
    assert not Job.objects.exists()
    assert Experiment.objects.count() == 1


@pytest.mark.parametrize(
    ("keys", "seeds", "field"),
    [
        (["bias"], [0], "variants"),
        ([], [0], "variants"),
        (["features_15"], [0], "variants"),
        (["bias_off"], [], "seeds"),
        (["bias_off"], [1, 1], "seeds"),
        (["bias_off"], list(range(21)), "seeds"),
    ],
)
def test_unusable_choice_is_refused_at_its_field(experiment, alice, keys, seeds, field):
    with pytest.raises(InvalidSpec) as refused:
        launched(experiment, alice, keys=keys, seeds=seeds)
    assert list(refused.value.fields) == [field]


def test_seeds_begin_with_those_of_the_spec(experiment):
    experiment.model_spec = experiment.model_spec.model_copy(
        update={"training": experiment.model_spec.training.model_copy(update={"seeds": (4,)})}
    )
    assert seeds_of(experiment, 3) == (4, 0, 1)


def test_cancel_stops_all_that_is_open_and_leaves_taken_over_runs(experiment, alice):
    run = ran_before(experiment, code_version())
    study = launched(experiment, alice)
    cancel_study(study, user=alice)
    run.refresh_from_db()
    assert run.job.status == JobStatus.SUCCEEDED
    own = Job.objects.exclude(pk__in=[run.job_id, run.backtests.get().job_id])
    assert set(own.values_list("status", flat=True)) == {JobStatus.CANCELLED}
    with pytest.raises(JobConflict):
        cancel_study(study, user=alice)


@pytest.mark.parametrize("is_running", [False, True])
def test_resume_goes_on_with_every_run_its_backtest_and_its_comparison(
    experiment, alice, is_running
):
    study = launched(experiment, alice)
    first = StudyRun.objects.filter(variant__study=study).first().run
    attempt = RunningAttempt(claim(first.job_id, claimant())) if is_running else None
    cancel_study(study, user=alice)
    if attempt is not None:
        attempt.end(Exit(ExitKind.CANCELLED))
    resume_study(Study.objects.get(pk=study.pk), user=alice)
    for part in StudyRun.objects.filter(variant__study=study):
        own = Backtest.objects.get(run=part.run)
        chain = (part.run.job, own.job, part.job)
        assert [job.status for job in chain] == [JobStatus.QUEUED] * 3
        assert (part.job.after, own.job.after) == (own.job, part.run.job)
    with pytest.raises(JobConflict):
        resume_study(Study.objects.get(pk=study.pk), user=alice)


def knew_its_future(part):
    part.run.causality = {"passed": False}
    part.run.save()
    Job.objects.filter(pk=part.run.job_id).update(
        status=JobStatus.FAILED, code="causality", ended_at=END_AT
    )


def test_resume_leaves_a_run_that_knew_its_future(experiment, alice):
    study = launched(experiment, alice)
    cancel_study(study, user=alice)
    first, *others = StudyRun.objects.filter(variant__study=study).order_by("pk")
    knew_its_future(first)
    resume_study(Study.objects.get(pk=study.pk), user=alice)
    statuses = [part.run.job.status for part in (first, *others) if not part.refresh_from_db()]
    assert statuses == [JobStatus.FAILED] + [JobStatus.QUEUED] * len(others)


def test_a_study_of_runs_that_knew_their_future_says_why_it_is_not_resumed(experiment, alice):
    study = launched(experiment, alice)
    for part in StudyRun.objects.filter(variant__study=study):
        knew_its_future(part)
    Job.objects.filter(pk=study.job_id).update(status=JobStatus.SUCCEEDED, ended_at=END_AT)
    with pytest.raises(JobConflict) as refused:
        resume_study(Study.objects.get(pk=study.pk), user=alice)
    assert refused.value.code == "causality"


def finished(study, trades=30):
    """Let every run of the study end, with predictions and with daily returns of its own."""
    for part in StudyRun.objects.filter(variant__study=study).select_related("variant"):
        Job.objects.filter(pk__in=[part.run.job_id, part.run.backtests.get().job_id]).update(
            status=JobStatus.SUCCEEDED, ended_at=END_AT, started_at=END_AT
        )
        factories._finish(part.run)
        own = part.run.backtests.get()
        days = np.random.default_rng([part.run.seed, part.variant.place]).normal(0, 0.01, 60)
        own.trial = Trial.objects.get(run=part.run)
        own.trial.first_day = END_AT.date()
        own.trial.daily_returns = days.tolist()
        own.trial.save()
        own.report = {"verdict": {"closed_trades": trades}}
        own.save()


def compared(study):
    compare_variants(study, RunningAttempt(claim(study.job_id, claimant())))
    return rows_of(study)


def test_finished_runs_are_compared_on_every_metric(experiment, alice):
    study = launched(experiment, alice)
    finished(study)
    rows = compared(study)
    found = rows["bias_off"].comparison
    assert found["seeds"] == list(SEEDS)
    assert set(found["rows"]) == {
        "action.auc",
        "action.rank_ic",
        "regime.macro_f1",
        "volatility.r2",
        "risk.ordinal_brier",
        DAILY,
    }
    assert found["rows"]["action.auc"]["difference"] == 0  # the factory predicts the same for all
    low, high = found["rows"][DAILY]["interval"]
    assert low < found["rows"][DAILY]["difference"] < high
    assert found["rows"][DAILY]["rows"] == 58
    assert rows[BASE].comparison == {}


def test_account_of_few_trades_is_not_compared(experiment, alice):
    study = launched(experiment, alice)
    finished(study, trades=29)
    found = compared(study)["bias_off"].comparison["rows"][DAILY]
    assert found["interval"] is None
    assert found["reason"] == "found 29 closed trades; a comparison needs 30"


def test_equal_runs_are_not_compared_again(experiment, alice, monkeypatch):
    study = launched(experiment, alice)
    finished(study)
    compared(study)
    monkeypatch.setattr("backtests.study_pipeline.paired_differences", None)
    part = StudyRun.objects.filter(variant__study=study).first()
    compare_variants(study, RunningAttempt(claim(part.job_id, claimant())))
    part.job.refresh_from_db()
    assert part.job.message == "2 of 2 variants are compared with the base."


def test_comparison_of_more_seeds_is_never_overwritten_by_one_of_fewer(experiment, alice):
    study = launched(experiment, alice)
    variant = study.variants.get(key="bias_off")
    variant.comparison = {"seeds": [0, 1]}
    variant.save()
    variant.comparison = {"seeds": [0]}
    _store(variant)
    assert study.variants.get(key="bias_off").comparison == {"seeds": [0, 1]}


def test_job_of_a_run_belongs_to_its_study(experiment, alice):
    study = launched(experiment, alice)
    part = StudyRun.objects.filter(variant__study=study).last()
    assert Study.objects.of_job(part.job) == study
    assert Study.objects.of_job(study.job) == study


def test_comparison_without_a_finished_pair_is_left_open(experiment, alice):
    study = launched(experiment, alice)
    rows = compared(study)
    assert all(row.comparison == {} for row in rows.values())
    assert Job.objects.get(pk=study.job_id).status == JobStatus.SUCCEEDED
