import json
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from backtests import form_page
from backtests.presets import preset
from backtests.services import estimate
from jobs.models import JobAttempt
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment
from modeling.presets import PRESETS
from modeling.specs import EvaluationSpec
from modeling.spent import spent_rows
from modeling.windows.cpcv import SPLITS
from tests import factories
from tests.backtests.test_experiment_views import body

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def version(alice):
    return factories.make_version(alice.first_workspace(), candles=synthetic_candles(days=90))


def test_every_preset_has_a_card_with_size_and_time_here(client, version):
    cards = form_page.preset_cards([version])
    assert [card["name"] for card in cards] == list(PRESETS)
    assert cards[0]["cost"]["parameters"] == 50_662
    page = client.get("/experiments/new/").content.decode()
    assert "50\u2009662 parameters" in page


def test_a_preset_that_needs_more_candles_says_so(client, alice):
    factories.make_version(alice.first_workspace())
    page = client.get("/experiments/new/").content.decode()
    assert "Not on these candles: " in page
    assert "usable bars" in page


def test_the_ribbon_is_true_to_scale(version):
    spec = preset("tiny")
    found = estimate(spec, [version])
    ribbon = form_page.split_ribbon(found, spec, [version])
    whole = (version.last_at + version.bar - version.first_at) / version.bar
    first = ribbon["folds"][0]["parts"]
    purges = [part["width"] for part in first if part["kind"] == "purge"]
    assert purges == pytest.approx([100 * 48 / whole] * 3, rel=1e-6)
    before_test = [part["width"] for part in first if part["kind"] == "embargo"][-1]
    assert before_test == pytest.approx(100 * 288 / whole, rel=0.02)
    assert ribbon["purge_bars"] == 48
    end = ribbon["holdout"]["left"] + ribbon["holdout"]["width"]
    assert end == pytest.approx(100)


def test_the_ribbon_spans_the_bars_that_are_used_and_no_others(version):
    from_at, to_at = version.first_at + timedelta(days=10), version.last_at - timedelta(days=10)
    spec = preset("tiny")
    data = spec.data.model_copy(update={"from_at": from_at, "to_at": to_at})
    spec = spec.model_copy(update={"data": data})
    ribbon = form_page.split_ribbon(estimate(spec, [version]), spec, [version])
    assert (ribbon["first_at"], ribbon["last_at"]) == (from_at, to_at - version.bar)
    assert ribbon["holdout"]["width"] == pytest.approx(100 * 0.15, abs=0.1)


def test_a_gap_outside_the_bars_that_are_used_is_not_in_the_ribbon(alice):
    holed = factories.make_version(alice.first_workspace())
    long = factories.make_version(
        alice.first_workspace(), symbol="ETH/USDT", candles=synthetic_candles(days=90)
    )
    spec = preset("tiny")
    found = estimate(spec, [long])
    [gap] = holed.report["largest_gaps"]
    behind = datetime.fromisoformat(gap["after"]) + (1 + gap["missing_bars"]) * holed.bar
    late = spec.data.model_copy(update={"from_at": behind})
    ribbon = form_page.split_ribbon(found, spec.model_copy(update={"data": late}), [holed])
    assert ribbon["gaps"] == []


def test_gaps_are_parts_of_the_ribbon(alice):
    spec = preset("tiny")
    holed = factories.make_version(alice.first_workspace())
    long = factories.make_version(
        alice.first_workspace(), symbol="ETH/USDT", candles=synthetic_candles(days=90)
    )
    found = estimate(spec, [long])
    assert len(form_page.split_ribbon(found, spec, [holed])["gaps"]) == holed.gap_count == 1
    assert form_page.split_ribbon(found, spec, [long])["gaps"] == []


def test_memory_over_what_is_free_is_a_warning_with_what_to_do(client, version, monkeypatch):
    assert (
        "Use a smaller batch"
        not in client.post("/experiments/estimate/", body(version)).content.decode()
    )
    monkeypatch.setattr(form_page, "free_mib", lambda: 64.0)
    page = client.post("/experiments/estimate/", body(version)).content.decode()
    assert "64 MiB free here. Use a smaller batch" in page


@pytest.mark.parametrize(
    ("epochs", "said"),
    [("2", "A fold runs 2 epochs."), ("1", "A fold runs 1 epoch."), ("6", "after 3 to 6 epochs.")],
)
def test_the_panel_says_how_many_epochs_a_fold_runs(client, version, epochs, said):
    sent = body(version, **{"training.epochs": epochs})
    assert said in client.post("/experiments/estimate/", sent).content.decode()


def test_more_than_the_quota_is_said_in_the_panel(client, version, settings):
    settings.QUOTA_EPOCHS = 5
    page = client.post("/experiments/estimate/", body(version)).content.decode()
    assert "expected at most 5 in this workspace" in page


def test_validating_saves_nothing_and_shows_the_cost(client, version):
    answer = client.post("/experiments/new/", body(version, action="validate"))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "Every field is valid; nothing was saved." in page
    assert "Trials so far" in page
    assert 'class="r-embargo"' in page
    assert not Experiment.objects.exists()
    wrong = body(version, action="validate", **{"network.heads": "7"})
    assert client.post("/experiments/new/", wrong).status_code == 400


@pytest.fixture
def source(client, version):
    client.post("/experiments/new/", body(version))
    return Experiment.objects.get()


def test_a_clone_shows_its_difference_before_launch(client, version, source):
    page = client.get(f"/experiments/new/?from={source.pk}").content.decode()
    assert "No setting differs from the source yet" in page
    sent = body(version, **{"from": source.pk, "training.epochs": "9"})
    fragment = client.post("/experiments/estimate/", sent).content.decode()
    assert 'id="clone-difference"' in fragment
    assert "<td>6</td><td><strong>9</strong></td>" in fragment
    assert fragment.count("<tr>") == 2


def test_a_clone_with_errors_comes_back_with_its_difference(client, version, source):
    sent = body(version, **{"from": source.pk, "network.heads": "7"})
    answer = client.post("/experiments/new/", sent)
    page = answer.content.decode()
    assert answer.status_code == 400
    assert f'name="from" value="{source.pk}"' in page
    assert "<td>4</td><td><strong>7</strong></td>" in page


def test_a_saved_clone_says_what_it_was_cloned_from(client, version, source):
    sent = body(version, key="two", **{"from": source.pk, "training.epochs": "9"})
    page = client.post("/experiments/new/", sent, follow=True).content.decode()
    assert "Cloned from First: 1 setting differs." in page


def test_a_spec_as_json_is_compared_with_the_source_too(client, version, source):
    spec = preset("tiny").to_json()
    spec["training"]["epochs"] = 9
    sent = body(version, spec_json=json.dumps(spec), **{"from": source.pk})
    fragment = client.post("/experiments/estimate/", sent).content.decode()
    assert "<td>6</td><td><strong>9</strong></td>" in fragment


def test_the_source_of_somebody_else_is_404(client, version):
    stranger = factories.make_user("charlie").first_workspace()
    foreign = factories.make_experiment(stranger)
    sent = body(version, **{"from": foreign.pk})
    assert client.post("/experiments/new/", sent).status_code == 404
    assert client.post("/experiments/estimate/", sent).status_code == 404
    assert not Experiment.objects.filter(workspace=version.workspace).exists()


def test_a_finished_run_shows_estimate_and_actual(client, version, django_assert_max_num_queries):
    run = factories.make_run(factories.make_experiment(version.workspace, version))
    JobAttempt.objects.filter(job=run.job).update(peak_memory_mib=712)
    time, memory = spent_rows(run, run.job.last_attempt)
    assert time["low"] < time["high"]
    assert timedelta(seconds=time["actual"]) == run.job.duration
    assert memory["actual"] == 712
    with django_assert_max_num_queries(15):
        client.get(f"/runs/{run.pk}/")
    assert "Estimate and actual" in client.get(f"/runs/{run.pk}/").content.decode()


def test_the_ribbon_of_28_splits_is_drawn_thin_and_sums_up(client, version):
    sent = body(version, **{"evaluation.scheme": "cpcv"})
    page = client.post("/experiments/estimate/", sent).content.decode()
    assert 'class="ribbon dense"' in page
    assert page.count('class="row-line"') == 28
    assert "Each of 28 splits tests two of eight groups" in page
    assert len(page) < 150_000


def test_a_block_between_training_parts_has_purge_and_embargo_on_both_sides(version):
    spec = preset("tiny").model_copy(update={"evaluation": EvaluationSpec(scheme="cpcv")})
    found = estimate(spec, [version])
    assert found["folds"] == 28
    ribbon = form_page.split_ribbon(found, spec, [version])
    split = ribbon["folds"][SPLITS.index((3, 6))]["parts"]
    whole = (version.last_at + version.bar - version.first_at) / version.bar
    bar = 100 / whole
    tests = [place for place, part in enumerate(split) if part["kind"] == "test"]
    assert len(tests) == 2
    for place in tests:
        kinds = [part["kind"] for part in split[place - 2 : place + 3]]
        assert kinds == ["embargo", "purge", "test", "purge", "embargo"]
        widths = [part["width"] for part in split[place - 2 : place + 3]]
        assert widths[1] == widths[3] == pytest.approx(48 * bar, rel=1e-6)
        assert widths[0] == widths[4] == pytest.approx(288 * bar, rel=0.02)
    for part, following in pairwise(split):
        assert part["left"] + part["width"] == pytest.approx(following["left"], abs=2 * bar)
