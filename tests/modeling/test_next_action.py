"""What the page of a run that ended early offers first, and whether it is what the message says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role
from backtests.models import Backtest
from jobs.errors import JobFailed
from jobs.exits import SHORT
from jobs.models import Job
from jobs.statuses import ExitKind, JobStatus
from modeling.failures import diverged, next_batch, next_learning_rate, out_of_memory
from modeling.models import Experiment, TrainingRun
from modeling.next_action import Change, NextAction, next_action
from modeling.services import can_resume
from modeling.training.errors import Diverged, OutOfMemory
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def experiment(alice: Any) -> Experiment:
    return factories.make_experiment(alice.first_workspace())


def failed(experiment: Experiment, failure: JobFailed, **training: Any) -> TrainingRun:
    """A run with a checkpoint whose job ended like this."""
    spec = experiment.model_spec
    changed = spec.training.model_copy(update=training)
    experiment.model_spec = spec.model_copy(update={"training": changed})
    experiment.save()
    return factories.make_run(
        experiment, status=JobStatus.FAILED, code=failure.code, message=failure.message
    )


def divergence(rate: float) -> JobFailed:
    return diverged(Diverged(7, rate), steps_before=0, last_saved=5)


def shortage(batch: int) -> JobFailed:
    return out_of_memory(OutOfMemory(7, batch, 2 * 10**9, 10**9), steps_before=0)


def test_the_next_values_are_those_of_the_message() -> None:
    assert "Start again with learning rate 0.33." in divergence(1.0).message
    assert next_learning_rate(1.0) == 0.33
    assert "Start again with learning rate 1.7e-05." in divergence(5e-5).message
    assert next_learning_rate(5e-5) == 1.7e-5
    assert "Start again with batch 512." in shortage(1024).message
    assert next_batch(1024) == 512


def test_the_next_values_are_ones_that_the_spec_takes() -> None:
    assert (next_learning_rate(1e-7), next_batch(1)) == (1e-7, 1)


@pytest.mark.parametrize(
    ("failure", "training", "path", "value"),
    [
        (divergence(1.0), {"learning_rate": 1.0}, "training.learning_rate", "0.33"),
        (shortage(1024), {"batch": 1024}, "training.batch", "512"),
    ],
    ids=["diverged", "oom"],
)
def test_the_change_is_made_of_the_spec_and_says_what_the_message_says(
    experiment: Experiment, failure: JobFailed, training: dict[str, Any], path: str, value: str
) -> None:
    run = failed(experiment, failure, **training)
    found = next_action(run, may_resume=True)
    assert found == NextAction("clone", Change(path, value))
    assert f"Start again with {Change(path, value).label} {value}." in run.job.message


@pytest.mark.parametrize(
    ("failure", "training"),
    [
        (JobFailed("oom", SHORT[ExitKind.OOM]), {}),
        (shortage(1), {"batch": 1}),
        (divergence(1e-7), {"learning_rate": 1e-7}),
        (JobFailed("not_enough_history", "It is too short."), {}),
        (JobFailed("invalid_spec", "training.devices: 8; expected at most 1"), {}),
    ],
    ids=["oom elsewhere", "no smaller batch", "no smaller rate", "history", "spec"],
)
def test_where_no_value_is_known_the_clone_is_open(
    experiment: Experiment, failure: JobFailed, training: dict[str, Any]
) -> None:
    run = failed(experiment, failure, **training)
    assert next_action(run, may_resume=True) == NextAction("clone")


@pytest.mark.parametrize(
    ("status", "code"),
    [("cancelled", ""), ("failed", "disk_full"), ("failed", "time_limit"), ("errored", "crashed")],
)
def test_what_the_spec_has_not_caused_goes_on_from_a_checkpoint_or_begins_again(
    experiment: Experiment, status: str, code: str
) -> None:
    run = factories.make_run(experiment, status=status, code=code)
    assert next_action(run, may_resume=True) == NextAction("resume")
    assert next_action(run, may_resume=False) == NextAction("again")


def test_a_failed_certificate_is_begun_again(experiment: Experiment) -> None:
    run = factories.make_run(experiment, status="failed", code="causality")
    assert next_action(run, may_resume=True) == NextAction("again")


@pytest.mark.parametrize("status", ["queued", "running", "cancelling", "succeeded"])
def test_a_run_that_has_not_ended_early_has_no_next_action(
    experiment: Experiment, status: str
) -> None:
    run = factories.make_run(experiment, status=status)
    assert next_action(run, may_resume=False) is None


def test_a_clone_opens_with_the_suggested_value_and_its_difference(
    client: Client, experiment: Experiment
) -> None:
    address = f"/experiments/new/?from={experiment.pk}"
    page = client.get(f"{address}&training.learning_rate=0.33").content.decode()
    assert 'name="training.learning_rate" value="0.33"' in page
    box = page.partition('id="clone-difference"')[2].partition("</table>")[0]
    assert "Learning rate" in box
    assert "<strong>0.33</strong>" in box
    assert box.count("<strong>") == 1
    assert (
        'name="training.batch" value="512"'
        in client.get(f"{address}&training.batch=512").content.decode()
    )


@pytest.mark.parametrize("asked", ["training.batch=0", "training.batch=x", "training.batch="])
def test_a_clone_takes_no_value_that_the_spec_refuses(
    client: Client, experiment: Experiment, asked: str
) -> None:
    assert client.get(f"/experiments/new/?from={experiment.pk}&{asked}").status_code == 400


def test_a_clone_takes_no_other_setting_from_its_address(
    client: Client, experiment: Experiment
) -> None:
    page = client.get(f"/experiments/new/?from={experiment.pk}&training.epochs=7").content.decode()
    assert "No setting differs from the source" in page


def actions(client: Client, run: TrainingRun) -> tuple[str, str]:
    """The actions in the head of a run's page: those in sight, and those in the menu."""
    page = client.get(f"/runs/{run.pk}/").content.decode()
    head = page.partition('id="actions">')[2].partition('id="live"')[0]
    in_sight, _, menu = head.partition(">More</summary>")
    return in_sight, menu


def test_a_diverged_run_leads_to_a_clone_with_the_rate_of_its_message(
    client: Client, experiment: Experiment
) -> None:
    run = failed(experiment, divergence(1.0), learning_rate=1.0)
    in_sight, menu = actions(client, run)
    address = f"/experiments/new/?from={experiment.pk}&amp;training.learning_rate=0.33"
    assert f'<a class="btn btn-primary" href="{address}">' in in_sight
    assert "Start again with learning rate 0.33</a>" in in_sight
    assert "Resume" not in in_sight
    assert f"/runs/{run.pk}/resume/" in menu
    assert "Run again" in menu


def test_a_run_out_of_memory_leads_to_a_clone_with_half_the_batch(
    client: Client, experiment: Experiment
) -> None:
    run = failed(experiment, shortage(1024), batch=1024)
    in_sight, menu = actions(client, run)
    assert f"?from={experiment.pk}&amp;training.batch=512" in in_sight
    assert "Start again with batch 512</a>" in in_sight
    assert f"/runs/{run.pk}/resume/" in menu


def test_a_run_out_of_memory_elsewhere_leads_to_the_clone(
    client: Client, experiment: Experiment
) -> None:
    run = failed(experiment, JobFailed("oom", SHORT[ExitKind.OOM]))
    in_sight, menu = actions(client, run)
    assert f'href="/experiments/new/?from={experiment.pk}">Change and start again</a>' in in_sight
    assert f"/experiments/new/?from={experiment.pk}" not in menu


def test_a_cancelled_run_resumes_first(client: Client, experiment: Experiment) -> None:
    run = factories.make_run(experiment, status=JobStatus.CANCELLED)
    in_sight, menu = actions(client, run)
    assert '<button class="btn btn-primary">Resume</button>' in in_sight
    assert "Run again" in menu
    assert "Resume" not in menu


def test_a_finished_run_is_backtested_registered_and_run_again(
    client: Client, experiment: Experiment
) -> None:
    run = factories.make_run(experiment, seed=7)
    in_sight, menu = actions(client, run)
    address = f"/backtests/new/?predictions={run.prediction_sets.get().pk}"
    assert f'href="{address}">Backtest</a>' in in_sight
    assert in_sight.count('class="btn') == 3  # Backtest, Register model, More
    assert "Run again" in menu
    assert "Clone</a>" in menu
    assert client.get(address).status_code == 200


def test_a_run_is_run_again_once_however_often_its_button_is_pressed(
    client: Client, experiment: Experiment
) -> None:
    run = factories.make_run(experiment, seed=7)
    menu = actions(client, run)[1]
    values = dict(re.findall(r'<input type="hidden" name="(key|seed)" value="([^"]+)">', menu))
    first, second = (client.post(f"/experiments/{experiment.pk}/launch/", values) for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"]
    again = experiment.runs.exclude(pk=run.pk).get()
    assert (again.seed, again.job.status) == (7, JobStatus.QUEUED)
    assert Backtest.objects.filter(run=again, is_own=True).count() == 1


def test_a_running_run_has_no_menu(client: Client, experiment: Experiment) -> None:
    run = factories.make_run(experiment, status=JobStatus.RUNNING)
    in_sight, menu = actions(client, run)
    assert menu == ""
    assert "Clone</a>" in in_sight
    assert "Stop it" in in_sight


def test_a_viewer_is_offered_nothing(client: Client, experiment: Experiment) -> None:
    run = factories.make_run(experiment)
    client.force_login(factories.make_user("bob", run.workspace, Role.VIEWER))
    in_sight, menu = actions(client, run)
    assert (in_sight.count("btn"), menu) == (0, "")


def not_causal(experiment: Experiment) -> TrainingRun:
    """A run whose second fold was predicted from its future; a checkpoint of it is there."""
    text = "Update the code, then launch again."
    run = failed(experiment, JobFailed("causality", text), learning_rate=1e-3)
    run.causality["passed"] = False
    run.causality["folds"][1] |= {"passed": False, "predictions": "failed"}
    run.save()
    return run


def test_a_run_that_knew_its_future_is_launched_anew_and_not_gone_on_with(
    client: Client, experiment: Experiment
) -> None:
    run = not_causal(experiment)
    in_sight, menu = actions(client, run)
    assert '<button class="btn btn-primary">Start again</button>' in in_sight
    assert "Clone</a>" in in_sight
    assert "Resume" not in in_sight
    assert menu == ""
    answer = client.post(f"/runs/{run.pk}/resume/")
    assert answer.status_code == 409
    assert "Mend the cause, then launch a new run." in answer.content.decode()
    assert not Job.objects.filter(resumed_from=run.job_id).exists()


def test_a_run_that_knew_its_future_is_not_resumed_after_a_cancel_either(
    experiment: Experiment,
) -> None:
    run = not_causal(experiment)
    Job.objects.filter(pk=run.job_id).update(status=JobStatus.CANCELLED, code="")
    assert not can_resume(TrainingRun.objects.get(pk=run.pk))
