"""What a run says of its rungs: scores on all folds or a reason, and the intervals that were drawn."""

from types import SimpleNamespace

import numpy as np
import pytest

from modeling.evaluation.table import PREDICTED
from modeling.judging import LONGEST_REASON, judge
from modeling.specs import ModelSpec
from tests.modeling.evaluation.test_heads import prediction_table

SPEC = ModelSpec.parse({"evaluation": {"bootstrap_draws": 100}})
ROWS = 1200


def table(skill, seed, *heads):
    """Predictions of the given heads, or of all."""
    found = prediction_table(rows=ROWS, skill=skill, noise_seed=seed)
    found["confidence_raw"] = found["confidence"]
    for name in PREDICTED:
        if heads and not name.startswith(heads):
            found[name] = np.full(ROWS, np.nan)
    return found


def prior():
    found = table(0, 9, "regime", "confidence", "risk")
    for name in PREDICTED:
        if name.startswith(("regime", "risk")):
            found[name] = np.full(ROWS, 0.25 if name.startswith("regime") else 1 / 3)
    return found | {"confidence": np.full(ROWS, 0.3)}


def fold(number, *, failed=None, notes=None):
    state = {"effective": {"test": 50.0}, "failed": failed or {}, "notes": notes or {}}
    return SimpleNamespace(number=number, state=state, metrics={})


def judged(*folds, **rungs):
    tables = {"model": table(1.0, 1), "prior": prior(), **rungs}
    return judge(
        tables,
        folds or (fold(1), fold(2)),
        spec=SPEC,
        timeframe_minutes=5,
        is_synthetic=True,
    )


@pytest.fixture(scope="module")
def judgement():
    return judged(
        logistic=table(0.8, 2),
        har=table(0.7, 3, "volatility"),
        last_sign=table(0.3, 4, "action"),
    )


def test_a_rung_is_scored_on_the_heads_it_has(judgement):
    heads = {name: set(rung["metrics"]) for name, rung in judgement.rungs.items()}
    assert heads["har"] == {"volatility"} and heads["last_sign"] == {"action"}
    assert heads["prior"] == {"regime", "confidence", "risk"}
    assert {rung["reason"] for rung in judgement.rungs.values()} == {""}


def test_every_head_is_compared_with_its_best_rung(judgement):
    verdict = judgement.verdict
    assert set(verdict["action"]["rungs"]) == {"logistic", "last_sign"}
    assert set(verdict["volatility"]["rungs"]) == {"logistic", "har"}
    assert verdict["action"]["rung"] == "logistic"
    assert set(verdict["confidence"]["rungs"]) == {"prior"}


def test_rungs_have_the_intervals_that_the_verdicts_drew(judgement):
    action = judgement.rungs["logistic"]["metrics"]["action"]
    for metric in ("auc", "rank_ic"):
        low, high = action[metric]["interval"]
        assert low < action[metric]["value"] < high
    low, high = judgement.rungs["har"]["metrics"]["volatility"]["r2"]["interval"]
    assert low < high
    assert "interval" not in action["accuracy"]
    assert "own_intervals" not in judgement.verdict["action"]["rungs"]["logistic"]


def test_a_rung_that_failed_on_one_fold_is_scored_on_none_and_says_where():
    partly = table(0.9, 5)
    for name in PREDICTED:
        partly[name][:600] = np.nan
    found = judged(fold(1, failed={"dlinear": "no memory"}), fold(2), dlinear=partly)
    assert found.rungs["dlinear"] == {"metrics": {}, "reason": "Fold 1: no memory"}
    assert found.verdict["action"]["rungs"] == {}
    assert found.metrics["action"]["samples"]["value"] == ROWS
    assert found.predicting == ("model",)


def test_rungs_with_an_action_become_prediction_sets(judgement):
    assert judgement.predicting == ("model", "logistic", "last_sign")


def test_what_was_simplified_is_said_once_and_not_at_any_length():
    notes = {"logistic": ["Fitted on 1 of every 2 of 9 samples."]}
    found = judged(fold(1, notes=notes), fold(2, notes=notes), logistic=table(0.8, 2))
    assert found.rungs["logistic"]["reason"] == "Fitted on 1 of every 2 of 9 samples."
    endless = {"logistic": "x" * 900}
    found = judged(fold(1, failed=endless), fold(2), logistic=table(0.8, 2))
    assert len(found.rungs["logistic"]["reason"]) == LONGEST_REASON
