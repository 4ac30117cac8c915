"""From candles to predictions, twice: what comes after a bar never changes what was said at it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from markets.features.certificate import altered_after
from modeling.specs import ModelSpec
from modeling.training.predict import HeadOutputs
from tests.markets.features.market import quiet_market
from tests.modeling.training.walks import walk, windows_of

BARS = 9000
BATCH = 100
SPEC = ModelSpec.parse(
    {
        "features": {
            "feature_set": ["rsi_14", "vwap_dev_12", "rv_48", "ret_1", "ret_12", "tod_sin"],
            "select_top": 3,
            "scales": [1, 3, 6, 12],
        },
        "windows": {"context_bars": 32, "stride": 4},
        "network": {"d_model": 16, "heads": 2, "layers": 1, "d_ff": 32, "patch_bars": 5},
        "training": {"batch": 256, "learning_rate": 1e-2, "epochs": 1, "patience": 1},
        "evaluation": {"scheme": "single", "embargo_bars": 0, "holdout_fraction": 0},
    }
)
HEADS = ("action", "market_regime", "confidence_raw", "volatility", "risk")


@cache
def undisturbed() -> HeadOutputs:
    return walk(windows_of(quiet_market(BARS), SPEC), SPEC).predicted("predicted", batch=BATCH)


def bits(found: HeadOutputs, rows: NDArray[np.bool_]) -> list[bytes]:
    return [np.asarray(getattr(found, head)[rows]).tobytes() for head in HEADS]


@pytest.mark.parametrize("into_the_block", [0, 700, 707])
def test_candles_after_a_bar_leave_its_prediction_bit_equal(into_the_block: int) -> None:
    """At three phases of the coarse bars: features, selection, scalers, labels, weights, all anew."""
    before = undisturbed()
    t = int(before.bars[into_the_block])
    altered = altered_after(quiet_market(BARS), t, seed=1)
    after = walk(windows_of(altered, SPEC), SPEC).predicted("predicted", batch=BATCH)
    assert np.array_equal(after.bars, before.bars)
    past = before.bars <= t
    assert bits(after, past) == bits(before, past)
    assert not np.array_equal(after.action[~past], before.action[~past])


def test_every_complete_window_of_the_test_block_is_predicted_once() -> None:
    found = undisturbed()
    windows = windows_of(quiet_market(BARS), SPEC)
    complete = windows.samples.bar
    assert np.array_equal(found.bars, complete[complete >= found.bars[0]])
    assert len(found.bars) % BATCH > 0  # the last batch is smaller, and is there
    assert all(np.isfinite(getattr(found, head)).all() for head in HEADS)


def test_the_blocks_of_all_folds_hold_every_bar_of_the_path_once() -> None:
    evaluation = SPEC.evaluation.model_copy(update={"scheme": "anchored"})
    spec = SPEC.model_copy(update={"evaluation": evaluation})
    windows = windows_of(quiet_market(BARS), spec)
    predicted = np.concatenate([windows.bars(fold.predicted) for fold in windows.folds])
    complete = windows.samples.bar
    assert np.array_equal(predicted, complete[complete >= predicted[0]])
