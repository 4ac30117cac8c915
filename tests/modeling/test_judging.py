"""What a run says of its rungs: scores on all folds or a reason, and the intervals that were drawn."""

from types import SimpleNamespace

import numpy as np
import pytest

from modeling.evaluation.paths import Path
from modeling.evaluation.table import PREDICTED
from modeling.judging import LONGEST_REASON, judge
from modeling.measures import HEAD_MEASURES
from modeling.specs import ModelSpec
from tests.modeling.evaluation.test_heads import prediction_table

SPEC = ModelSpec.parse({"evaluation": {"bootstrap_draws": 100}})
ROWS = 1200


def table(skill, seed, *heads):
    """Predictions of the given heads, or of all."""
    found = prediction_table(rows=ROWS, skill=skill, noise_seed=seed)
    found["confidence_raw"] = found["confidence"]
    found["fold"] = np.where(np.arange(ROWS) < ROWS // 2, 1, 2)
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
    state["volatility_band"] = {"low": -0.4, "high": 0.4, "samples": 300}
    return SimpleNamespace(number=number, state=state, metrics={})


def judged(*folds, paths=(), **rungs):
    tables = {"model": table(1.0, 1), "prior": prior(), **rungs}
    return judge(
        paths or [Path(0, tables, (1, 2), 100.0)],
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


def test_every_score_of_every_rung_has_an_interval(judgement):
    for name, rung in judgement.rungs.items():
        for head, scores in rung["metrics"].items():
            for metric in HEAD_MEASURES.keys() & scores.keys():
                low, high = scores[metric]["interval"]
                assert low <= high, (name, head, metric)
    confidence = judgement.rungs["logistic"]["metrics"]["confidence"]
    assert set(confidence["brier"]) == {"value", "interval"}
    assert "logistic" not in judgement.verdict["confidence"]["rungs"]


def test_a_rung_that_failed_on_one_fold_is_scored_on_none_and_says_where():
    partly = table(0.9, 5)
    for name in PREDICTED:
        partly[name][:600] = np.nan
    found = judged(fold(1, failed={"dlinear": "no memory"}), fold(2), dlinear=partly)
    assert found.rungs["dlinear"] == {
        "metrics": {},
        "reason": "Failed in 1 of 2 folds (1). Fold 1: no memory",
    }
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


def test_what_confidence_cuts_leave_and_bands_hold_stands_beside_the_scores(judgement):
    cuts = judgement.metrics["confidence"]["abstention"]["value"]
    assert [each["wanted"] for each in cuts["cuts"]] == [1.0, 0.75, 0.5, 0.25, 0.1]
    assert "interval" in cuts["groups"][0]["rows"][0]["accuracy"]
    held = judgement.metrics["volatility"]["band_share"]
    assert [each["fold"] for each in held["folds"]] == [1, 2]
    assert held["interval"][0] < held["value"] < held["interval"][1]


def test_an_uncalibrated_confidence_is_told_with_its_figures(judgement):
    confidence = judgement.metrics["confidence"]
    notice = judgement.notices[0]
    assert not confidence["calibrated"]["value"]
    assert notice["code"] == "uncalibrated"
    assert f"{confidence['calibration_error']['value']:.3f}" in notice["message"]


def seven_paths(skills):
    return [
        Path(
            number,
            {"model": table(skill, number), "prior": prior(), "logistic": table(0.8, 90 + number)},
            (1, 2),
            100.0,
        )
        for number, skill in enumerate(skills, start=1)
    ]


def test_the_first_of_several_paths_is_judged_and_the_spread_stands_beside_every_score():
    paths = seven_paths([0.2, 1.0, 0.4, 0.6, 0.9, 0.1, 0.3])
    found, alone = judged(paths=paths), judged(paths=paths[:1])
    assert found.verdict == alone.verdict
    auc = found.metrics["action"]["auc"]
    assert auc["value"] == alone.metrics["action"]["auc"]["value"]
    spread = auc["spread"]
    assert spread["values"][0] == auc["value"] and len(spread["values"]) == 7
    ordered = sorted(spread["values"])
    assert (spread["min"], spread["median"], spread["max"]) == (ordered[0], ordered[3], ordered[-1])
    for head, metric in (("regime", "macro_f1"), ("volatility", "r2"), ("risk", "ordinal_brier")):
        assert len(found.metrics[head][metric]["spread"]["values"]) == 7
    assert len(found.rungs["logistic"]["metrics"]["action"]["rank_ic"]["spread"]["values"]) == 7
    assert "spread" not in alone.metrics["action"]["auc"]
    assert "spread" not in found.metrics["action"]["samples"]


def test_the_alarm_looks_at_every_path():
    reasons = judged(paths=seven_paths([0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0])).alarm["reasons"]
    named = {reason.split(":")[0] for reason in reasons}
    assert "path 5" in named and not {"path 1", "path 2"} & named


def test_a_rung_that_failed_in_some_folds_says_in_how_many_and_one_reason():
    slow = {"logistic": "stopped: the baselines had 4 s"}
    found = judged(fold(1), fold(2, failed=slow), fold(5, failed=slow), logistic=table(0.8, 2))
    reason = found.rungs["logistic"]["reason"]
    assert reason == "Failed in 2 of 3 folds (2, 5). Fold 2: stopped: the baselines had 4 s"
    everywhere = judged(*(fold(k, failed=slow) for k in range(1, 29)), logistic=table(0.8, 2))
    assert everywhere.rungs["logistic"]["reason"].startswith("Failed in all 28 folds. Fold 1: ")
