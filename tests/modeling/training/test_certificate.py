"""The certificate of predictions: what passes, and which leaks between features and read-outs it names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from markets.candles.frame import Candles
from markets.features.certificate import altered_after
from modeling import fold_task
from modeling.evaluation.calibration import Calibrator
from modeling.evaluation.table import PREDICTED
from modeling.network.transformer import build_network
from modeling.specs import ModelSpec
from modeling.training import certificate
from modeling.training.certificate import PredictedBlock, certify_predictions
from modeling.training.predict import BATCH
from modeling.training.resident import ResidentWindows, Standard, Standards
from modeling.windows.learned import FoldFit, apply_fit, learn_from_fit
from modeling.windows.make import Windows, cut_windows
from modeling.working import WorkingFold
from tests.markets.features.market import quiet_market, without
from tests.modeling.training.walks import windows_of

GAP_AT, MISSING = 5_000, 7
EVERY_COLUMN = list(PREDICTED)
SPEC = ModelSpec.parse(
    {
        "features": {
            "feature_set": ["rsi_14", "vwap_dev_12", "rv_48", "ret_1", "ret_12", "tod_sin"],
            "select_top": 3,
            "scales": [1, 3, 6, 12],
        },
        "windows": {"context_bars": 32},
        "network": {"d_model": 16, "heads": 2, "layers": 1, "d_ff": 32, "patch_bars": 7},
        "evaluation": {"scheme": "single", "embargo_bars": 0, "holdout_fraction": 0},
    }
)


@pytest.fixture(scope="module")
def windows() -> Windows:
    candles = without(quiet_market(9_000), GAP_AT, GAP_AT + MISSING)
    return windows_of(candles, SPEC)


@pytest.fixture(scope="module")
def learned(windows) -> FoldFit:
    fit_bars = windows.bars(windows.folds[0].fit)
    return FoldFit.from_json(learn_from_fit(windows.parts, windows.raw, fit_bars, SPEC).to_json())


def working(learned: FoldFit) -> WorkingFold:
    """A network that never learned anything reads its windows all the same."""
    return WorkingFold(
        spec=SPEC,
        network=build_network(
            SPEC.network, features=3, context_bars=32, scales=(1, 3, 6, 12), seed=5
        ).eval(),
        precision="fp32",
        device=torch.device("cpu"),
        standards=Standards(Standard(-6.0, 0.5)),
        calibrator=Calibrator("platt", (1.3, -0.2)),
    )


def block_of(windows: Windows, learned: FoldFit, bars: np.ndarray) -> PredictedBlock:
    fold = working(learned)

    def again(other: Windows, at: np.ndarray):
        return fold.predict(other, apply_fit(other, learned), at, lambda: None)

    return PredictedBlock(windows, bars, again(windows, bars), again)


def predicted(windows: Windows) -> np.ndarray:
    return windows.bars(windows.folds[0].predicted)


def with_windows_that_read_one_bar_on(patch) -> None:
    real = ResidentWindows._cut

    def cut(self, scale, last, length):
        return real(
            self, scale, (last + (scale == 1)).clamp(max=len(self._rows[scale]) - 1), length
        )

    patch.setattr(ResidentWindows, "_cut", cut)


def with_coarse_bars_joined_at_their_open(*, bars_early: int) -> Callable[..., None]:
    """12-bar bars that are known so many base bars before they close."""

    def plant(patch) -> None:
        real = fold_task.ScaledBars

        def early(*, last_closed, **arrays):
            joined = last_closed[12].copy()
            joined[:-bars_early] = last_closed[12][bars_early:]
            return real(last_closed=last_closed | {12: joined}, **arrays)

        patch.setattr(fold_task, "ScaledBars", early)

    return plant


def with_read_outs_ranked_among_all_bars(patch) -> None:
    """Confidence by its place among everything that is predicted at once."""
    real = Calibrator.apply
    patch.setattr(Calibrator, "apply", lambda self, raw: real(self, raw) - raw.mean() / 10)


def test_predictions_that_know_nothing_later_pass_on_a_market_with_a_gap(windows, learned):
    bars = predicted(windows)
    found = certify_predictions(block_of(windows, learned, bars), SPEC, seed=4)
    assert found["passed"] and found["changed"] == []
    assert found["bars_tested"] >= min(BATCH, len(bars)) // 2
    assert found["altered_after_bar"] in bars
    assert json.loads(json.dumps(found)) == found
    assert certify_predictions(block_of(windows, learned, bars), SPEC, seed=4) == found


def test_the_bar_lies_just_before_the_close_of_every_coarse_bar(windows, learned):
    for seed in range(3):
        found = certify_predictions(block_of(windows, learned, predicted(windows)), SPEC, seed=seed)
        opens = windows.open_time[found["altered_after_bar"]]
        assert (opens // windows.bar_ns + 2) % 12 == 0


@pytest.mark.parametrize("after", [False, True], ids=["before the gap", "behind the gap"])
def test_predictions_beside_a_gap_are_bit_equal_with_another_future(windows, learned, after):
    bars = windows.samples.bar
    place = int(np.searchsorted(bars, GAP_AT)) - (not after)
    pair = bars[place : place + 2]  # the earlier of two bars is the only one to choose
    found = certify_predictions(block_of(windows, learned, pair), SPEC)
    assert (found["passed"], found["altered_after_bar"]) == (True, pair[0])
    assert pair[1] - pair[0] > 1 or after


@pytest.mark.parametrize(
    ("plant", "changed"),
    [
        (with_windows_that_read_one_bar_on, EVERY_COLUMN),
        (with_coarse_bars_joined_at_their_open(bars_early=11), EVERY_COLUMN),
        (with_coarse_bars_joined_at_their_open(bars_early=1), EVERY_COLUMN),
        (with_read_outs_ranked_among_all_bars, ["confidence"]),
    ],
    ids=["window", "coarse bar at its open", "coarse bar one bar early", "calibration"],
)
def test_a_leak_of_the_prediction_stage_is_named(windows, learned, monkeypatch, plant, changed):
    plant(monkeypatch)
    found = certify_predictions(block_of(windows, learned, predicted(windows)), SPEC, seed=1)
    assert not found["passed"]
    assert (found["future"], found["changed"]) == ("altered", changed)


def test_a_window_that_comes_and_goes_with_the_future_is_named(windows, learned, monkeypatch):
    def cut(candles: Candles, *rest):
        made = cut_windows(candles, *rest)
        samples = dataclasses.replace(made.samples, bar=made.samples.bar[:-13])
        return dataclasses.replace(made, samples=samples)

    monkeypatch.setattr(certificate, "cut_windows", cut)
    found = certify_predictions(block_of(windows, learned, predicted(windows)), SPEC)
    assert (found["passed"], found["future"], found["changed"]) == (False, "removed", ["bars"])


def test_predictions_behind_the_bar_do_change(windows, learned):
    """Without this the certificate would compare nothing."""
    block = block_of(windows, learned, predicted(windows))
    start, row = certificate._chosen(block, 0)
    other = altered_after(windows.only.candles, int(block.bars[start + row]) - 1, seed=1)
    assert certificate._changed(block, SPEC, other, start, row) == EVERY_COLUMN


def test_a_block_of_one_bar_is_refused(windows, learned):
    with pytest.raises(ValueError, match="found 1 predicted bars; expected at least 2"):
        certify_predictions(block_of(windows, learned, predicted(windows)[:1]), SPEC)
