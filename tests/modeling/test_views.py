import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from accounts.models import AuditEvent, Role
from jobs.models import Job
from jobs.statuses import JobStatus
from modeling.charting import CURVES, DRAWN
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def experiment(alice):
    return factories.make_experiment(alice.first_workspace())


@pytest.fixture
def run(experiment):
    return factories.make_run(experiment)


def test_the_list_shows_status_timeframe_and_range(client, run):
    page = client.get("/runs/").content.decode()
    version = run.experiment.version
    assert "succeeded" in page
    assert "<td>1h</td>" in page
    assert re.findall(r'<span class="num">(\d{4}-\d\d-\d\d)</span>', page) == [
        f"{version.first_at:%Y-%m-%d}",
        f"{version.last_at:%Y-%m-%d}",
    ]


def verdict_cell(page):
    cells = re.findall(r"<td>(.*?)</td>", page)
    return re.sub("<[^>]*>", "", cells[3].replace("<br>", "; "))


def test_the_list_names_the_heads_under_each_word_of_their_verdicts(client, run):
    run.verdict = {
        "action": {"word": "ties"},
        "regime": {"word": "loses"},
        "volatility": {"word": "beats"},
        "risk": {"word": "ties"},
    }
    run.save()
    page = client.get("/runs/").content.decode()
    assert verdict_cell(page) == (
        "Beats volatility; Not better action, risk; Loses market regime; — confidence"
    )


def test_the_list_says_that_an_alarm_withholds_every_verdict(client, run):
    run.leak_alarm = {"raised": True, "reasons": ["AUC"]}
    run.save()
    assert verdict_cell(client.get("/runs/").content.decode()) == "Withheld"


def test_a_run_that_was_not_judged_has_a_dash_for_its_verdicts(client, experiment):
    factories.make_run(experiment, status=JobStatus.FAILED)
    assert verdict_cell(client.get("/runs/").content.decode()) == "—"


def test_the_list_needs_at_most_eight_queries(client, experiment, django_assert_max_num_queries):
    for seed in range(4):
        factories.make_run(experiment, seed=seed, status=JobStatus.RUNNING)
    with django_assert_max_num_queries(8):
        client.get("/runs/")


def test_the_list_reads_the_words_of_verdicts_without_what_was_measured(client, run):
    with CaptureQueriesContext(connection) as captured:
        client.get("/runs/")
    said = " ".join(query["sql"] for query in captured)
    assert '"modeling_trainingrun"."metrics"' not in said
    assert '"modeling_trainingrun"."verdict",' not in said


def test_a_finished_run_shows_folds_ladder_verdicts_and_what_it_is_made_of(client, run):
    page = client.get(f"/runs/{run.pk}/").content.decode()
    for words in (
        "Logistic regression",
        "Not better",
        "Causality certificate",
        "nothing that this run used or said",
        "Weights sha256",
        "it has no direction",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("status", "is_renewed"),
    [(JobStatus.QUEUED, True), (JobStatus.RUNNING, True), (JobStatus.SUCCEEDED, False)],
)
def test_a_finished_run_renews_its_results_until_its_backtest_has_ended(
    client, run, status, is_renewed
):
    factories.make_backtest(run, status=status)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    box = page.partition('<section id="outcome-box"')[2].partition(">")[0]
    assert (f'hx-get="/runs/{run.pk}/" hx-trigger="every 2s"' in box) == is_renewed
    assert ('<meta http-equiv="refresh"' in page) == is_renewed
    assert ("Open the report" in page) != is_renewed


def test_a_run_page_needs_at_most_twenty_queries(client, run, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):
        client.get(f"/runs/{run.pk}/")


def test_a_score_stands_with_its_interval(client, run):
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "[0.480, 0.540]" in page


def test_a_running_run_shows_progress_in_box_and_title(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.RUNNING, message="Fold 1 of 4, epoch 2")
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "<title>42\u00a0% · Tiny transformer, seed 0" in page
    assert "Fold 1 of 4, epoch 2" in page
    assert 'http-equiv="refresh"' in page


def test_the_live_box_is_small_and_carries_the_newest_point(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.RUNNING)
    answer = client.get(f"/runs/{run.pk}/status/")
    newest = run.points.order_by("-pk").first().pk
    assert f'data-version="{newest}"' in answer.content.decode()
    assert len(answer.content) <= 4096


def live_box(client, run) -> str:
    page = client.get(f"/runs/{run.pk}/status/").content.decode()
    return " ".join(strip_tags(page.replace("<", " <")).split())


def test_the_live_box_shows_speed_memory_and_device_of_the_attempt(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.RUNNING)
    told = {"left_s": 90.0, "samples_per_s": 621.7, "memory_mib": 812}
    run.job.attempts.update(told=told, progress_at=timezone.now())
    box = live_box(client, run)
    assert "at most 1 min 30 s of training steps left" in box
    assert "Device cpu 2 threads" in box
    assert "Samples a second 622 in the last 50 steps" in box
    assert "Peak memory 812 MiB so far" in box
    assert len(client.get(f"/runs/{run.pk}/status/").content) <= 4096


def test_what_was_not_measured_is_not_shown_as_if_it_were(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.RUNNING)
    box = live_box(client, run)
    assert "Samples a second — in the last 50 steps" in box
    assert "Peak memory" not in box
    run.job.attempts.update(told={"memory_mib": 812}, peak_memory_mib=830)
    assert "Peak memory 830 MiB" in live_box(client, run)
    assert "so far" not in live_box(client, run)


def test_a_queued_run_says_where_it_stands(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.QUEUED)
    assert "Waiting: position 1 of 1 in training" in client.get(f"/runs/{run.pk}/").content.decode()


def test_the_loss_chart_draws_every_logged_point_once(client, run):
    figure = client.get(f"/runs/{run.pk}/charts/loss/").json()["figure"]
    drawn = [value for value in figure["data"][0]["y"] if value is not None]
    assert len(drawn) == 2 * 59
    assert client.get(f"/runs/{run.pk}/charts/other/").status_code == 404


def test_at_most_six_curves_are_drawn_and_the_others_wait_behind_their_titles(client, run):
    page = client.get(f"/runs/{run.pk}/").content.decode()
    before, _, behind = page.partition('<details class="more" name="more-curves">')
    assert page.count(f'data-chart="/runs/{run.pk}/charts/') == len(CURVES)
    assert before.count("data-chart=") == len(DRAWN) <= 6
    for kind, (title, _, _) in CURVES.items():
        assert (f"<summary>{title}</summary>" in page) == (kind not in DRAWN)
        assert (f'data-chart="/runs/{run.pk}/charts/{kind}/"' in behind) == (kind not in DRAWN)


def test_metrics_go_on_after_the_last_point_seen(client, run):
    everything = client.get(f"/runs/{run.pk}/metrics/").json()["points"]
    rest = client.get(f"/runs/{run.pk}/metrics/", {"after": everything[4]["id"]}).json()["points"]
    assert rest == everything[5:]
    assert client.get(f"/runs/{run.pk}/metrics/", {"after": "x"}).status_code == 400


def test_the_prediction_chart_joins_candles_scores_and_thresholds(client, run):
    row = run.prediction_sets.get()
    figure = client.get(f"/runs/{run.pk}/predictions/{row.pk}/of/1/chart/").json()["figure"]
    by_name = {trace["name"]: trace for trace in figure["data"]}
    close = by_name["Price"]["close"]
    candles = factories.candles_of(run.experiment.version)
    assert close[0] == float(f"{candles.close[len(candles) // 2]:.6g}")
    assert {0.5, 0.6} == set(by_name["Threshold, long"]["y"]) - {None}


def test_a_run_without_predictions_says_where_to_look(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.RUNNING)
    page = client.get(f"/runs/{run.pk}/predictions/").content.decode()
    assert "no predictions yet" in page


def test_a_failed_run_opens_on_its_message_with_resume(client, experiment):
    run = factories.make_run(
        experiment, status=JobStatus.FAILED, message="The loss became non-finite."
    )
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "The loss became non-finite." in page
    assert f"/runs/{run.pk}/resume/" in page


def test_resume_queues_a_new_job_and_is_audited(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.CANCELLED)
    assert client.post(f"/runs/{run.pk}/resume/").status_code == 302
    assert Job.objects.filter(resumed_from=run.job_id, status=JobStatus.QUEUED).exists()
    assert AuditEvent.objects.get(action="resume").subject == str(run.pk)


def test_resume_into_a_full_queue_says_so_and_when_to_come_back(client, experiment, settings):
    settings.JOBS_QUEUED_TRAININGS = 0
    run = factories.make_run(experiment, status=JobStatus.CANCELLED)
    answer = client.post(f"/runs/{run.pk}/resume/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "the limit is 0" in answer.content.decode()
    assert not Job.objects.filter(resumed_from=run.job_id).exists()


def test_resume_of_a_finished_run_says_why_not(client, run):
    answer = client.post(f"/runs/{run.pk}/resume/")
    assert answer.status_code == 409
    assert "already ended" in answer.content.decode()


def test_a_run_without_a_checkpoint_offers_to_start_again_and_refuses_to_resume(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.ERRORED, seed=7)
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert f"/runs/{run.pk}/resume/" not in page
    assert "Start again" in page
    assert '<input type="hidden" name="seed" value="7">' in page
    answer = client.post(f"/runs/{run.pk}/resume/")
    assert answer.status_code == 409
    assert "no checkpoint" in answer.content.decode()
    assert not Job.objects.filter(resumed_from=run.job_id).exists()


def test_a_leak_alarm_stands_on_the_page(client, run):
    run.leak_alarm = {"raised": True, "reasons": ["Accuracy 0.71 over all folds."]}
    run.save()
    page = client.get(f"/runs/{run.pk}/").content.decode()
    assert "Leak alarm." in page
    assert "Accuracy 0.71 over all folds." in page
    assert "The verdict stays withheld. Find the leak and run again" in page
    assert "Verdicts of the heads" not in page
    assert "Not better than logistic" not in page


def test_a_viewer_sees_no_action_and_is_refused(client, experiment):
    run = factories.make_run(experiment, status=JobStatus.CANCELLED)
    client.force_login(factories.make_user("bob", run.workspace, Role.VIEWER))
    assert "Resume" not in client.get(f"/runs/{run.pk}/").content.decode()
    assert client.post(f"/runs/{run.pk}/resume/").status_code == 403


@pytest.mark.parametrize("end", ["", "status/", "metrics/", "charts/loss/", "predictions/"])
def test_a_stranger_gets_404(client, run, end):
    client.force_login(factories.make_user("charlie"))
    assert client.get(f"/runs/{run.pk}/{end}").status_code == 404
    assert client.post(f"/runs/{run.pk}/resume/").status_code == 404


def test_words_of_the_fold_table_lead_to_the_glossary(client, alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    page = client.get(f"/runs/{run.pk}/").content.decode()
    glossary = client.get("/help/glossary/").content.decode()
    for word, anchor in (("Effective", "effective"), ("Purged", "purge"), ("Embargoed", "purge")):
        assert f'<a href="/help/glossary/#{anchor}">{word}</a>' in page
        assert f'id="{anchor}"' in glossary
