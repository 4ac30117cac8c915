"""Head metrics: by hand, against other libraries, against plain loops, and under resampling."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from modeling.evaluation import metrics as measure
from tests.oracles import metrics as plain

SCORE = np.array([0.5, -0.2, 0.0, 0.3, -0.4])
GAIN = np.array([0.01, -0.01, 0.02, -0.03, 0.0])


@pytest.fixture
def rows():
    rng = np.random.default_rng(11)
    gain = np.round(rng.standard_normal(400), 1) / 100
    score = np.tanh(np.round(gain * 20 + rng.standard_normal(400) * 0.5, 1))
    chances = rng.dirichlet(np.ones(4), 400)
    return {
        "score": score,
        "gain": gain,
        "paid": gain > 0.002,
        "chance": np.round(rng.uniform(size=400), 2),
        "chances": chances,
        "actual": rng.integers(0, 4, 400),
        "volatility": np.exp(rng.normal(-6, 0.5, 400)),
        "realised": np.exp(rng.normal(-6, 0.6, 400)),
    }


def test_accuracy_counts_a_zero_score_as_wrong_and_leaves_out_zero_returns():
    assert float(measure.accuracy(SCORE, GAIN)) == 0.5


def test_majority_accuracy_is_the_share_of_the_more_frequent_direction():
    assert float(measure.majority_accuracy(np.array([0.1, 0.1, -0.1, 0.0]))) == 2 / 3


def test_auc_by_hand_gives_half_for_a_tie():
    outcome = np.array([True, True, False, False])
    assert float(measure.auc(np.array([0.9, 0.4, 0.4, 0.1]), outcome)) == 0.875


def test_auc_of_one_class_is_undefined():
    assert np.isnan(measure.auc(SCORE, np.ones(5, dtype=bool)))


def test_rank_ic_by_hand():
    assert float(measure.rank_ic(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))) == 0.5


def test_rank_ic_of_a_constant_score_is_undefined():
    assert np.isnan(measure.rank_ic(np.zeros(5), GAIN))


def test_top_tenth_by_hand():
    score = np.concatenate([[0.9, -0.8], np.full(18, 0.1)])
    gain = np.concatenate([[0.003, 0.001], np.zeros(18)])
    assert float(measure.top_hit_rate(score, gain)) == 0.5
    assert float(measure.top_net_bps(score, gain, 10.0)) == pytest.approx(0.0, abs=1e-9)


def test_macro_f1_counts_a_missed_class_zero_and_leaves_out_an_absent_one():
    actual, guess = np.array([0, 0, 1]), np.array([0, 0, 0])
    assert float(measure.macro_f1(actual, guess, 4)) == pytest.approx(0.4)


def test_confusion_matrix_has_actual_classes_in_rows():
    matrix = measure.confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_log_loss_clips_a_probability_of_zero():
    loss = measure.log_loss(np.array([[0.0, 1.0]]), np.array([0]))
    assert float(loss) == pytest.approx(-np.log(1e-12))


def test_ordinal_brier_by_hand():
    chances = np.array([[0.2, 0.5, 0.3]])
    assert float(measure.ordinal_brier(chances, np.array([1]))) == pytest.approx(0.065)


def test_brier_skill_of_the_base_rate_itself_is_zero():
    outcome = np.array([True, False, False, False])
    rate = np.full(4, 0.25)
    assert float(measure.brier_skill(rate, outcome, rate)) == pytest.approx(0.0)


def test_calibration_error_by_hand():
    chance, outcome = np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False])
    assert float(measure.calibration_error(chance, outcome, bins=2)) == pytest.approx(0.25)


def test_reliability_rows_add_up_to_the_calibration_error(rows):
    points = measure.reliability(rows["chance"], rows["paid"])
    total = sum(size for _, _, size in points)
    error = sum(size * abs(p - y) for p, y, size in points) / total
    assert total == 400
    assert error == pytest.approx(float(measure.calibration_error(rows["chance"], rows["paid"])))


def test_qlike_is_zero_for_a_perfect_forecast_and_ln_based_otherwise():
    assert float(measure.qlike(np.array([0.01]), np.array([0.01]))) == 0.0
    assert float(measure.qlike(np.array([0.01]), np.array([0.02]))) == pytest.approx(3 - np.log(4))


def test_log_r2_of_the_mean_is_zero():
    realised = np.exp(np.array([-6.0, -5.0, -4.0]))
    assert float(measure.log_r2(np.exp(np.full(3, -5.0)), realised)) == pytest.approx(0.0)


def test_recall_without_support_is_undefined():
    assert np.isnan(measure.recall(np.array([0, 1]), np.array([2, 1]), 2))


def test_metrics_agree_with_scikit_learn_and_scipy(rows):
    moved = rows["gain"] != 0
    up = rows["gain"][moved] > 0
    guess = rows["chances"].argmax(axis=1)
    expected = {
        "auc": sklearn_metrics.roc_auc_score(up, rows["score"][moved]),
        "rank": stats.spearmanr(rows["score"], rows["gain"]).statistic,
        "pearson": stats.pearsonr(rows["score"], rows["gain"]).statistic,
        "f1": sklearn_metrics.f1_score(rows["actual"], guess, average="macro"),
        "loss": sklearn_metrics.log_loss(rows["actual"], rows["chances"]),
        "brier": sklearn_metrics.brier_score_loss(rows["paid"], rows["chance"]),
        "r2": sklearn_metrics.r2_score(np.log(rows["realised"]), np.log(rows["volatility"])),
        "recall": sklearn_metrics.recall_score(rows["actual"] == 2, guess == 2),
    }
    found = {
        "auc": measure.direction_auc(rows["score"], rows["gain"]),
        "rank": measure.rank_ic(rows["score"], rows["gain"]),
        "pearson": measure.pearson_ic(rows["score"], rows["gain"]),
        "f1": measure.macro_f1(rows["actual"], guess, 4),
        "loss": measure.log_loss(rows["chances"], rows["actual"]),
        "brier": measure.brier(rows["chance"], rows["paid"]),
        "r2": measure.log_r2(rows["volatility"], rows["realised"]),
        "recall": measure.recall(rows["actual"], guess, 2),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_metrics_agree_with_the_plain_loops(rows):
    score, gain = rows["score"], rows["gain"]
    risk, actual = rows["chances"][:, :3], np.minimum(rows["actual"], 2)
    risk = risk / risk.sum(axis=1, keepdims=True)
    assert float(measure.auc(score, rows["paid"])) == pytest.approx(plain.auc(score, rows["paid"]))
    assert float(measure.rank_ic(score, gain)) == pytest.approx(plain.rank_ic(score, gain))
    assert float(measure.top_net_bps(score, gain, 10)) == pytest.approx(
        plain.top_net_bps(score, gain, 10)
    )
    assert float(measure.calibration_error(rows["chance"], rows["paid"])) == pytest.approx(
        plain.calibration_error(rows["chance"], rows["paid"], 15)
    )
    assert float(measure.ordinal_brier(risk, actual)) == pytest.approx(
        plain.ordinal_brier(risk, actual)
    )
    assert float(measure.qlike(rows["volatility"], rows["realised"])) == pytest.approx(
        plain.qlike(rows["volatility"], rows["realised"])
    )


def every_metric(rows, weights=None):
    guess, base = rows["chances"].argmax(axis=1), np.full(len(rows["gain"]), 0.3)
    risk = rows["chances"][:, :3] / rows["chances"][:, :3].sum(axis=1, keepdims=True)
    score, gain, chance, paid = rows["score"], rows["gain"], rows["chance"], rows["paid"]
    return {
        "accuracy": measure.accuracy(score, gain, weights),
        "majority": measure.majority_accuracy(gain, weights),
        "auc": measure.direction_auc(score, gain, weights),
        "rank_ic": measure.rank_ic(score, gain, weights),
        "pearson_ic": measure.pearson_ic(score, gain, weights),
        "top_hit_rate": measure.top_hit_rate(score, gain, weights),
        "top_net_bps": measure.top_net_bps(score, gain, 10.0, weights),
        "macro_f1": measure.macro_f1(rows["actual"], guess, 4, weights),
        "log_loss": measure.log_loss(rows["chances"], rows["actual"], weights),
        "brier_skill": measure.brier_skill(chance, paid, base, weights),
        "calibration_error": measure.calibration_error(chance, paid, weights),
        "log_r2": measure.log_r2(rows["volatility"], rows["realised"], weights),
        "qlike": measure.qlike(rows["volatility"], rows["realised"], weights),
        "ordinal_brier": measure.ordinal_brier(risk, np.minimum(rows["actual"], 2), weights),
        "recall": measure.recall(rows["actual"], guess, 3, weights),
    }


def test_weights_give_what_the_metric_gives_on_the_drawn_rows(rows):
    # Distinct values: the copies of a row then stand together in any order of ties.
    rng = np.random.default_rng(5)
    rows |= {"score": rng.standard_normal(400), "chance": rng.uniform(size=400)}
    weights = np.stack(
        [np.bincount(rng.integers(0, 400, 400), minlength=400) for _ in range(3)]
    ).astype(float)
    batch = every_metric(rows, weights)
    for draw, counts in enumerate(weights.astype(int)):
        repeated = {name: np.repeat(column, counts, axis=0) for name, column in rows.items()}
        expected = {name: float(value) for name, value in every_metric(repeated).items()}
        assert {name: float(value[draw]) for name, value in batch.items()} == pytest.approx(
            expected
        )


def test_scaling_a_score_changes_no_rank_metric(rows):
    for metric in (measure.direction_auc, measure.rank_ic, measure.accuracy):
        assert float(metric(rows["score"] * 0.5, rows["gain"])) == float(
            metric(rows["score"], rows["gain"])
        )
