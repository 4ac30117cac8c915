import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.test import Client

from accounts.models import Role
from backtests import forms
from backtests.forms import shown_values
from backtests.models import Backtest
from backtests.presets import preset
from jobs.models import Job
from jobs.statuses import JobStatus
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment, TrainingRun
from modeling.specs import DataSpec
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def version(alice):
    """Candles long enough for the preset."""
    return factories.make_version(alice.first_workspace(), candles=synthetic_candles(days=90))


def body(version, **changes):
    values = shown_values(preset("tiny")) | changes
    ticked = {name: value for name, value in values.items() if value is not False}
    return {"name": "First", "datasets": version.pk, "preset": "tiny", "key": "one", **ticked}


def test_the_list_shows_preset_parameters_and_best_verdict(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    factories.make_backtest(factories.make_run(experiment))
    page = client.get("/experiments/").content.decode()
    assert "50\u2009662" in page
    assert "Not better" in page
    assert "[−3.10, 1.20]" in page


def test_the_list_shows_the_days_that_the_spec_uses_of_its_candles(client, version):
    factories.make_experiment(version.workspace, version)
    late = factories.make_experiment(version.workspace, version)
    data = DataSpec(from_at=version.first_at + timedelta(days=10))
    late.model_spec = late.model_spec.model_copy(update={"data": data})
    late.save()
    page = client.get("/experiments/").content.decode()
    days = re.findall(r'<span class="num">(\d{4}-\d\d-\d\d)</span>', page)
    first, tenth, last = (
        f"{at:%Y-%m-%d}" for at in (version.first_at, data.from_at, version.last_at)
    )
    assert days == [tenth, last, first, last]


def test_the_list_needs_at_most_eight_queries(client, alice, django_assert_max_num_queries):
    version = factories.make_version(alice.first_workspace())
    for name in ("One", "Two", "Three"):
        factories.make_run(
            factories.make_experiment(version.workspace, version, name), status=JobStatus.QUEUED
        )
    with django_assert_max_num_queries(8):
        client.get("/experiments/")


def test_without_candles_the_form_says_what_comes_first(client, alice):
    page = client.get("/experiments/new/").content.decode()
    assert "needs candles first" in page
    assert "Load demo data" in page


def test_the_form_opens_with_the_preset_and_every_declared_field(client, version):
    page = client.get("/experiments/new/").content.decode()
    for path, value in (("windows.context_bars", "64"), ("training.learning_rate", "0.001")):
        assert f'name="{path}" value="{value}"' in page
    assert "An unknown" not in page
    assert client.get("/experiments/new/?preset=huge").status_code == 404


def test_saving_stores_the_spec_of_the_form(client, version):
    answer = client.post("/experiments/new/", body(version, **{"training.epochs": "3"}))
    experiment = Experiment.objects.get()
    assert answer.headers["Location"] == f"/experiments/{experiment.pk}/"
    assert experiment.model_spec.training.epochs == 3
    assert experiment.preset == "tiny"


def test_an_unchanged_form_is_exactly_the_preset(client, version):
    client.post("/experiments/new/", body(version))
    assert Experiment.objects.get().model_spec == preset("tiny").model_spec()


def test_save_and_launch_queues_run_and_backtest(client, version):
    answer = client.post("/experiments/new/", body(version, action="launch"))
    run = TrainingRun.objects.get()
    assert answer.headers["Location"] == f"/runs/{run.pk}/"
    assert Backtest.objects.get(run=run).job.after_id == run.job_id


def test_a_launch_that_names_a_seed_makes_the_run_of_that_seed(client, version):
    client.post("/experiments/new/", body(version))
    experiment = Experiment.objects.get()
    assert client.post(f"/experiments/{experiment.pk}/launch/", {"seed": "x"}).status_code == 400
    client.post(f"/experiments/{experiment.pk}/launch/", {"seed": "7", "key": "again"})
    assert TrainingRun.objects.get().seed == 7


def test_a_form_saved_twice_makes_one_experiment(client, version):
    first, second = (client.post("/experiments/new/", body(version)) for _ in range(2))
    experiment = Experiment.objects.get()
    assert first.headers["Location"] == second.headers["Location"]
    assert first.headers["Location"] == f"/experiments/{experiment.pk}/"


def test_a_form_launched_twice_makes_one_experiment_and_one_run(client, version):
    sent = body(version, action="launch")
    first, second = (client.post("/experiments/new/", sent) for _ in range(2))
    assert Experiment.objects.count() == 1
    assert first.headers["Location"] == second.headers["Location"]
    assert first.headers["Location"] == f"/runs/{TrainingRun.objects.get().pk}/"


@pytest.mark.parametrize("changes", [{"training.epochs": "3"}, {"name": "Other"}, {"key": "two"}])
def test_another_value_or_another_page_makes_another_experiment(client, version, changes):
    client.post("/experiments/new/", body(version, action="launch"))
    client.post("/experiments/new/", body(version, action="launch") | changes)
    assert Experiment.objects.count() == TrainingRun.objects.count() == 2


def test_forms_without_a_key_are_never_taken_for_each_other(client, version):
    for _ in range(2):
        client.post("/experiments/new/", body(version, key=""))
    assert Experiment.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_form_sent_three_times_at_once_makes_one_experiment_and_one_run(client, version):
    at_once = Barrier(3)

    def send(_: int) -> str:
        sender = Client()
        sender.cookies = client.cookies
        at_once.wait(timeout=20)
        try:
            answer = sender.post("/experiments/new/", body(version, action="launch"))
            return answer.headers["Location"]
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        places = set(pool.map(send, range(3)))
    assert places == {f"/runs/{TrainingRun.objects.get().pk}/"}
    assert Experiment.objects.count() == 1


def test_a_wrong_field_is_400_with_text_beside_it_and_keeps_the_rest(client, version):
    answer = client.post(
        "/experiments/new/", body(version, **{"network.heads": "7", "training.epochs": "3"})
    )
    page = answer.content.decode()
    assert answer.status_code == 400
    assert "heads must divide 32" in page
    assert 'href="#id_network.heads"' in page
    assert 'name="training.epochs" value="3"' in page
    assert not Experiment.objects.exists()


@pytest.mark.parametrize("rate", ["0", "-1", "abc", "1e9"])
def test_a_learning_rate_out_of_bounds_is_refused(client, version, rate):
    answer = client.post("/experiments/new/", body(version, **{"training.learning_rate": rate}))
    assert answer.status_code == 400
    assert 'id="id_training.learning_rate_error"' in answer.content.decode()


def test_too_little_history_is_said_beside_the_candles(client, alice):
    short = factories.make_version(alice.first_workspace())
    answer = client.post("/experiments/new/", body(short))
    assert answer.status_code == 400
    assert "usable bars" in answer.content.decode()
    assert not Experiment.objects.exists()


def test_the_spec_can_be_given_as_json(client, version):
    spec = preset("tiny").to_json()
    spec["training"]["epochs"] = 5
    client.post("/experiments/new/", body(version, spec_json=json.dumps(spec)))
    assert Experiment.objects.get().model_spec.training.epochs == 5


def test_an_unknown_key_in_json_is_named_with_the_nearest_known_one(client, version):
    text = json.dumps({"training": {"learnig_rate": 0.1}})
    answer = client.post("/experiments/new/", body(version, spec_json=text))
    assert answer.status_code == 400
    assert "did you mean &quot;learning_rate&quot;" in answer.content.decode()


@pytest.mark.parametrize("address", ["/experiments/new/", "/experiments/estimate/"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 250_000, "nested deeper than 64 levels"),
        ('{"target": {}, "target": {}}', "occurs twice"),
        ('{"training": {"learning_rate": NaN}}', "no JSON number"),
        ("[]", "found no object"),
    ],
)
def test_json_that_no_spec_can_be_read_from_is_refused_beside_its_field(
    client, version, address, text, said
):
    answer = client.post(address, body(version, spec_json=text))
    assert answer.status_code == (400 if address == "/experiments/new/" else 200)
    assert said in answer.content.decode()
    assert not Experiment.objects.exists()


def test_candles_of_another_workspace_cannot_be_chosen(client, version):
    foreign = factories.make_version(factories.make_user("charlie").first_workspace())
    answer = client.post("/experiments/new/", body(foreign))
    assert answer.status_code == 400
    assert "was not found" in answer.content.decode()


def test_the_form_offers_the_newest_candles_and_those_it_was_opened_for(
    client, version, monkeypatch
):
    monkeypatch.setattr(forms, "CHOICES_SHOWN", 1)
    older = factories.make_version(version.workspace, symbol="ETH/USDT")
    newest = factories.make_version(version.workspace, symbol="SOL/USDT")
    page = client.get(f"/experiments/new/?version={version.pk}").content.decode()
    assert f'<option value="{version.pk}" selected>' in page
    assert f'<option value="{newest.pk}">' in page
    assert f'<option value="{older.pk}"' not in page
    assert client.post("/experiments/new/", body(version)).status_code == 302


def test_a_choice_that_does_not_exist_is_named_with_those_that_do(client, version):
    page = client.post("/experiments/new/", body(version, **{"evaluation.scheme": "kfold"}))
    assert page.status_code == 400
    said = page.context["form"].errors["evaluation.scheme"][0]
    assert said == "found 'kfold'; expected one of: anchored, rolling, cpcv, single"


def test_the_estimate_answers_size_time_and_splits(client, version):
    page = client.post("/experiments/estimate/", body(version)).content.decode()
    assert "50\u2009662" in page
    assert page.count('class="r-test"') == 4 + 1
    assert not Experiment.objects.exists()


def test_the_estimate_says_what_is_wrong(client, version):
    answer = client.post("/experiments/estimate/", body(version, **{"network.heads": "7"}))
    assert answer.status_code == 200
    assert "heads must divide 32" in answer.content.decode()


def test_the_experiment_page_shows_what_was_changed_first(client, version):
    client.post("/experiments/new/", body(version, **{"training.epochs": "3"}))
    page = client.get(f"/experiments/{Experiment.objects.get().pk}/").content.decode()
    assert page.index("Epochs") < page.index("Feature set")
    assert "No run yet" in page


def test_a_clone_opens_with_the_values_of_its_source(client, version):
    client.post("/experiments/new/", body(version, **{"training.epochs": "3"}))
    source = Experiment.objects.get()
    page = client.get(f"/experiments/new/?from={source.pk}").content.decode()
    assert 'value="First (copy)"' in page
    assert 'name="training.epochs" value="3"' in page


def test_launch_starts_a_run_once_for_a_key(client, version):
    client.post("/experiments/new/", body(version))
    address = f"/experiments/{Experiment.objects.get().pk}/launch/"
    first, second = client.post(address, {"key": "k"}), client.post(address, {"key": "k"})
    assert first.headers["Location"] == second.headers["Location"]
    assert TrainingRun.objects.count() == 1


def test_a_full_queue_is_said_on_the_page(client, version, settings):
    settings.JOBS_QUEUED_TRAININGS = 1
    client.post("/experiments/new/", body(version, action="launch"))
    address = f"/experiments/{Experiment.objects.get().pk}/launch/"
    answer = client.post(address, {"key": "two"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert "the limit is 1" in answer.content.decode()
    assert TrainingRun.objects.count() == 1


def test_a_full_queue_keeps_the_experiment_that_was_to_be_launched(client, version, settings):
    settings.JOBS_QUEUED_TRAININGS = 0
    answer = client.post("/experiments/new/", body(version, action="launch"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    assert f"/experiments/{Experiment.objects.get().pk}/launch/" in answer.content.decode()


def test_a_hostile_name_is_shown_as_text(client, version):
    name = "<script>alert(1)</script>{{7*7}}"
    client.post("/experiments/new/", body(version) | {"name": name})
    experiment = Experiment.objects.get()
    for address in ("/experiments/", f"/experiments/{experiment.pk}/"):
        page = client.get(address).content.decode()
        assert "<script>alert" not in page
        assert "{{7*7}}" in page


def test_a_viewer_can_look_but_not_launch(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    client.force_login(factories.make_user("bob", experiment.workspace, Role.VIEWER))
    page = client.get(f"/experiments/{experiment.pk}/").content.decode()
    assert "Launch</button>" not in page
    assert client.post(f"/experiments/{experiment.pk}/launch/").status_code == 403
    assert client.get("/experiments/new/").status_code == 403
    assert not Job.objects.filter(kind="training").exists()


def test_a_stranger_gets_404(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    client.force_login(factories.make_user("charlie"))
    assert client.get(f"/experiments/{experiment.pk}/").status_code == 404
    assert client.post(f"/experiments/{experiment.pk}/launch/").status_code == 404
    assert client.get(f"/experiments/new/?from={experiment.pk}").status_code == 404


def test_the_page_of_an_experiment_draws_its_splits(client, version):
    client.post("/experiments/new/", body(version, **{"evaluation.scheme": "cpcv"}))
    experiment = Experiment.objects.get()
    page = client.get(f"/experiments/{experiment.pk}/").content.decode()
    assert page.count('class="row-line"') == 28 and 'class="ribbon dense"' in page


def test_an_experiment_whose_candles_would_not_do_any_more_has_a_page_all_the_same(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    page = client.get(f"/experiments/{experiment.pk}/")
    assert page.status_code == 200 and "row-line" not in page.content.decode()


def test_settings_with_named_choices_are_shown_by_their_names(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    page = client.get(f"/experiments/{experiment.pk}/").content.decode()
    for value, name in (("scaled_return", "Scaled return"), ("basic-15", "15 basic features")):
        assert f"<td>{name}</td>" in page
        assert f"<td>{value}</td>" not in page


def test_a_clone_names_the_choice_that_differs(client, alice, version):
    source = factories.make_experiment(alice.first_workspace(), version)
    sent = body(version, **{"from": source.pk, "target.action_target": "triple_barrier"})
    page = client.post("/experiments/new/", sent | {"action": "validate"}).content.decode()
    assert "<td>Scaled return</td><td><strong>Triple barrier</strong></td>" in page


def test_the_form_tells_what_a_named_feature_set_holds(client, version):
    page = client.get("/experiments/new/").content.decode()
    assert "basic-15: 15 basic features; all-67: all 67 features." in page


def ladder_of(client, experiment):
    """The table of the baseline ladder: its heads, then its rows with their cells as text."""
    page = client.get(f"/experiments/{experiment.pk}/").content.decode()
    section = page.partition('aria-labelledby="ladder">')[2].partition("</section>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in section.split("<tr>")[1:]]
    return section, [[re.sub("<[^>]*>", " ", cell).strip() for cell in row] for row in rows]


def test_the_page_shows_the_ladder_of_the_newest_run_that_succeeded(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    factories.make_run(experiment, seed=0)
    newest = factories.make_run(experiment, seed=1)
    factories.make_run(experiment, seed=2, status=JobStatus.FAILED)
    section, rows = ladder_of(client, experiment)
    assert f'<a href="/runs/{newest.pk}/#ladder">seed 1</a>' in section
    assert [row[0].split()[0] for row in rows] == ["Rung", "This", "Prior", "Logistic"]


def test_the_page_shows_the_ladder_of_the_mean_prediction_over_several_seeds(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    runs = [factories.make_run(experiment, seed=seed) for seed in range(2)]
    action = {
        "metric": "rank_ic",
        "word": "ties",
        "rung": "logistic",
        "sentence": "Not better.",
        "rungs": {"logistic": {"value": 0.031}, "last_sign": {"value": -0.01}},
    }
    factories.make_seed_verdict(*runs, heads={"action": action}, missing={"dlinear": "seed 1: no"})
    section, rows = ladder_of(client, experiment)
    assert '<a href="#seeds">mean prediction over 2 seeds</a>' in section
    assert rows == [
        ["Rung", "Action: Rank IC"],
        ["Mean prediction", "0.020"],
        ["Last sign", "−0.010"],
        ["Logistic regression", "0.031   Best rung"],
        ["DLinear  seed 1: no", "—"],
    ]


def test_an_experiment_without_a_finished_run_has_no_ladder_yet(client, alice):
    experiment = factories.make_experiment(alice.first_workspace())
    factories.make_run(experiment, status=JobStatus.RUNNING)
    assert ladder_of(client, experiment) == ("", [])
