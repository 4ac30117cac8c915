"""The verdict of an experiment: that of the mean prediction over its finished seeds."""

import numpy as np
import pytest

from artifacts.store import local_path
from backtests.models import Backtest, SeedVerdict
from backtests.seeds_pipeline import finished_seeds
from backtests.seeds_table import seeds_table
from backtests.services import create_experiment, launch_experiment
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus
from modeling.evaluation.heads import score_heads
from modeling.evaluation.paired import mean_prediction
from modeling.evaluation.table import read_predictions
from modeling.models import TrainingRun
from tests import factories
from tests.api import bearer
from tests.backtests import markets
from tests.backtests.test_equity_verdicts import small, spec_of
from tests.modeling.evaluation.test_heads import scoring
from tests.path import finished_backtest, make_people, run_job, run_training


@pytest.fixture
def alice(db):
    return factories.make_user("alice")


def made(alice, *, seeds=(0,)):
    version = factories.make_version(alice.first_workspace(), candles=markets.noise(7_200, 1))
    spec = spec_of(training={"seeds": list(seeds)})
    return create_experiment(
        workspace=version.workspace, user=alice, name="Seeds", versions=[version], spec=spec
    )


def test_one_seed_has_no_verdict_over_seeds(alice):
    launch_experiment(made(alice), user=alice)
    assert not Job.objects.filter(kind=JobKind.SEEDS).exists()


def test_each_of_several_seeds_brings_a_job_behind_its_own_backtest(alice):
    launch_experiment(made(alice, seeds=(3, 4)), user=alice)
    own = Backtest.objects.filter(is_own=True).values_list("job", flat=True)
    waits_for = SeedVerdict.objects.values_list("job__after", flat=True)
    assert sorted(waits_for) == sorted(own)


def test_a_later_seed_brings_one_as_well(alice):
    experiment = made(alice)
    launch_experiment(experiment, user=alice)
    launch_experiment(experiment, user=alice, seed=9)
    assert SeedVerdict.objects.get().job.after.backtest.run.seed == 9


def test_only_runs_with_a_finished_account_count_and_the_newest_of_each_seed(alice):
    experiment = factories.make_experiment(alice.first_workspace())
    old, new, other, alone = (factories.make_run(experiment, seed=seed) for seed in (0, 0, 1, 2))
    for run in (old, new, other):
        factories.make_backtest(run)
    factories.make_backtest(alone, status=JobStatus.FAILED)
    assert finished_seeds(experiment) == [new, other]


def stored(experiment, runs, **fields):
    job = factories.make_job(experiment.workspace, kind=JobKind.SEEDS)
    deciding = {"rung": "buy_and_hold", "word": "ties"}
    values = {
        "metrics": {"action": {"auc": {"value": 0.53}, "rank_ic": {"value": 0.02}}},
        "heads": {"action": {"metric": "rank_ic", "word": "ties", "sentence": "Not better."}},
        "equity": {
            "verdict": {"word": "ties", "deciding": deciding, "sentence": "Not better than it."},
            "numbers": {"total_return": 0.01, "sharpe": 0.4, "max_drawdown": -0.1, "trades": 40},
        },
    }
    return SeedVerdict.objects.create(
        workspace=experiment.workspace,
        experiment=experiment,
        job=job,
        runs=[run.pk for run in runs],
        **values | fields,
    )


@pytest.fixture
def runs(alice):
    experiment = factories.make_experiment(alice.first_workspace())
    found = [factories.make_run(experiment, seed=seed) for seed in (0, 1)]
    for run in found:
        factories.make_backtest(run)
    return found


def test_the_page_shows_mean_and_spread_of_the_runs_beside_their_mean_prediction(
    client, alice, runs
):
    runs[1].metrics["action"]["auc"]["value"] = 0.55
    runs[1].save()
    stored(runs[0].experiment, runs)
    client.force_login(alice)
    page = client.get(f"/experiments/{runs[0].experiment_id}/").content.decode()
    section = page[page.index('id="seeds"') :].split("</section>")[0]
    assert "Verdict over 2 seeds" in section
    assert '0.530</span> <span class="muted num">± 0.028' in section
    assert "Not better than buy and hold</span>" in section
    assert "Not better than it." in section


def test_without_an_account_the_reason_stands_in_its_place(runs):
    row = stored(runs[0].experiment, runs, equity={"reason": "Confidence is uncalibrated"})
    shown = seeds_table(row, runs)
    assert (shown["title"], shown["sentence"]) == ("No account", "Confidence is uncalibrated")
    assert {each["value"] for each in shown["equity"]} == {None}


def test_the_verdict_over_the_most_seeds_is_that_of_the_experiment(runs):
    experiment = runs[0].experiment
    whole = stored(experiment, runs)
    stored(experiment, runs[:1])
    assert SeedVerdict.objects.of_experiment(experiment) == whole


@pytest.mark.parametrize("of_mean", [True, False])
def test_a_leak_alarm_withholds_every_word(runs, of_mean):
    alarm = {"raised": True, "reasons": ["AUC 0.71"]}
    row = stored(runs[0].experiment, runs, leak_alarm=alarm if of_mean else {})
    if not of_mean:
        runs[1].leak_alarm = alarm
        runs[1].save()
    shown = seeds_table(row, runs)
    assert (shown["word"], shown["title"]) == ("withheld", "Verdict withheld")
    assert {each["word"] for each in shown["heads"]} == {""}


def test_the_api_gives_the_verdict_of_an_experiment_unless_it_is_withheld(alice, runs):
    experiment = runs[0].experiment
    path = f"/api/experiments/{experiment.pk}/"
    assert bearer(alice).get(path).json()["verdict"] is None
    row = stored(experiment, runs)
    found = bearer(alice).get(path).json()["verdict"]
    assert found["runs"] == [run.pk for run in runs]
    assert found["equity"] == row.equity
    row.leak_alarm = {"raised": True, "reasons": ["AUC 0.71"]}
    row.save()
    assert bearer(alice).get(path).json()["verdict"] is None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.django_db(transaction=True)
def test_the_mean_prediction_of_two_runs_is_judged():
    user, workspace = make_people()
    version = factories.make_version(workspace, candles=markets.noise(7_200, 3))
    spec = small(1)
    training = spec.training.model_copy(update={"seeds": (0, 1)})
    experiment = create_experiment(
        workspace=workspace,
        user=user,
        name="Seeds",
        versions=[version],
        spec=spec.model_copy(update={"training": training}),
    )
    for run in launch_experiment(experiment, user=user):
        assert run_training(run).status == "succeeded"
        finished_backtest(run)
    first, second = SeedVerdict.objects.order_by("pk")
    assert run_job(second.job).status == "succeeded"
    row = SeedVerdict.objects.get(pk=second.pk)
    runs = list(TrainingRun.objects.order_by("seed"))
    assert row.runs == [run.pk for run in runs]
    sets = [run.prediction_sets.get(rung="model") for run in runs]
    mean = mean_prediction([read_predictions(local_path(found.file)) for found in sets])
    by_hand = score_heads(mean, scoring(draws=0))
    for head, metric in (("action", "rank_ic"), ("volatility", "r2"), ("risk", "ordinal_brier")):
        assert row.metrics[head][metric]["value"] == pytest.approx(by_hand[head][metric]["value"])
    assert set(row.heads["volatility"]["rungs"]) >= {"har", "persistence", "logistic"}
    assert row.equity["verdict"]["word"] in ("ties", "loses", "undecided")
    rungs = {each["rung"] for each in row.equity["verdict"]["comparisons"]}
    assert {"flat", "buy_and_hold", "logistic", "dlinear"} <= rungs
    assert np.isfinite(row.equity["numbers"]["total_return"])
    assert run_job(first.job).status == "succeeded"
