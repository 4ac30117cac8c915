"""The equity verdict of whole runs: it finds skill that is there, and none where there is none."""

from __future__ import annotations

import pytest

from backtests.models import Backtest
from backtests.specs import ExperimentSpec
from markets.candles.frame import Candles
from tests import factories
from tests.backtests import markets
from tests.path import finished_backtest, finished_run, make_people, quick_spec

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.timeout(900)]

SINGLE = {"scheme": "single", "embargo_bars": 48, "holdout_fraction": 0.0, "bootstrap_draws": 500}
UNLEARNED = ("flat", "buy_and_hold", "last_sign", "ma_cross", "macd", "rsi")
LEARNED = ("logistic", "gradient_boosting", "dlinear")


def judged(candles: Candles, spec: ExperimentSpec) -> Backtest:
    """The own backtest of a whole run on these candles."""
    user, workspace = make_people()
    version = factories.make_version(workspace, candles=candles)
    run = finished_run(user, version, spec)
    assert not run.leak_alarm["raised"]
    found = finished_backtest(run)
    verdict = found.report["verdict"]
    print(
        f"{verdict['word']}: best rung {verdict['best_rung']}, {verdict['days']} days, "
        f"{verdict['closed_trades']} trades, net {found.net_return:+.3f}"
    )
    for each in verdict["comparisons"]:
        print(f"  {each['rung']}: {each['word']} [{each['low']:+.5f}, {each['high']:+.5f}]")
    print(f"  heads: { {head: each['word'] for head, each in run.verdict.items()} }")
    return found


def spec_of(**parts: dict[str, object]) -> ExperimentSpec:
    base: dict[str, dict[str, object]] = {
        "evaluation": SINGLE,
        "features": {"scales": [1]},
        "windows": {"horizon_bars": 2},
        "network": {"multi_scale": False},
        "target": {"regime_bars": 12},
        "backtest": {"policy": {"side": "long_short"}},
    }
    merged = {name: {**base.get(name, {}), **parts.get(name, {})} for name in {**base, **parts}}
    return quick_spec(**merged)


def words_of(row: Backtest) -> dict[str, str]:
    return {each["rung"]: each["word"] for each in row.report["verdict"]["comparisons"]}


def small(epochs: int) -> ExperimentSpec:
    """A network that sees eight bars of two features; learned in seconds."""
    return spec_of(
        features={"feature_set": ["volume_z_48", "ret_1"]},
        windows={"context_bars": 8},
        network={"dropout": 0.0, "adaptive_dropout": False},
        training={"epochs": epochs, "patience": epochs, "batch": 64, "learning_rate": 3e-3},
    )


def test_a_planted_signal_beats_buy_and_hold_and_every_rung_that_learns_nothing() -> None:
    """Its feature is known at the last bar, so learned rungs read it as well: one of them is the best
    rung, and the headline, which compares with that, says that the network is not better. The signal
    lasts for hours: MACD, which follows the drift it makes, reads a part of it.
    """
    candles = markets.planted(16_000, information_coefficient=0.3, horizon_bars=2, seed=0)
    found = judged(candles, small(6))
    words = words_of(found)
    blind = [rung for rung in UNLEARNED if rung != "macd"]
    assert {rung: words[rung] for rung in blind} == dict.fromkeys(blind, "beats")
    assert words["macd"] != "loses"
    assert found.report["verdict"]["best_rung"] in LEARNED
    assert found.verdict == "ties"
    action = found.run.verdict["action"]
    assert (action["rung"], action["word"]) == ("logistic", "ties")
    assert action["rungs"]["last_sign"]["word"] == "beats"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_signal_that_only_the_network_can_read_beats_the_best_rung(seed: int) -> None:
    """The planted market that the word `beats` is asked on, see docs/decisions/0040."""
    found = judged(markets.hidden(16_000, strength=0.45, seed=seed), small(14))
    assert found.verdict == found.run.verdict["action"]["word"] == "beats"
    assert words_of(found) == dict.fromkeys((*UNLEARNED, *LEARNED), "beats")


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_never_said_to_beat_anything(seed: int) -> None:
    found = judged(markets.noise(7_200, seed), spec_of(training={"epochs": 2}))
    assert found.verdict in ("ties", "loses")
    assert found.run.verdict["action"]["word"] != "beats"
