"""Scores and verdicts of the five heads from a prediction table."""

import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from modeling.evaluation.cases import Priors, Scoring
from modeling.evaluation.columns import HEADS
from modeling.evaluation.draws import resampling
from modeling.evaluation.heads import judge_heads, score_heads
from modeling.evaluation.intervals import interval
from modeling.evaluation.prepared import direction_auc_of, rank_correlation_of, top_net_bps_of

PRIORS = Priors(np.full(4, 0.25), np.full(3, 1 / 3), np.array(0.3))
REALISED = ("realised_return", "realised_regime", "realised_volatility", "realised_risk")


def scoring(**changes):
    facts = {"priors": PRIORS, "cost_bps": 10.0, "horizon_bars": 12, "effective": 100.0}
    return Scoring(**(facts | {"draws": 60} | changes))


def chances(truth, classes, skill, rng):
    lean = rng.normal(size=(len(truth), classes))
    lean[np.arange(len(truth)), truth] += skill
    powers = np.exp(lean)
    return powers / powers.sum(axis=1, keepdims=True)


def prediction_table(rows=1200, skill=1.0, seed=0, noise_seed=1):
    """Truth from `seed`; predictions better the larger `skill`, with noise from `noise_seed`."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng(noise_seed)
    gain = rng.normal(size=rows) / 100
    log_volatility = rng.normal(-6, 0.5, rows)
    regime, risk = rng.integers(0, 4, rows), rng.integers(0, 3, rows)
    action = np.tanh(skill * gain * 50 + noise.normal(size=rows) * 0.5)
    table = {
        "open_at": np.arange(rows) * 300 * 10**9,
        "action": action,
        "confidence": np.clip(0.45 + 0.1 * np.abs(action), 0, 1),
        "volatility": np.exp(log_volatility + noise.normal(size=rows) * 0.4 / (0.2 + skill)),
        "realised_return": gain,
        "realised_regime": regime.astype(float),
        "realised_volatility": np.exp(log_volatility),
        "realised_risk": risk.astype(float),
    }
    for k, column in enumerate(chances(regime, 4, skill, noise).T):
        table[f"regime_{k}"] = column
    for k, column in enumerate(chances(risk, 3, skill, noise).T):
        table[f"risk_{k}"] = column
    return table


def as_rung(table):
    return {name: column for name, column in table.items() if name not in (*REALISED, "open_at")}


def verdicts_of(ours, rungs):
    return judge_heads(ours, rungs, scoring())[1]


def test_every_metric_of_every_head_has_value_and_interval():
    scores = score_heads(prediction_table(), scoring())
    assert tuple(scores) == HEADS
    details = {"samples", "left_out", "confusion", "reliability", "calibrated"}
    for head in HEADS:
        for name, score in scores[head].items():
            if name in details:
                continue
            low, high = score["interval"]
            assert np.isfinite(score["value"]) and low <= high, (head, name)


def test_intervals_of_means_hold_their_value():
    scores = score_heads(prediction_table(), scoring())
    for head, name in (("action", "auc"), ("regime", "log_loss"), ("volatility", "r2")):
        low, high = scores[head][name]["interval"]
        assert low < scores[head][name]["value"] < high


def test_values_are_those_of_the_plain_metrics():
    table = prediction_table()
    scores = score_heads(table, scoring(draws=0))
    up = table["realised_return"] > 0
    assert scores["action"]["auc"]["value"] == pytest.approx(
        sklearn_metrics.roc_auc_score(up, table["action"])
    )
    assert scores["regime"]["prior_log_loss"]["value"] == pytest.approx(np.log(4))
    assert "interval" not in scores["action"]["auc"]


def test_scores_are_json_without_infinities():
    scores = score_heads(prediction_table(), scoring())
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_same_seed_same_intervals():
    table = prediction_table(rows=400)
    assert score_heads(table, scoring(seed=3)) == score_heads(table, scoring(seed=3))
    assert score_heads(table, scoring(seed=3)) != score_heads(table, scoring(seed=4))


def test_unknown_labels_and_missing_predictions_are_left_out_and_counted():
    table = prediction_table()
    table["realised_return"][-5:] = np.nan
    table["action"][0] = np.nan
    table["realised_regime"][-7:] = -1
    scores = score_heads(table, scoring(draws=0))
    assert scores["action"]["left_out"]["value"] == 6
    assert scores["confidence"]["left_out"]["value"] == 6
    assert scores["regime"]["left_out"]["value"] == 7
    assert scores["risk"]["left_out"]["value"] == 0


def test_a_row_left_out_changes_no_other_figure():
    table = prediction_table()
    shorter = {name: column[:-5] for name, column in table.items()}
    table["realised_return"][-5:] = np.nan
    expected = score_heads(shorter, scoring())["action"]
    found = score_heads(table, scoring())["action"]
    assert found["rank_ic"] == expected["rank_ic"]


def test_below_two_hundred_samples_values_are_null_with_a_reason():
    scores = score_heads(prediction_table(rows=199), scoring())
    assert scores["action"]["auc"] == {
        "value": None,
        "reason": "found 199 test samples; a score needs 200",
    }
    assert scores["action"]["samples"]["value"] == 199


def test_no_rows_at_all_are_null_with_a_reason():
    table = prediction_table(rows=300)
    for name in REALISED:
        table[name][:] = np.nan
    scores = score_heads(table, scoring())
    assert {scores[head]["samples"]["value"] for head in HEADS} == {0}
    assert scores["volatility"]["r2"]["value"] is None


def test_one_class_only_is_null_with_a_reason():
    table = prediction_table(rows=300)
    table["realised_return"] = np.abs(table["realised_return"])
    table["realised_regime"][:] = 2
    scores = score_heads(table, scoring())
    assert "one direction" in scores["action"]["auc"]["reason"]
    assert "one class" in scores["regime"]["macro_f1"]["reason"]
    assert scores["action"]["rank_ic"]["value"] is not None


def test_a_constant_score_has_no_rank_ic_but_an_auc_of_half():
    table = prediction_table(rows=300)
    table["action"][:] = 0.1
    scores = score_heads(table, scoring(draws=0))
    assert scores["action"]["rank_ic"]["value"] is None
    assert scores["action"]["auc"]["value"] == 0.5


def test_accuracy_stands_beside_its_effective_samples_and_no_skill_band():
    score = score_heads(prediction_table(rows=300), scoring(draws=0))["action"]["accuracy"]
    assert score["effective_samples"] == 100.0
    assert score["no_skill"] == pytest.approx([0.35, 0.65])


def test_heads_without_columns_are_not_scored():
    table = {k: v for k, v in prediction_table(rows=300).items() if not k.startswith("risk_")}
    assert "risk" not in score_heads(table, scoring(draws=0))


def test_a_table_without_action_is_scored_on_the_given_side_or_has_no_confidence():
    table = prediction_table(rows=400)
    action = table.pop("action")
    whole = score_heads(table | {"action": action}, scoring(draws=0))["confidence"]
    assert score_heads(table, scoring(draws=0), side=action)["confidence"] == whole
    assert "confidence" not in score_heads(table, scoring(draws=0))


def test_priors_may_differ_from_row_to_row():
    table = prediction_table(rows=400)
    regime = np.tile([0.7, 0.1, 0.1, 0.1], (400, 1))
    regime[200:] = 0.25
    per_row = scoring(draws=0, priors=Priors(regime, PRIORS.risk, np.full(400, 0.3)))
    actual = table["realised_regime"].astype(int)
    expected = -np.log(regime[np.arange(400), actual]).mean()
    loss = score_heads(table, per_row)["regime"]["prior_log_loss"]["value"]
    assert loss == pytest.approx(expected)


def test_rows_of_two_instruments_at_one_time_share_the_draw():
    one = prediction_table(rows=400)
    two = {name: np.concatenate([column, column]) for name, column in one.items()}
    single = score_heads(one, scoring())["volatility"]["qlike"]
    pooled = score_heads(two, scoring())["volatility"]["qlike"]
    assert pooled["value"] == pytest.approx(single["value"])
    assert pooled["interval"] == pytest.approx(single["interval"])


def test_a_clearly_better_table_beats_the_rung_on_every_head_but_confidence():
    ours = prediction_table(skill=2.0)
    rung = as_rung(prediction_table(skill=0.1, noise_seed=2))
    verdicts = verdicts_of(ours, {"logistic": rung})
    words = {head: verdicts[head]["word"] for head in ("action", "regime", "volatility", "risk")}
    assert set(words.values()) == {"beats"}
    assert verdicts["action"]["sentence"].startswith("Better than logistic regression at ranking")


def test_a_clearly_worse_table_loses():
    ours = prediction_table(skill=0.1)
    rung = as_rung(prediction_table(skill=2.0, noise_seed=2))
    verdict = verdicts_of(ours, {"logistic": rung})["volatility"]
    assert verdict["word"] == "loses"
    assert verdict["sentence"].endswith("Look at folds and features, or use ridge regression.")
    assert verdict["difference"] < 0
    assert verdict["interval"][1] < 0


def test_the_same_predictions_tie_with_difference_zero():
    ours = prediction_table()
    rung = as_rung(ours)
    del rung["action"]
    verdicts = verdicts_of(ours, {"logistic": as_rung(ours)})
    verdicts["confidence"] = verdicts_of(ours, {"logistic": rung})["confidence"]
    for head in HEADS:
        assert verdicts[head]["word"] == "ties"
        assert verdicts[head]["interval"] == [0.0, 0.0]
        rung = "ridge" if head == "volatility" else "logistic"
        assert verdicts[head]["sentence"].startswith(f"Not better than {rung} regression")


def test_the_best_rung_is_named_and_all_are_listed():
    ours = prediction_table(skill=1.0)
    weak = as_rung(prediction_table(skill=0.1, noise_seed=2))
    strong = as_rung(prediction_table(skill=3.0, noise_seed=3))
    verdicts = verdicts_of(ours, {"weak": weak, "strong": strong})
    assert verdicts["risk"]["rung"] == "strong"
    assert set(verdicts["risk"]["rungs"]) == {"weak", "strong"}
    assert verdicts["risk"]["rungs"]["weak"]["word"] == "beats"


def test_a_rung_is_only_asked_about_the_heads_it_has():
    ours = prediction_table()
    rung = {"volatility": ours["volatility"] * 1.5}
    verdicts = verdicts_of(ours, {"persistence": rung})
    assert verdicts["volatility"]["rung"] == "persistence"
    assert verdicts["action"]["word"] == "undecided"


def test_a_confidence_rung_without_action_is_judged_on_our_side_of_the_trade():
    ours = prediction_table()
    paid = np.sign(ours["action"]) * ours["realised_return"] > 0.001
    rung = {"confidence": np.full(1200, paid.mean())}
    verdict = verdicts_of(ours, {"prior": rung})["confidence"]
    assert verdict["theirs"] == pytest.approx(paid.mean() * (1 - paid.mean()))


def test_confidence_is_not_compared_with_a_rung_that_trades_otherwise():
    ours = prediction_table()
    easier = as_rung(prediction_table(skill=5.0, noise_seed=2))
    verdict = verdicts_of(ours, {"logistic": easier})["confidence"]
    assert (verdict["word"], verdict["rung"], verdict["rungs"]) == ("undecided", None, {})


def test_beating_the_prior_on_confidence_is_a_brier_skill_above_zero():
    ours = prediction_table()
    paid = np.sign(ours["action"]) * ours["realised_return"] > 0.001
    ours["confidence"] = 0.9 * paid + 0.05
    scores, verdicts, _ = judge_heads(
        ours, {"prior": {"confidence": np.full(1200, 0.3)}}, scoring()
    )
    assert verdicts["confidence"]["word"] == "beats"
    assert scores["confidence"]["brier_skill"]["interval"][0] > 0


def test_scores_beside_rungs_are_the_scores_alone():
    ours = prediction_table(rows=400)
    rung = as_rung(prediction_table(rows=400, noise_seed=2))
    rung["volatility"][:50] = np.nan
    assert judge_heads(ours, {"logistic": rung}, scoring())[0] == score_heads(ours, scoring())


def without_intervals(scores):
    return {
        head: {
            name: {key: value for key, value in score.items() if key != "interval"}
            for name, score in found.items()
        }
        for head, found in scores.items()
    }


def test_a_rung_has_the_values_that_it_has_alone():
    ours, other = prediction_table(), prediction_table(skill=0.5, noise_seed=2)
    other["volatility"][:50] = np.nan
    found = judge_heads(ours, {"logistic": as_rung(other)}, scoring()).rungs["logistic"]
    assert without_intervals(found) == score_heads(other, scoring(draws=0))


def test_a_rung_on_our_rows_has_its_intervals_from_our_draws():
    ours, other = prediction_table(), prediction_table(skill=0.5, noise_seed=2)
    found = judge_heads(ours, {"logistic": as_rung(other)}, scoring()).rungs["logistic"]
    gain, score = ours["realised_return"], other["action"]
    plan = resampling(ours, np.arange(1200), ours["action"] * gain, scoring())
    for name, metric in (
        ("rank_ic", rank_correlation_of(score, gain)),
        ("auc", direction_auc_of(score, gain)),
        ("top_net_bps", top_net_bps_of(score, gain, 10.0)),
    ):
        assert found["action"][name]["interval"] == list(interval(metric, plan))
    alone = score_heads(other, scoring())["confidence"]["brier"]["interval"]
    assert found["confidence"]["brier"]["interval"] == pytest.approx(alone, abs=0.01)


def test_a_rung_on_fewer_rows_has_intervals_too():
    ours, fewer = prediction_table(), as_rung(prediction_table(noise_seed=2))
    fewest = as_rung(prediction_table(noise_seed=3))
    fewer["volatility"][:100] = np.nan
    fewest["volatility"][-100:] = np.nan
    found = judge_heads(ours, {"har": fewer, "logistic": fewest}, scoring())
    for rung in ("har", "logistic"):
        volatility = found.rungs[rung]["volatility"]
        assert volatility["left_out"]["value"] == 100
        assert volatility["r2"]["interval"][0] < volatility["r2"]["value"]
        assert volatility["qlike"]["interval"][0] < volatility["qlike"]["value"]
    assert found.verdicts["volatility"]["rungs"].keys() == {"har", "logistic"}


def test_a_rung_with_too_few_rows_says_so_and_leaves_the_verdict_undecided():
    ours, rung = prediction_table(), as_rung(prediction_table(noise_seed=2))
    rung["volatility"][:1100] = np.nan
    found = judge_heads(ours, {"har": rung}, scoring())
    assert found.rungs["har"]["volatility"]["qlike"] == {
        "value": None,
        "reason": "found 100 test samples; a score needs 200",
    }
    assert found.verdicts["volatility"]["word"] == "undecided"
    assert "interval" in found.scores["volatility"]["r2"]


def test_whoever_waits_for_the_verdicts_hears_of_every_head():
    told = []
    judge_heads(prediction_table(rows=400), {}, scoring(), between=told.append)
    assert told == sorted(told)
    assert {0.0, 0.2, 0.4, 0.6, 0.8, 1.0} <= set(told)


def test_verdicts_use_only_rows_that_every_rung_predicted():
    ours = prediction_table()
    rung = as_rung(prediction_table(noise_seed=2))
    rung["volatility"][:100] = np.nan
    verdict = verdicts_of(ours, {"persistence": rung})["volatility"]
    cut = {name: column[100:] for name, column in ours.items()}
    expected = score_heads(cut, scoring(draws=0))["volatility"]["r2"]["value"]
    assert verdict["ours"] == pytest.approx(expected)


def test_too_few_rows_leave_the_verdict_undecided():
    ours = prediction_table(rows=150)
    verdict = verdicts_of(ours, {"logistic": as_rung(ours)})["action"]
    assert verdict["word"] == "undecided"
    assert "150 test samples" in verdict["sentence"]
