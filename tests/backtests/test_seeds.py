"""The verdict of an experiment: that of the mean prediction over its finished seeds."""

from types import SimpleNamespace

import numpy as np
import pytest

from accounts.models import AuditEvent, Role
from artifacts.store import local_path
from backtests import seeds_pipeline
from backtests.models import Backtest, SeedVerdict
from backtests.seeds_pipeline import finished_seeds
from backtests.seeds_table import RUN_AGAIN, seeds_table
from backtests.services import create_experiment, launch_experiment
from jobs.errors import JobFailed
from jobs.models import Job
from jobs.statuses import JobKind, JobStatus
from modeling import seeds
from modeling.code_versions import code_version
from modeling.evaluation.heads import score_heads
from modeling.evaluation.paired import mean_prediction
from modeling.evaluation.paths import spread_of
from modeling.evaluation.table import read_predictions
from modeling.models import Fold, TrainingRun
from tests import factories
from tests.api import bearer, refusal
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


def test_a_run_of_the_running_code_counts_before_a_newer_of_other_code(alice):
    experiment = factories.make_experiment(alice.first_workspace())
    ours, other, alone = (factories.make_run(experiment, seed=seed) for seed in (0, 0, 1))
    for run in (ours, other, alone):
        factories.make_backtest(run)
    ours.code_version = code_version()
    ours.save()
    assert finished_seeds(experiment) == [ours, alone]


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
    factories.make_seed_verdict(*runs)
    client.force_login(alice)
    page = client.get(f"/experiments/{runs[0].experiment_id}/").content.decode()
    section = page[page.index('id="seeds"') :].split("</section>")[0]
    assert "Verdict over 2 seeds" in section
    assert '0.530</span> <span class="muted num">± 0.028' in section
    assert "Not better than buy and hold</span>" in section
    assert "Not better than it." in section


def test_seeds_of_different_code_are_told_on_the_page_and_by_the_api(client, alice, runs):
    row = factories.make_seed_verdict(*runs)
    assert seeds_table(row, runs)["mixed_code"] is None
    runs[1].code_version = "0.1.0+new"
    runs[1].save()
    client.force_login(alice)
    page = client.get(f"/experiments/{row.experiment_id}/").content.decode()
    section = page[page.index('id="seeds"') :].split("</section>")[0]
    assert "trained by 2 code versions" in section
    assert RUN_AGAIN in section
    verdict = bearer(alice).get(f"/api/experiments/{row.experiment_id}/").json()["verdict"]
    assert verdict["mixed_code"]["versions"] == [
        {"code_version": "0.1.0", "runs": [runs[0].pk]},
        {"code_version": "0.1.0+new", "runs": [runs[1].pk]},
    ]


def test_without_an_account_the_reason_stands_in_its_place(runs):
    row = factories.make_seed_verdict(*runs, equity={"reason": "Confidence is uncalibrated"})
    shown = seeds_table(row, runs)
    assert (shown["title"], shown["sentence"]) == ("No account", "Confidence is uncalibrated")
    assert {each["value"] for each in shown["equity"]} == {None}


def test_the_verdict_over_the_most_seeds_is_that_of_the_experiment(runs):
    experiment = runs[0].experiment
    whole = factories.make_seed_verdict(*runs)
    factories.make_seed_verdict(runs[0])
    assert SeedVerdict.objects.of_experiment(experiment) == whole


def test_the_page_says_how_the_account_of_the_mean_enters(runs):
    row = factories.make_seed_verdict(*runs)
    assert "the mean's own threshold" in seeds_table(row, runs)["entry"]
    row.equity.pop("has_own_thresholds")
    assert "the mean of the seeds' thresholds" in seeds_table(row, runs)["entry"]
    row.equity = {"reason": "The hold-out is sealed."}
    assert seeds_table(row, runs)["entry"] == ""


def test_the_page_shows_the_spread_over_paths_and_what_is_not_compared(client, alice, runs):
    auc = {"value": 0.53, "spread": spread_of([0.53, 0.5, 0.51, 0.52, 0.54, 0.55, 0.56])}
    equity = dict(factories.make_seed_verdict(*runs).equity)
    equity["paths"] = {"total_return": spread_of([0.01, -0.02, 0.03, 0.0, 0.0, 0.01, 0.02])}
    factories.make_seed_verdict(
        *runs,
        metrics={"action": {"auc": auc}},
        equity=equity,
        missing={"dlinear": "Failed in 3 of 28 folds (1, 4, 9). Fold 1: seed 4: no <memory>"},
    )
    client.force_login(alice)
    page = client.get(f"/experiments/{runs[0].experiment_id}/").content.decode()
    section = page[page.index('id="seeds"') :].split("</section>")[0]
    assert "Over 7 paths" in section
    assert "0.500 to 0.560" in section
    assert "−2.00" in section
    assert "DLinear is not compared: Failed in 3 of 28 folds" in section
    assert "no &lt;memory&gt;" in section


def test_a_mean_without_an_account_says_why_on_its_page_and_in_its_log(runs, monkeypatch):
    def sealed(*args):
        raise JobFailed("sealed", "The predictions reach into the sealed hold-out. Open it first.")

    logged = []
    attempt = SimpleNamespace(log=lambda text, level: logged.append((text, level)))
    monkeypatch.setattr(seeds_pipeline, "_account", sealed)
    row = factories.make_seed_verdict(*runs)
    own = runs[0].backtests.get()
    row.equity = seeds_pipeline._equity(row, own, None, None, attempt)
    reason = "The predictions reach into the sealed hold-out. Open it first."
    assert row.equity == {"reason": reason}
    assert logged == [(f"The mean prediction has no account: {reason}", "warning")]
    assert seeds_pipeline._ending(row).endswith(f"It has no account: {reason}")
    assert seeds_table(row, runs)["sentence"] == reason


def test_seeds_of_an_earlier_release_enter_at_the_mean_of_their_thresholds():
    kept = [{"model": 0.4, "har": 0.1}, {"model": 0.6}]
    folds = [Fold(number=1, state={"thresholds": found}) for found in kept]
    assert seeds._thresholds(folds) == ({"model": 0.5}, False)


@pytest.mark.parametrize("of_mean", [True, False])
def test_a_leak_alarm_withholds_every_word(runs, of_mean):
    alarm = {"raised": True, "reasons": ["AUC 0.71"]}
    row = factories.make_seed_verdict(*runs, leak_alarm=alarm if of_mean else {})
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
    row = factories.make_seed_verdict(*runs)
    found = bearer(alice).get(path).json()["verdict"]
    assert found["runs"] == [run.pk for run in runs]
    assert found["equity"] == row.equity
    row.leak_alarm = {"raised": True, "reasons": ["AUC 0.71"]}
    row.save()
    assert bearer(alice).get(path).json()["verdict"] is None


ALARM = {"raised": True, "reasons": ["path 3: AUC 0.710 is above 0.620."]}
TEXT = "The candles are a <b>test signal</b>."


@pytest.fixture
def alarmed(runs):
    return factories.make_seed_verdict(*runs, leak_alarm=ALARM)


def explain(client, row, text=TEXT):
    return client.post(f"/seed-verdicts/{row.pk}/explanation/", {"text": text})


def page_of(client, row):
    return client.get(f"/experiments/{row.experiment_id}/").content.decode()


def test_an_explained_alarm_of_the_mean_shows_its_verdict_and_stays_beside_it(
    client, alice, alarmed
):
    client.force_login(alice)
    page = page_of(client, alarmed)
    assert "Leak alarm of the mean prediction" in page and "path 3: AUC 0.710" in page
    assert "Verdict withheld" in page and "Not better than it." not in page
    assert explain(client, alarmed).status_code == 302
    page = page_of(client, alarmed)
    assert "Verdict withheld" not in page and "Not better than it." in page
    assert "path 3: AUC 0.710" in page
    assert "&lt;b&gt;test signal" in page and "by alice" in page
    event = AuditEvent.objects.get(action="explain_alarm")
    assert event.data["text"] == TEXT and event.data["reasons"] == ALARM["reasons"]
    assert event.subject == f"mean prediction {alarmed.pk} of experiment {alarmed.experiment_id}"


def test_an_alarm_of_a_run_withholds_the_mean_whatever_was_said_of_its_own(client, alice, alarmed):
    client.force_login(alice)
    run = TrainingRun.objects.get(pk=alarmed.runs[1])
    run.leak_alarm = ALARM
    run.save()
    explain(client, alarmed)
    assert "Verdict withheld" in page_of(client, alarmed)


def test_an_explanation_of_the_mean_without_words_is_refused_on_its_page(client, alice, alarmed):
    client.force_login(alice)
    answer = explain(client, alarmed, " ")
    assert answer.status_code == 400
    assert "expected the reason" in answer.content.decode()
    calm = factories.make_seed_verdict(*TrainingRun.objects.filter(pk__in=alarmed.runs))
    assert explain(client, calm).status_code == 409


def test_only_an_editor_of_the_workspace_explains_the_alarm_of_a_mean(client, alice, alarmed):
    viewer = factories.make_user("victor", alarmed.workspace, Role.VIEWER)
    client.force_login(viewer)
    assert "Explain the alarm" not in page_of(client, alarmed)
    assert explain(client, alarmed).status_code == 403
    path = f"/api/seed-verdicts/{alarmed.pk}/explanation/"
    answer = bearer(viewer).post(path, {"text": TEXT}, format="json")
    assert refusal(answer, 403)["code"] == "needs_editor"
    charlie = factories.make_user("charlie")
    client.force_login(charlie)
    assert explain(client, alarmed).status_code == 404
    refusal(bearer(charlie).post(path, {"text": TEXT}, format="json"), 404)


def test_the_api_tells_the_alarm_of_the_mean_and_explains_it(alice, alarmed):
    api, path = bearer(alice), f"/api/experiments/{alarmed.experiment_id}/"
    found = api.get(path).json()
    assert found["verdict"] is None
    assert found["verdict_alarm"]["leak_alarm"] == ALARM
    address = f"/api/seed-verdicts/{found['verdict_alarm']['id']}/explanation/"
    assert api.post(address, {"text": TEXT}, format="json").json()["alarm_explanation"] == TEXT
    found = api.get(path).json()
    assert found["verdict"]["equity"] == alarmed.equity
    assert found["verdict_alarm"]["alarm_explanation"] == TEXT


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
    assert row.equity["has_own_thresholds"]
    assert row.leak_alarm.keys() == {"raised", "reasons"}
    assert "paths" not in row.equity and row.missing == {}
    by_hand = score_heads(mean, scoring(draws=0))
    for head, metric in (("action", "rank_ic"), ("volatility", "r2"), ("risk", "ordinal_brier")):
        assert row.metrics[head][metric]["value"] == pytest.approx(by_hand[head][metric]["value"])
    assert set(row.heads["volatility"]["rungs"]) >= {"har", "persistence", "logistic"}
    assert row.equity["verdict"]["word"] in ("ties", "loses", "undecided")
    rungs = {each["rung"] for each in row.equity["verdict"]["comparisons"]}
    assert {"flat", "buy_and_hold", "logistic", "dlinear"} <= rungs
    assert np.isfinite(row.equity["numbers"]["total_return"])
    assert run_job(first.job).status == "succeeded"
