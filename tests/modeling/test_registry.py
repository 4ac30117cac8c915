import hashlib
import json
from datetime import UTC, datetime

import pytest
from django.test import Client

from accounts.models import AuditEvent, Role, Scope
from jobs.statuses import JobKind, JobStatus, Queue
from modeling.cards import canonical
from modeling.models import Experiment, HoldoutOpening, ModelPrediction, RegisteredModel
from tests import factories
from tests.api import bearer, refusal
from tests.registry import STATE, loadable, make_model, make_prediction

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def run(alice):
    run = factories.make_run(factories.make_experiment(alice.first_workspace()))
    loadable(run)
    return run


@pytest.fixture
def model(run):
    return make_model(run)


def register(user, of_run, **over):
    data = {"run": of_run.pk, "name": "Best"} | over
    return bearer(user).post("/api/models/", data, format="json")


def ask(user, model, version, headers=None):
    data = {"dataset": version.dataset_id, "version": version.number}
    path = f"/api/models/{model.pk}/predictions/"
    return bearer(user).post(path, data, format="json", headers=headers)


def page_of(client, model):
    return client.get(f"/models/{model.pk}/").content.decode()


def test_registering_takes_the_last_fold_and_is_audited(alice, run):
    body = register(alice, run, notes="First try").json()
    model = RegisteredModel.objects.get()
    assert (body["fold"], body["stage"], body["notes"]) == (2, "candidate", "First try")
    assert body["weights_sha256"] == model.fold.weights_sha256
    assert body["trained_on"]["data_sha256"] == run.data_sha256
    event = AuditEvent.objects.get(action="register_model")
    assert (event.user, event.subject, event.data["run"]) == (alice, "Best", run.pk)


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"fold": 9}, "fold"),
        ({"stage": "best"}, "stage"),
        ({"notes": "x" * 10_001}, "notes"),
        ({"run": 10**9}, "run"),
        ({"weights": "mine"}, "weights"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_registered(alice, run, over, field):
    assert field in refusal(register(alice, run, **over), 400)["fields"]
    assert not RegisteredModel.objects.exists()


def test_a_name_is_registered_once_in_a_workspace(alice, run, model):
    assert "name" in refusal(register(alice, run), 400)["fields"]
    charlie = factories.make_user("charlie")
    theirs = factories.make_run(factories.make_experiment(charlie.first_workspace()))
    loadable(theirs)
    assert register(charlie, theirs).status_code == 201


def test_a_run_that_has_not_succeeded_or_kept_too_little_is_refused(alice, run):
    running = factories.make_run(run.experiment, seed=1, status=JobStatus.RUNNING)
    assert refusal(register(alice, running), 409)["code"] == "run_not_finished"
    older = factories.make_run(run.experiment, seed=2)
    assert refusal(register(alice, older), 409)["code"] == "not_loadable"


def test_stage_and_notes_change_and_each_change_is_audited(client, alice, model):
    path = f"/api/models/{model.pk}/"
    answer = bearer(alice).patch(path, {"stage": "production"}, format="json")
    assert answer.json()["stage"] == "production"
    assert bearer(alice).patch(path, {"stage": "production"}, format="json").status_code == 200
    assert client.post(f"/models/{model.pk}/change/", {"stage": "retired", "notes": "Old"})
    events = AuditEvent.objects.filter(action="change_model")
    before = {event.data["stage_before"]: event.data for event in events}
    assert set(before) == {"candidate", "production"}
    assert before["production"] == {
        "model": model.pk,
        "stage": "retired",
        "stage_before": "production",
        "notes": "Old",
    }
    refused = bearer(alice).patch(path, {"stage": "best"}, format="json")
    assert "stage" in refusal(refused, 400)["fields"]
    assert client.post(f"/models/{model.pk}/change/", {"stage": "best"}).status_code == 400


def test_the_card_is_equal_whenever_it_is_made_and_names_what_loading_needs(client, alice, model):
    first = client.get(f"/models/{model.pk}/card.json")
    assert "attachment" in first["Content-Disposition"]
    bearer(alice).patch(f"/api/models/{model.pk}/", {"stage": "staging"}, format="json")
    body, again = first.json(), bearer(alice).get(f"/api/models/{model.pk}/card/").json()
    assert (body["stage"], again["stage"]) == ("candidate", "staging")
    assert body["card"] == again["card"]
    digest = hashlib.sha256(canonical(json.loads(first.content)["card"]).encode()).hexdigest()
    assert body["card_sha256"] == again["card_sha256"] == digest
    card = body["card"]
    assert card["features"]["names"] == ["rsi_14", "ret_1"]
    assert card["scalers"] == STATE["scalers"]["scales"]
    assert (card["threshold"], card["seed"]) == (0.5, 0)
    assert card["spec_sha256"] == model.run.experiment.spec_sha256
    assert client.get(f"/models/{model.pk}/weights.safetensors").status_code == 200


def test_the_weights_are_the_stored_file_and_a_download_is_audited(client, alice, model):
    for answer in (
        client.get(f"/models/{model.pk}/weights.safetensors"),
        bearer(alice).get(f"/api/models/{model.pk}/weights/"),
    ):
        content = b"".join(answer.streaming_content)
        assert hashlib.sha256(content).hexdigest() == model.fold.weights_sha256
    assert AuditEvent.objects.filter(action="export").count() == 2


def test_a_withheld_verdict_is_in_no_answer_about_the_model(client, alice, run, model):
    run.leak_alarm = {"raised": True, "reasons": ["too good"]}
    run.save()
    assert bearer(alice).get(f"/api/models/{model.pk}/").json()["verdict"] is None
    assert bearer(alice).get(f"/api/models/{model.pk}/card/").json()["card"]["verdict"] is None
    page = page_of(client, model)
    assert "Not better than logistic" not in page
    assert "Leak alarm" in page


def test_predicting_queues_one_job_of_the_trainer(alice, model):
    eth = factories.make_version(model.workspace, symbol="ETH/USDT")
    body = ask(alice, model, eth).json()
    row = ModelPrediction.objects.get()
    assert (body["id"], body["status"], body["predictions"]) == (row.pk, "queued", None)
    assert (row.job.kind, row.job.queue) == (JobKind.PREDICT, Queue.TRAINING)
    assert AuditEvent.objects.filter(action="predict").count() == 1
    listed = bearer(alice).get(f"/api/models/{model.pk}/predictions/").json()
    assert [entry["id"] for entry in listed["results"]] == [row.pk]


def test_the_same_key_predicts_once(alice, model):
    eth = factories.make_version(model.workspace, symbol="ETH/USDT")
    headers = {"Idempotency-Key": "one"}
    first, again = (ask(alice, model, eth, headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert again["Idempotency-Replayed"] == "true"
    btc = model.run.experiment.version
    assert refusal(ask(alice, model, btc, headers), 409)["code"] == "idempotency_conflict"
    assert ModelPrediction.objects.count() == 1


def test_a_form_sent_twice_predicts_once(client, model):
    eth = factories.make_version(model.workspace, symbol="ETH/USDT")
    answers = [
        client.post(f"/models/{model.pk}/predict/", {"version": eth.pk, "key": "k1"})
        for _ in range(2)
    ]
    assert {answer.status_code for answer in answers} == {302}
    assert answers[0].url == answers[1].url
    assert AuditEvent.objects.filter(action="predict").count() == 1


@pytest.mark.parametrize(
    ("limit", "code"),
    [("JOBS_QUEUED_TRAININGS", "quota_queued"), ("JOBS_LAUNCHES_PER_HOUR", "quota_launches")],
)
def test_predictions_over_a_quota_are_429_with_the_reason(
    client, alice, model, settings, limit, code
):
    setattr(settings, limit, 1)
    eth = factories.make_version(model.workspace, symbol="ETH/USDT")
    assert ask(alice, model, eth).status_code == 202
    answer = ask(alice, model, eth)
    assert refusal(answer, 429)["code"] == code
    assert int(answer["Retry-After"]) >= 1
    page = client.post(f"/models/{model.pk}/predict/", {"version": eth.pk, "key": "k1"})
    assert (page.status_code, page["Retry-After"]) == (429, answer["Retry-After"])
    assert "the limit is 1" in page.content.decode()
    assert ModelPrediction.objects.count() == 1


def test_a_retired_model_predicts_nothing_new_and_keeps_what_it_predicted(client, alice, model):
    eth = factories.make_version(model.workspace, symbol="ETH/USDT")
    form, headers = 'name="version"', {"Idempotency-Key": "one"}
    assert form in page_of(client, model)
    earlier = ask(alice, model, eth, headers)
    row = make_prediction(model)
    RegisteredModel.objects.update(stage="retired")
    refused = refusal(ask(alice, model, eth), 409)
    assert (refused["code"], "another stage" in refused["detail"]) == ("model_retired", True)
    assert ask(alice, model, eth, headers).json()["id"] == earlier.json()["id"]
    page = client.post(f"/models/{model.pk}/predict/", {"version": eth.pk})
    assert (page.status_code, form in page.content.decode()) == (409, False)
    assert "predicts nothing new" in page_of(client, model)
    address = f"/models/{model.pk}/predictions/{row.pk}/"
    assert address in page_of(client, model)
    assert client.get(address).status_code == 200


def test_another_timeframe_is_refused(client, alice, model):
    candles = factories.synthetic_candles(days=9, timeframe_minutes=15)
    version = factories.make_version(model.workspace, candles=candles)
    fields = refusal(ask(alice, model, version), 400)["fields"]
    assert "found the timeframe 15m; expected 1h" in fields["dataset"]
    answer = client.post(f"/models/{model.pk}/predict/", {"version": version.pk})
    assert answer.status_code == 400
    assert f'value="{version.pk}"' not in page_of(client, model)


def test_a_version_that_is_unknown_foreign_or_not_accepted_is_refused(alice, model):
    foreign = factories.make_version(factories.make_workspace("Elsewhere"))
    assert "dataset" in refusal(ask(alice, model, foreign), 400)["fields"]
    doubted = factories.make_version(model.workspace, symbol="SOL/USDT", findings=("gaps",))
    assert "datasets" in refusal(ask(alice, model, doubted), 400)["fields"]
    assert not ModelPrediction.objects.exists()


def test_a_version_that_lies_behind_the_seal_is_refused_until_it_is_opened(alice, model):
    experiment = model.run.experiment
    later = factories.synthetic_candles(
        days=30, seed=3, timeframe_minutes=60, end_at=datetime(2024, 3, 20, tzinfo=UTC)
    )
    version = factories.make_version(model.workspace, candles=later)
    assert refusal(ask(alice, model, version), 409)["code"] == "holdout_sealed"
    HoldoutOpening.objects.create(
        workspace=model.workspace,
        experiment=experiment,
        run=model.run,
        job=factories.make_job(model.workspace),
        from_at=experiment.holdout_at,
        until_at=experiment.holdout_until,
    )
    assert ask(alice, model, version).status_code == 202


def test_a_version_of_which_nothing_can_be_predicted_is_refused_and_offered_with_the_reason(
    client, alice, model
):
    candles = factories.candles_of(model.run.experiment.version)
    short = factories.make_version(model.workspace, symbol="SOL/USDT", candles=candles.slice(0, 9))
    learned = factories.make_version(model.workspace, candles=candles.slice(0, 400))
    fits = factories.make_version(model.workspace, symbol="ETH/USDT")
    refused = refusal(ask(alice, model, short), 409)
    assert refused["code"] == "not_enough_history"
    assert "has 9 bars that this model may see; its first window needs" in refused["detail"]
    assert refusal(ask(alice, model, learned), 409)["code"] == "nothing_to_predict"
    assert not ModelPrediction.objects.exists()
    page = page_of(client, model)
    choices = page.split('id="version"')[1].split("</select>")[0]
    assert f'value="{fits.pk}"' in choices
    assert not any(f'value="{version.pk}"' in choices for version in (short, learned))
    assert f"disabled>{short}: 9 bars, " in choices
    assert f"disabled>{learned}: nothing new to this model<" in choices


def test_one_bar_less_than_the_first_window_needs_is_too_short(alice, model):
    candles = factories.synthetic_candles(days=30, seed=3, timeframe_minutes=60)
    just, less = (
        factories.make_version(model.workspace, symbol="SOL/USDT", candles=candles.slice(0, bars))
        for bars in (358, 357)
    )
    said = refusal(ask(alice, model, less), 409)["detail"]
    assert "has 357 bars that this model may see; its first window needs 358" in said
    assert ask(alice, model, just).status_code == 202


def test_the_seal_holds_for_its_own_market_and_only_where_there_is_one(model):
    own = model.run.experiment.version
    other = factories.make_version(model.workspace, symbol="ETH/USDT")
    assert model.sealed_after(own) == model.run.experiment.holdout_at
    assert model.sealed_after(other) is None
    elsewhere = factories.make_version(model.workspace, symbol="btcusdt")
    assert not model.knows(elsewhere)
    assert model.sealed_after(elsewhere) == model.run.experiment.holdout_at
    Experiment.objects.update(holdout_at=model.run.experiment.holdout_until)
    assert RegisteredModel.objects.get().sealed_after(own) is None


def test_a_viewer_may_look_and_a_stranger_finds_nothing(model):
    version = model.run.experiment.version
    viewer = factories.make_user("victor", model.workspace, Role.VIEWER)
    charlie = factories.make_user("charlie")
    assert refusal(ask(viewer, model, version), 403)["code"] == "needs_editor"
    assert refusal(register(viewer, model.run, name="Mine"), 403)["code"] == "needs_editor"
    refusal(ask(charlie, model, version), 404)
    client = Client()
    client.force_login(viewer)
    page = page_of(client, model)
    assert "Predict on a version" not in page
    assert client.post(f"/models/{model.pk}/change/", {"stage": "retired"}).status_code == 403
    assert client.get(f"/models/new/?run={model.run_id}").status_code == 403
    reader = bearer(factories.make_user("rita", model.workspace), scope=Scope.READ)
    path = f"/api/models/{model.pk}/"
    refused = reader.patch(path, {"stage": "retired"}, format="json")
    assert refusal(refused, 403)["code"] == "missing_scope"
    assert reader.get(path).status_code == 200


def test_the_form_registers_and_keeps_what_was_typed_when_it_is_refused(client, run, model):
    page = client.get(f"/models/new/?run={run.pk}").content.decode()
    assert "Register model" in page
    data = {"run": run.pk, "name": "Best", "fold": "2", "stage": "staging", "notes": "Mine"}
    answer = client.post("/models/new/", data)
    assert answer.status_code == 400
    assert "choose another name" in answer.content.decode()
    assert "Mine</textarea>" in answer.content.decode()
    assert client.post("/models/new/", data | {"name": "Other"}).status_code == 302
    assert RegisteredModel.objects.get(name="Other").stage == "staging"
    assert client.get("/models/new/").status_code == 404


def test_the_list_finds_by_name_and_stage(client, run, model):
    make_model(run, "Old one", stage="retired")
    page = client.get("/models/?stage=retired").content.decode()
    assert ">Old one</a>" in page
    assert ">Best</a>" not in page
    assert "No model fits" in client.get("/models/?q=nothing").content.decode()


def test_an_empty_list_says_how_a_model_comes_to_be(client, alice):
    assert "press Register model" in client.get("/models/").content.decode()


def test_lists_need_few_queries_however_many_models_there_are(
    client, run, model, django_assert_max_num_queries
):
    for number in range(6):
        make_prediction(make_model(run, f"Model {number}"))
    with django_assert_max_num_queries(8):
        client.get("/models/")
    with django_assert_max_num_queries(15):
        client.get(f"/models/{model.pk}/")


def test_a_prediction_page_shows_notices_scores_and_chart(client, alice, model):
    row = make_prediction(model)
    address = f"/models/{model.pk}/predictions/{row.pk}"
    page = client.get(f"{address}/").content.decode()
    assert "unseen_instrument" in page
    assert "0.510" in page
    figure = client.get(f"{address}/chart/").json()["figure"]
    assert figure["data"]
    answer = bearer(alice).get(f"/api/predictions/{row.predictions_id}/?max=3")
    assert [entry["instrument"] for entry in answer.json()] == ["BTC/USDT (binance)"] * 3


def test_predictions_are_exported_as_they_are_stored(client, model):
    row = make_prediction(model)
    address = f"/models/{model.pk}/predictions/{row.pk}"
    text = b"".join(client.get(f"{address}.csv")).decode().splitlines()
    assert text[0].startswith("instrument,open_at,known_at,fold,seed,action")
    assert len(text) == row.predictions.rows + 1
    assert 'Z",' in text[1]
    assert client.get(f"{address}.parquet").status_code == 200


def test_a_prediction_under_way_has_no_files_yet(client, model):
    row = make_prediction(model, status=JobStatus.RUNNING)
    address = f"/models/{model.pk}/predictions/{row.pk}"
    assert "Cancel" in client.get(f"{address}/").content.decode()
    for ending in (".csv", ".parquet", "/chart/"):
        assert client.get(address + ending).status_code == 404


def test_run_and_job_lead_to_the_model(client, model):
    row = make_prediction(model)
    assert (
        f"/models/new/?run={model.run_id}" in client.get(f"/runs/{model.run_id}/").content.decode()
    )
    page = client.get(f"/jobs/{row.job_id}/").content.decode()
    assert f"/models/{model.pk}/predictions/{row.pk}/" in page
