"""Which verdict the list of experiments shows: that over the seeds, else the best of the single runs."""

import re

import pytest

from backtests.models import Backtest
from modeling.models import TrainingRun
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("signed_in")]


@pytest.fixture
def experiment(alice):
    return factories.make_experiment(alice.first_workspace())


def backtested(experiment, seed, verdict, sharpe):
    row = factories.make_backtest(factories.make_run(experiment, seed=seed), verdict=verdict)
    Backtest.objects.filter(pk=row.pk).update(sharpe=sharpe)
    return row.run


def shown(client):
    """Verdict and Sharpe ratio of the first row, as text."""
    page = client.get("/experiments/").content.decode()
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    return [re.sub("<[^>]*>", " ", cell).split("[")[0].strip() for cell in cells[5:7]]


def test_a_verdict_counts_more_than_a_higher_sharpe_ratio(client, experiment):
    backtested(experiment, 0, "ties", 2.0)
    backtested(experiment, 1, "beats", 1.0)
    backtested(experiment, 2, "loses", 3.0)
    assert shown(client) == ["Beats", "1.00"]


def test_of_equal_verdicts_the_highest_sharpe_ratio_is_shown_and_none_comes_last(
    client, experiment
):
    backtested(experiment, 0, "ties", 0.5)
    backtested(experiment, 1, "ties", 0.7)
    backtested(experiment, 2, "ties", None)
    assert shown(client) == ["Not better", "0.70"]


@pytest.mark.parametrize(("word", "label"), [("undecided", "Undecided"), ("withheld", "Withheld")])
def test_a_verdict_without_a_sharpe_ratio_is_shown(client, experiment, word, label):
    backtested(experiment, 0, word, None)
    assert shown(client) == [label, "—"]


def test_a_loss_is_shown_before_what_is_undecided_and_that_before_what_is_withheld(
    client, experiment
):
    backtested(experiment, 0, "withheld", 3.0)
    assert shown(client) == ["Withheld", "3.00"]
    backtested(experiment, 1, "undecided", 2.0)
    assert shown(client) == ["Undecided", "2.00"]
    backtested(experiment, 2, "loses", -1.0)
    assert shown(client) == ["Loses", "−1.00"]


def test_the_verdict_over_the_seeds_stands_before_the_best_single_run(client, experiment):
    runs = [backtested(experiment, seed, "beats", 2.0) for seed in range(3)]
    factories.make_seed_verdict(*runs)
    factories.make_seed_verdict(*runs[:2], equity={"verdict": {"word": "loses"}})
    assert [" ".join(text.split()) for text in shown(client)] == [
        "Not better mean of 3 seeds",
        "0.40",
    ]


def test_without_an_account_of_the_mean_the_best_single_run_is_shown(client, experiment):
    runs = [backtested(experiment, seed, "beats", 2.0) for seed in range(2)]
    factories.make_seed_verdict(*runs, equity={"reason": "other candles"})
    assert shown(client) == ["Beats", "2.00"]


def test_an_alarm_of_the_mean_or_of_one_of_its_runs_withholds_the_verdict_over_the_seeds(
    client, experiment
):
    runs = [backtested(experiment, seed, "beats", 2.0) for seed in range(2)]
    row = factories.make_seed_verdict(*runs, leak_alarm={"raised": True})
    assert shown(client)[0].startswith("Withheld")
    row.alarm_explanation = "No leak."
    row.save()
    assert shown(client)[0].startswith("Not better")
    TrainingRun.objects.filter(pk=runs[1].pk).update(leak_alarm={"raised": True})
    assert shown(client)[0].startswith("Withheld")
