"""A span that nobody will have predicted is refused at once: by API and form, of backtest and experiment."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from backtests.forms import shown_values
from backtests.models import Backtest
from backtests.presets import preset
from backtests.services import create_experiment, estimate
from backtests.spans import require_within
from backtests.specs import BacktestSpec, ExperimentSpec, SpanSpec
from backtests.studies import plan_study
from jobs.models import Job
from markets.candles.synthetic import synthetic_candles
from modeling.models import Experiment
from tests import factories
from tests.api import bearer, refusal
from tests.registry import make_model, make_prediction

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def run(alice):
    return factories.make_run(factories.make_experiment(alice.first_workspace()))


def text(at):
    return f"{at:%Y-%m-%d %H:%M} UTC"


def ask(user, stored, span):
    body = {"name": "Part", "source": {"predictions": stored.pk}, "spec": {"span": span}}
    return bearer(user).post("/api/backtests/", body, format="json")


@pytest.mark.parametrize(("end", "hours"), [("from_at", -1), ("to_at", 1)])
def test_a_span_beyond_the_predictions_is_refused_with_what_is_predicted(
    client, alice, run, end, hours
):
    stored = run.prediction_sets.get()
    first, last = stored.first_at, stored.last_at + stored.bar
    wider = {"from_at": first, "to_at": last}[end] + timedelta(hours=hours)
    fields = refusal(ask(alice, stored, {end: wider.isoformat()}), 400)["fields"]
    for words in (f"found {text(wider)}", f"{text(first)} to {text(last)}", "leave it empty"):
        assert words in fields[f"span.{end}"]
    sent = {"predictions": stored.pk, "name": "Part", f"span.{end}": f"{wider:%Y-%m-%dT%H:%M}"}
    page = client.post("/backtests/new/", sent)
    assert page.status_code == 400
    assert f"found {text(wider)}" in page.content.decode()
    assert not Backtest.objects.exists()
    assert not Job.objects.filter(kind="backtest").exists()


def test_a_span_as_wide_as_the_predictions_is_queued(alice, run):
    stored = run.prediction_sets.get()
    span = {
        "from_at": stored.first_at.isoformat(),
        "to_at": (stored.last_at + stored.bar).isoformat(),
    }
    assert ask(alice, stored, span).status_code == 202


def test_a_span_that_holds_no_candle_is_refused(alice, run):
    stored = run.prediction_sets.get()
    begin = stored.first_at + timedelta(minutes=10)
    span = {"from_at": begin.isoformat(), "to_at": (begin + timedelta(minutes=20)).isoformat()}
    fields = refusal(ask(alice, stored, span), 400)["fields"]
    assert f"found no candle from {text(begin)}" in fields["span.to_at"]


def test_of_a_registered_model_only_what_is_out_of_sample_may_be_asked_for(alice, run):
    other = factories.make_version(run.workspace, symbol="ETH/USDT")
    later = make_prediction(make_model(run), other)
    stored, start = later.predictions, later.model.out_of_sample_from
    assert stored.first_at < start
    fields = refusal(ask(alice, stored, {"from_at": stored.first_at.isoformat()}), 400)["fields"]
    assert text(start - other.bar) in fields["span.from_at"]
    assert ask(alice, stored, {"from_at": start.isoformat()}).status_code == 202


def test_of_a_damaged_file_the_job_tells(run):
    stored = run.prediction_sets.get()
    stored.file.key = "gone"
    span = SpanSpec(from_at=stored.first_at - timedelta(days=1))
    require_within(span, stored, stored.version, None)


@pytest.fixture
def version(alice):
    return factories.make_version(alice.first_workspace(), candles=synthetic_candles(days=90))


def planned(version):
    """From when to when an experiment of the preset `tiny` will predict, and a span one bar wider."""
    found = estimate(preset("tiny"), [version])
    tested = datetime.fromisoformat(found["splits"][0]["slices"]["test"]["from_at"])
    first, end = tested - version.bar, found["holdout_at"]
    return first, end, {"from_at": first - version.bar, "to_at": end + version.bar}


def with_span(**span):
    return ExperimentSpec.parse(preset("tiny").to_json() | {"backtest": {"span": span}})


@pytest.mark.parametrize("end", ["from_at", "to_at"])
def test_an_experiment_is_not_made_with_a_span_that_no_fold_will_predict(
    client, alice, version, end
):
    first, last, wider = planned(version)
    named = {"dataset": version.dataset_id, "version": version.number}
    spec = {"backtest": {"span": {end: wider[end].isoformat()}}}
    body = {"name": "A", "datasets": [named], "preset": "tiny", "spec": spec}
    for path in ("/api/experiments/", "/api/experiments/estimate/"):
        fields = refusal(bearer(alice).post(path, body, format="json"), 400)["fields"]
        assert f"{text(first)} to {text(last)}" in fields[f"backtest.span.{end}"]
    values = shown_values(with_span(**{end: wider[end]}))
    form = {name: value for name, value in values.items() if value is not False}
    page = client.post("/experiments/new/", form | {"name": "A", "datasets": [version.pk]})
    assert page.status_code == 400
    assert f"found {text(wider[end])}" in page.content.decode()
    assert not Experiment.objects.exists()


def test_an_experiment_may_have_a_span_as_wide_as_its_test_blocks(alice, version):
    first, last, _ = planned(version)
    spec = with_span(from_at=first, to_at=last)
    made = create_experiment(
        workspace=version.workspace, user=alice, name="A", versions=[version], spec=spec
    )
    assert BacktestSpec.parse(made.backtest_spec).span == spec.backtest.span


def test_a_variant_that_would_not_predict_the_span_stands_in_its_study_with_the_reason(
    alice, version
):
    """A longer context has its first prediction later."""
    first, _, _ = planned(version)
    made = create_experiment(
        workspace=version.workspace,
        user=alice,
        name="A",
        versions=[version],
        spec=with_span(from_at=first),
    )
    base, longer = plan_study(made, [0], ["context_250"])
    assert base.spec is not None
    assert longer.spec is None
    assert "backtest.span.from_at: found" in longer.reason
