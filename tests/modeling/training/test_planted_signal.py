"""From candles to out-of-sample outputs: a signal that is there is found, and none is made up."""

from __future__ import annotations

import dataclasses
from functools import cache, partial

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from markets.candles.synthetic import planted_market
from modeling.baselines.last_sign import last_sign
from modeling.baselines.logistic import fit_logistic
from modeling.baselines.rungs import RungLabels, trade_pays
from modeling.evaluation.calibration import fit_calibrator
from modeling.evaluation.cases import Priors, Scoring
from modeling.evaluation.heads import judge_heads
from modeling.evaluation.intervals import Interval, auc_interval
from modeling.evaluation.metrics import calibration_error, pearson_ic
from modeling.presets import PRESETS
from modeling.specs import EvaluationSpec, ModelSpec, WindowSpec
from modeling.windows.make import Windows
from modeling.windows.targets import Labels
from tests.modeling.training.walks import Walk, walk, windows_of

HORIZON, COST_BPS = 12, 10
SEEDS = (0, 1, 2)
SHUFFLES = 20
Floats = NDArray[np.float64]


def tiny(**windows: object) -> ModelSpec:
    """The preset on one cut of all candles."""
    spec = PRESETS["tiny"]
    cut = WindowSpec.parse({**spec.windows.to_json(), **windows})
    evaluation = EvaluationSpec(scheme="single")
    return spec.model_copy(update={"evaluation": evaluation, "windows": cut})


def market(bars: int, information_coefficient: float) -> tuple[Windows, Floats]:
    """Windows of a made-up market, and the planted feature of each of its bars."""
    made = planted_market(
        bars=bars,
        information_coefficient=information_coefficient,
        horizon_bars=HORIZON,
        seed=0,
    )
    return windows_of(made.candles, tiny()), made.signal


def logistic_action(found: Walk) -> Floats:
    """The action of the logistic rung on the test block."""
    features, labels = found.fold.scaled[1].astype(float), found.fold.labels
    bars, test = found.task.fit_bars, found.windows.bars(found.fold.fold.test)
    known = RungLabels(
        labels.realised_return[bars],
        labels.regime[bars].astype(np.int64),
        labels.risk[bars].astype(np.int64),
        labels.log_volatility[bars],
    )
    return fit_logistic(features[bars], known, cost_bps=COST_BPS).predict(features[test]).action


def action_verdict(ours: Floats, realised: Floats, rung: Floats) -> str:
    """The word of the action head against one rung."""
    rows = len(ours)
    nothing = Priors(np.full((rows, 4), 0.25), np.full((rows, 3), 1 / 3), np.full(rows, 0.5))
    scoring = Scoring(
        priors=nothing,
        cost_bps=COST_BPS,
        horizon_bars=HORIZON,
        effective=rows / HORIZON,
        draws=500,
        seed=0,
    )
    table = {"open_at": np.arange(rows), "action": ours, "realised_return": realised}
    return str(judge_heads(table, {"rung": {"action": rung}}, scoring)[1]["action"]["word"])


def direction_auc(action: Floats, realised: Floats, name: str) -> tuple[float, Interval]:
    """The AUC and its 95 % block-bootstrap interval; printed for whoever runs with -s."""
    value, found = auc_interval(action, realised, horizon_bars=HORIZON, draws=500, seed=0)
    assert found is not None
    print(f"{name}: AUC {value:.4f}, 95 % interval {found[0]:.4f} to {found[1]:.4f}")
    return value, found


@pytest.mark.slow
@pytest.mark.timeout(900)  # three trainings of the whole preset: 40 s alone, minutes beside others
def test_planted_signal_is_found_out_of_sample() -> None:
    """Of 40 000 bars; the correlation with the return is compared with that of the signal itself."""
    windows, signal = market(40_000, 0.30)
    walks = [walk(windows, tiny(), seed=seed) for seed in SEEDS]
    test = windows.bars(walks[0].fold.fold.test)
    realised = windows.raw.realised_return[test]
    possible = float(pearson_ic(signal[test], realised))
    actions = [each.predicted("test").action for each in walks]
    reached = [float(pearson_ic(action, realised)) / possible for action in actions]
    rung = logistic_action(walks[0])
    linear = float(pearson_ic(rung, realised)) / possible
    print(f"planted: {possible:.4f} possible; reached {reached}, logistic {linear:.4f}")
    assert 0.25 < possible < 0.35
    assert np.mean(reached) >= 0.9
    assert linear >= 0.9
    mean_action = np.mean(actions, axis=0)
    value, (low, high) = direction_auc(mean_action, realised, "planted signal")
    assert value == pytest.approx(roc_auc_score(realised > 0, mean_action), abs=2e-3)
    assert 0.5 < low < value < high
    blind = last_sign(windows.returns, test)
    assert action_verdict(mean_action, realised, blind) == "beats"
    # A rung that finds nearly all there is cannot be beaten.
    assert action_verdict(mean_action, realised, rung) != "beats"


@pytest.mark.slow
def test_market_without_signal_is_not_foretold() -> None:
    windows, _ = market(20_000, 0.0)
    found = walk(windows, tiny())
    test = windows.bars(found.fold.fold.test)
    action, realised = found.predicted("test").action, windows.raw.realised_return[test]
    _, (low, high) = direction_auc(action, realised, "no signal")
    assert low < 0.5 < high
    assert action_verdict(action, realised, last_sign(windows.returns, test)) != "beats"
    assert action_verdict(action, realised, logistic_action(found)) != "beats"


def shuffle(labels: Labels, seed: int) -> Labels:
    """The labels of all samples dealt out anew, each sample's own labels staying together."""
    known = np.flatnonzero(labels.valid)
    dealt = np.random.default_rng(seed).permutation(known)
    parts = {}
    for field in dataclasses.fields(labels):
        values = getattr(labels, field.name).copy()
        values[known] = values[dealt]
        parts[field.name] = values
    return Labels(**parts)


@cache
def shuffled_runs() -> list[tuple[Floats, Floats, Floats]]:
    """Action, realised return and calibrated confidence on the test block, by shuffle.

    The block has 10 734 bars: an interval drawn from few long blocks is too narrow, and a tenth of
    an honest market's intervals would then miss one half.
    """
    windows, _ = market(40_000, 0.30)
    found = []
    for seed in range(SHUFFLES):
        each = walk(windows, tiny(stride=32), seed=seed, relabel=partial(shuffle, seed=seed))
        seen, ahead = each.predicted("calibration"), each.predicted("test")
        realised = each.fold.labels.realised_return
        pays = trade_pays(seen.action, realised[seen.bars], COST_BPS)
        confidence = fit_calibrator(seen.confidence_raw, pays).apply(ahead.confidence_raw)
        found.append((ahead.action, realised[ahead.bars], confidence))
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shuffled_labels_are_not_foretold() -> None:
    runs = shuffled_runs()
    spans = [direction_auc(run[0], run[1], f"shuffle {n}")[1] for n, run in enumerate(runs)]
    assert sum(low < 0.5 < high for low, high in spans) >= 17
    action, realised = (np.concatenate([run[part] for run in runs]) for part in (0, 1))
    _, (low, high) = direction_auc(action, realised, "all shuffles")
    assert low < 0.5 < high


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_confidence_on_shuffled_labels_is_calibrated() -> None:
    action, realised, confidence = (
        np.concatenate([run[part] for run in shuffled_runs()]) for part in range(3)
    )
    error = float(calibration_error(confidence, trade_pays(action, realised, COST_BPS)))
    print(f"shuffled labels: calibration error {error:.4f} over {len(action)} rows")
    assert error < 0.05
