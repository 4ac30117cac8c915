"""Studies as pages and API: form, live table, files, roles, quotas, audit."""

import csv
import io

import pytest

from accounts.models import AuditEvent, Role
from backtests.models import Study, StudyRun, StudyVariant
from backtests.specs import ExperimentSpec
from backtests.study_table import (
    NOT_YET,
    OTHER_TRADES,
    TRAIN_AGAIN,
    WITHHELD,
    mixed_code_of,
    table_of,
    word_of,
)
from backtests.variants import KEYS, SAME_AS_BASE
from jobs.models import Job
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from modeling.models import TrainingRun
from modeling.services import with_data
from tests import factories
from tests.api import bearer, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]
FOUND = {"difference": 0.012, "interval": [0.004, 0.021], "rows": 5000, "reason": ""}


@pytest.fixture
def experiment(alice):
    workspace = alice.first_workspace()
    candles = synthetic_candles(days=100, timeframe_minutes=5)
    return factories.make_experiment(
        workspace, factories.make_version(workspace, candles=candles), name="Tiny"
    )


def launch(client, experiment, **over):
    data = {"seeds": "2", "variants": ["bias_off", "scales_off"], "key": "one", "action": "launch"}
    return client.post(f"/experiments/{experiment.pk}/study/", data | over)


@pytest.fixture
def study(client, experiment):
    assert launch(client, experiment).status_code == 302
    return Study.objects.get()


def with_comparison(study, key="bias_off", **rows):
    """The variant as it stands when two seeds of it and of the base have been compared."""
    variant = study.variants.get(key=key)
    for part in StudyRun.objects.filter(variant__study=study):
        part.run.metrics = factories._scores(0.51 + 0.01 * part.run.seed)
        part.run.save()
        Job.objects.filter(pk=part.run.job_id).update(
            status=JobStatus.SUCCEEDED,
            started_at=part.run.created_at,
            ended_at=part.run.created_at,
        )
    names = ("action.auc", "action.rank_ic", "regime.macro_f1", "volatility.r2")
    found = dict.fromkeys((*names, "risk.ordinal_brier", "equity.daily_log_return"), FOUND)
    runs = list(variant.runs.values_list("run_id", flat=True))
    base = list(study.variants.get(key="base").runs.values_list("run_id", flat=True))
    variant.comparison = {"seeds": [0, 1], "runs": runs, "base_runs": base, "rows": found | rows}
    variant.save()
    return variant


def cells_of(study, key="bias_off"):
    row = next(row for row in table_of(study) if row.key == key)
    return {cell.key: cell for cell in row.cells}


def test_form_shows_each_variant_with_its_cost_or_its_reason(client, experiment):
    page = client.get(f"/experiments/{experiment.pk}/study/").content.decode()
    for key in KEYS:
        assert (f'id="v-{key}"' in page) == (key != "features_15")
    assert SAME_AS_BASE in page
    assert "Context 64 → 250 bars" in page
    assert "Runs to train" in page


def test_form_asks_as_few_questions_as_any_page(client, experiment, django_assert_max_num_queries):
    with django_assert_max_num_queries(15):
        client.get(f"/experiments/{experiment.pk}/study/")


def test_experiment_offers_an_ablation_and_lists_its_studies(client, experiment, study):
    page = client.get(f"/experiments/{experiment.pk}/").content.decode()
    assert f"/experiments/{experiment.pk}/study/" in page
    assert f"/studies/{study.pk}/" in page


def test_estimate_makes_nothing(client, experiment):
    answer = launch(client, experiment, action="estimate", seeds="5", variants=["bias_off"])
    assert answer.status_code == 200
    assert answer.context["runs"] == 10
    assert not Study.objects.exists()


def test_launch_leads_to_the_study_and_is_recorded(client, alice, experiment, study):
    assert StudyRun.objects.filter(variant__study=study).count() == 6
    event = AuditEvent.objects.filter(action="launch").latest("at")
    assert event.subject == f"study {study.pk}"


def test_double_click_makes_one_study(client, experiment, study):
    assert launch(client, experiment).status_code == 302
    assert Study.objects.count() == 1
    assert TrainingRun.objects.count() == 6


@pytest.mark.parametrize("seeds", ["", "0", "21", "two", "²", "1" * 30])
def test_wrong_number_of_seeds_is_said_and_makes_nothing(client, experiment, seeds):
    answer = launch(client, experiment, seeds=seeds)
    assert answer.status_code == 400
    assert "expected a whole number from 1 to 20" in answer.content.decode()
    assert not Study.objects.exists()


@pytest.mark.parametrize("variants", [[], ["nonsense"], ["features_15"]])
def test_unusable_variants_are_said_and_make_nothing(client, experiment, variants):
    assert launch(client, experiment, variants=variants).status_code == 400
    assert not Study.objects.exists()


def test_full_queue_is_429_before_anything_is_made(client, experiment, settings):
    settings.JOBS_QUEUED_TRAININGS = 5
    answer = launch(client, experiment)
    assert answer.status_code == 429
    assert answer["Retry-After"]
    assert "The study needs 6 runs" in answer.content.decode()
    assert not Job.objects.exists()


def test_viewer_sees_studies_and_may_not_change_them(client, alice, experiment, study):
    bob = factories.make_user("bob", alice.first_workspace(), role=Role.VIEWER)
    client.force_login(bob)
    page = client.get(f"/studies/{study.pk}/").content.decode()
    assert "Stop it" not in page
    for path in (f"/studies/{study.pk}/cancel/", f"/studies/{study.pk}/resume/"):
        assert client.post(path).status_code == 403
    assert client.get(f"/experiments/{experiment.pk}/study/").status_code == 403
    refusal(bearer(bob).post(f"/api/studies/{study.pk}/cancel/"), 403)


def test_page_is_empty_of_figures_until_runs_end(client, study):
    page = client.get(f"/studies/{study.pk}/").content.decode()
    assert "0 of 6" in page
    assert f'hx-get="/studies/{study.pk}/status/"' in page
    assert {cell.reason for cell in cells_of(study).values()} == {NOT_YET, OTHER_TRADES}


def test_cell_shows_mean_spread_difference_interval_and_word(client, study):
    with_comparison(study)
    cell = cells_of(study)["action.auc"]
    assert (cell.mean, cell.std) == (pytest.approx(0.515), pytest.approx(0.0070711, rel=1e-4))
    assert (cell.difference, cell.low, cell.high, cell.word) == (0.012, 0.004, 0.021, "better")
    page = client.get(f"/studies/{study.pk}/").content.decode()
    assert "+0.012" in page
    assert "[+0.004, +0.021]" in page
    assert "120.0" in page  # 0.012 a day in basis points
    base = next(row for row in table_of(study) if row.key == "base")
    assert {cell.word for cell in base.cells} == {""}


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ([0.001, 0.2], "better"),
        ([-0.2, -0.001], "worse"),
        ([-0.1, 0.1], "not_shown"),
        ([0.0, 0.1], "not_shown"),
        (None, "undecided"),
    ],
)
def test_word_follows_the_interval_alone(interval, word):
    assert word_of(interval) == word


def test_interval_that_holds_zero_is_not_shown(client, study):
    with_comparison(study, **{"action.auc": FOUND | {"interval": [-0.01, 0.02]}})
    assert cells_of(study)["action.auc"].word == "not_shown"
    assert "not shown" in client.get(f"/studies/{study.pk}/").content.decode()


def with_other_code(study):
    """The study once all its runs have finished, one of them by other code."""
    run = with_comparison(study).runs.first().run
    TrainingRun.objects.exclude(pk=run.pk).update(code_version="0.1.0+new")
    TrainingRun.objects.filter(pk=run.pk).update(code_version="0.1.0+old")
    return run


def test_runs_of_other_code_are_named_above_the_table(client, study):
    with_comparison(study)
    assert "Different code" not in client.get(f"/studies/{study.pk}/").content.decode()
    run = with_other_code(study)
    page = client.get(f"/studies/{study.pk}/").content.decode()
    notice = page[page.index("Different code") :].split("</ul>")[0]
    assert TRAIN_AGAIN in notice
    assert f'<code>0.1.0+old</code>: <a class="target" href="/runs/{run.pk}/">' in notice
    assert notice.count("/runs/") == 6


def test_unfinished_run_of_other_code_is_in_no_table_yet(study):
    run = with_other_code(study)
    Job.objects.filter(pk=run.job_id).update(status=JobStatus.RUNNING, ended_at=None)
    assert mixed_code_of(StudyRun.objects.of_study(study)) is None


def test_files_and_api_name_the_code_of_every_run(client, alice, study):
    run = with_other_code(study)
    document = client.get(f"/studies/{study.pk}/table.json").json()
    old = document["mixed_code"]["versions"][0]
    assert old == {"code_version": "0.1.0+old", "runs": [run.pk]}
    body = bearer(alice).get(f"/api/studies/{study.pk}/").json()
    assert body["mixed_code"] == document["mixed_code"]
    assert TRAIN_AGAIN in body["mixed_code"]["message"]
    row = next(row for row in body["variants"] if row["key"] == "bias_off")
    assert {part["code_version"] for part in row["runs"]} == {"0.1.0+old", "0.1.0+new"}
    text = client.get(f"/studies/{study.pk}/table.csv").content.decode()
    lines = csv.DictReader(io.StringIO(text))
    found = {line["variant"]: line["code_versions"] for line in lines}
    assert found["bias_off"] == "0.1.0+old; 0.1.0+new"
    assert found["base"] == "0.1.0+new"


def test_form_trains_runs_of_other_code_again_unless_they_are_taken_over(client, experiment):
    run = factories.make_run(experiment)
    factories.make_backtest(run)
    # As the digest of the spec that the base is planned with.
    digest = with_data(ExperimentSpec.parse(experiment.spec).sha256(), experiment.pool)
    type(experiment).objects.update(spec_sha256=digest)
    path = f"/experiments/{experiment.pk}/study/"
    opened = client.get(path)
    assert "1 by other code, trained again" in opened.content.decode()
    assert opened.context["other_code"] == ["0.1.0"]
    asked = {"action": "estimate", "variants": ["bias_off"], "seeds": "1"}
    assert launch(client, experiment, **asked).context["runs"] == 2
    taken = launch(client, experiment, **asked, take_other_code="1")
    assert (taken.context["runs"], taken.context["reused"]) == (1, 1)
    assert 'value="1" checked' in taken.content.decode()
    assert launch(client, experiment, seeds="1", take_other_code="1").status_code == 302
    assert run.study_runs.get().job is None


def test_form_without_runs_of_other_code_does_not_ask(client, experiment):
    page = client.get(f"/experiments/{experiment.pk}/study/").content.decode()
    assert "take_other_code" not in page


def test_leak_alarm_of_one_run_withholds_what_is_compared_with_it(study):
    variant = with_comparison(study)
    run = variant.runs.first().run
    run.leak_alarm = {"raised": True, "reasons": ["Accuracy 0.71."]}
    run.save()
    cell = cells_of(study)["action.auc"]
    assert (cell.difference, cell.word, cell.reason) == (None, "withheld", WITHHELD)


def test_files_hold_every_row_of_the_table(client, experiment):
    launch(client, experiment, variants=list(KEYS), seeds="1")
    study = Study.objects.get()
    with_comparison(study)
    text = client.get(f"/studies/{study.pk}/table.csv").content.decode()
    lines = list(csv.DictReader(io.StringIO(text)))
    assert {line["variant"] for line in lines} == {"base", *KEYS}
    same = next(line for line in lines if line["variant"] == "features_15")
    assert same["reason"] == SAME_AS_BASE
    auc = next(
        line for line in lines if (line["variant"], line["measure"]) == ("bias_off", "action.auc")
    )
    assert (auc["difference"], auc["low"], auc["word"]) == ("0.012", "0.004", "better")
    document = client.get(f"/studies/{study.pk}/table.json").json()
    assert [row["key"] for row in document["variants"]] == ["base", *KEYS]


def test_live_box_stops_asking_when_the_study_has_ended(client, study):
    path = f"/studies/{study.pk}/status/"
    running = client.get(path)
    assert running.status_code == 200
    assert len(running.content) < 4096
    assert client.post(f"/studies/{study.pk}/cancel/").status_code == 302
    ended = client.get(path)
    assert ended.status_code == 286
    assert "cancelled" in ended.content.decode()


def test_cancelled_study_can_be_resumed(client, study):
    client.post(f"/studies/{study.pk}/cancel/")
    assert "Resume" in client.get(f"/studies/{study.pk}/").content.decode()
    client.post(f"/studies/{study.pk}/resume/")
    # 6 runs of 3 jobs, 3 verdicts over seeds, 1 launch
    assert Job.objects.filter(status=JobStatus.QUEUED).count() == 22
    actions = AuditEvent.objects.order_by("at").values_list("action", flat=True)
    assert list(actions)[-2:] == ["cancel", "resume"]


def test_cancel_and_resume_that_are_refused_are_409_with_the_page(client, study):
    running = client.post(f"/studies/{study.pk}/resume/")
    assert running.status_code == 409
    assert "Nothing of this study was stopped." in running.content.decode()
    client.post(f"/studies/{study.pk}/cancel/")
    again = client.post(f"/studies/{study.pk}/cancel/")
    assert again.status_code == 409
    assert "Nothing of this study is open." in again.content.decode()
    assert "Table of the study" in again.content.decode()


def test_resume_over_a_quota_is_429_with_the_page(client, study, settings):
    client.post(f"/studies/{study.pk}/cancel/")
    settings.JOBS_QUEUED_TRAININGS = 1
    full = client.post(f"/studies/{study.pk}/resume/")
    assert full.status_code == 429
    assert full["Retry-After"]
    assert "the limit is 1" in full.content.decode()
    assert not Job.objects.filter(status=JobStatus.QUEUED).exists()


def test_key_of_another_request_is_409_with_the_form(client, experiment, study):
    answer = launch(client, experiment, seeds="1")
    assert answer.status_code == 409
    assert "Use a new key" in answer.content.decode()


def test_list_finds_by_name_and_asks_few_questions(client, study, django_assert_max_num_queries):
    with django_assert_max_num_queries(8):
        page = client.get("/studies/").content.decode()
    assert "Ablation of Tiny" in page
    assert "0 of 6" in page
    assert "No study fits" in client.get("/studies/?q=nothing").content.decode()


def test_page_asks_as_few_questions_for_many_variants(
    client, experiment, django_assert_max_num_queries
):
    launch(client, experiment, variants=list(KEYS), seeds="3")
    with django_assert_max_num_queries(15):
        client.get(f"/studies/{Study.objects.get().pk}/")


def test_empty_list_says_what_a_study_is(client, alice):
    assert "switches off one component" in client.get("/studies/").content.decode()


def test_api_launches_with_defaults_and_answers_the_table(alice, experiment):
    api = bearer(alice)
    answer = api.post("/api/studies/", {"experiment": experiment.pk}, format="json")
    assert answer.status_code == 202
    body = answer.json()
    assert body["seeds"] == [0, 1, 2]
    assert body["progress"] == {
        "runs": 27,
        "succeeded": 0,
        "running": 0,
        "queued": 27,
        "stopped": 0,
    }
    assert body["status"] == "queued"
    assert [row["key"] for row in body["variants"]] == ["base", *KEYS]
    assert api.get(f"/api/studies/{body['id']}/").json()["variants"] == body["variants"]
    assert api.get("/api/studies/").json()["results"][0]["id"] == body["id"]


def test_api_replays_the_same_key(alice, experiment):
    api = bearer(alice)
    body = {"experiment": experiment.pk, "variants": ["bias_off"], "seeds": [3]}
    headers = {"Idempotency-Key": "abc"}
    first = api.post("/api/studies/", body, format="json", headers=headers)
    again = api.post("/api/studies/", body, format="json", headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert again["Idempotency-Replayed"] == "true"
    assert Study.objects.count() == 1


def test_api_refuses_what_cannot_be_at_its_field(alice, experiment):
    api = bearer(alice)
    wrong = (
        ({"variants": ["bias_off"]}, "experiment"),
        ({"experiment": 10**6}, "experiment"),
        ({"experiment": experiment.pk, "seeds": []}, "seeds"),
        ({"experiment": experiment.pk, "seeds": [1, 1]}, "seeds"),
        ({"experiment": experiment.pk, "variants": ["features_15"]}, "variants"),
        ({"experiment": experiment.pk, "variant": ["bias_off"]}, "variant"),
    )
    for body, field in wrong:
        found = refusal(api.post("/api/studies/", body, format="json"), 400)
        assert field in found["fields"], body
    assert not StudyVariant.objects.exists()


def test_api_cancels_resumes_and_says_conflicts(alice, experiment):
    api = bearer(alice)
    body = {"experiment": experiment.pk, "variants": ["bias_off"], "seeds": [0]}
    pk = api.post("/api/studies/", body, format="json").json()["id"]
    assert api.post(f"/api/studies/{pk}/cancel/").json()["status"] == "cancelled"
    assert refusal(api.post(f"/api/studies/{pk}/cancel/"), 409)["code"] == "job_finished"
    assert api.post(f"/api/studies/{pk}/resume/").json()["status"] == "queued"
    assert refusal(api.post(f"/api/studies/{pk}/resume/"), 409)["code"] == "job_finished"


def test_experiment_of_a_stranger_is_not_found(alice, experiment):
    charlie = factories.make_user("charlie")
    body = {"experiment": experiment.pk}
    found = refusal(bearer(charlie).post("/api/studies/", body, format="json"), 400)
    assert found["fields"] == {"experiment": "not found"}
