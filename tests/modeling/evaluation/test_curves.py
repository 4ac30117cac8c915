"""Calibration curves, against bins made by hand."""

import numpy as np
import pytest

from modeling.evaluation.curves import TooFewSamples, calibration_curves
from modeling.evaluation.metrics import reliability

ROWS = 3000


def table(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    regime, risk = rng.dirichlet(np.ones(4), rows), rng.dirichlet(np.ones(3), rows)
    return {
        "open_at": np.arange(rows) * 300 * 10**9,
        "action": np.tanh(rng.normal(size=rows)),
        **{f"regime_{k}": regime[:, k] for k in range(4)},
        "confidence": rng.uniform(size=rows),
        "volatility": np.exp(rng.normal(-6, 0.3, rows)),
        **{f"risk_{k}": risk[:, k] for k in range(3)},
        "realised_return": rng.normal(0, 0.004, rows),
        "realised_regime": rng.integers(0, 4, rows),
        "realised_volatility": np.exp(rng.normal(-6, 0.3, rows)),
        "realised_risk": rng.integers(0, 3, rows),
    }


def curves(head, columns, cost_bps=10.0):
    return calibration_curves(columns, head, cost_bps=cost_bps)


def plain_bins(said, came):
    """Fifteen pieces of the rows sorted by what was said."""
    pairs = sorted(zip(said.tolist(), came.tolist(), strict=True), key=lambda pair: pair[0])
    size = len(pairs) // 15
    pieces = [pairs[place * size : (place + 1) * size] for place in range(15)]
    return [tuple(np.mean(piece, axis=0)) for piece in pieces]


def assert_bins(curve, said, came):
    found = [(mean_said, mean_came) for mean_said, mean_came, _ in curve.bins]
    assert np.allclose(found, plain_bins(said, came))
    assert [rows for _, _, rows in curve.bins] == [ROWS // 15] * 15


def test_the_score_stands_against_the_return_in_basis_points():
    columns = table()
    (curve,) = curves("action", columns)
    assert_bins(curve, columns["action"], 1e4 * columns["realised_return"])


def test_each_regime_has_a_curve_of_its_own_probability():
    columns = table()
    found = curves("regime", columns)
    assert [curve.name for curve in found] == ["Ranging", "Bull", "Bear", "Volatile"]
    assert_bins(found[2], columns["regime_2"], columns["realised_regime"] == 2)


def test_confidence_is_about_trades_that_earn_more_than_their_costs():
    columns = table()
    (curve,) = curves("confidence", columns, cost_bps=20.0)
    paid = np.sign(columns["action"]) * columns["realised_return"] > 0.002
    assert_bins(curve, columns["confidence"], paid)
    assert curve.bins == reliability(columns["confidence"], paid)


def test_volatility_stands_against_volatility():
    columns = table()
    (curve,) = curves("volatility", columns)
    assert_bins(curve, columns["volatility"], columns["realised_volatility"])


def test_risk_is_cut_above_low_and_above_medium():
    columns = table()
    either, high = curves("risk", columns)
    assert_bins(either, 1 - columns["risk_0"], columns["realised_risk"] > 0)
    assert_bins(high, columns["risk_2"], columns["realised_risk"] == 2)


def test_rows_without_an_outcome_are_left_out():
    columns = table()
    whole = curves("volatility", columns)
    longer = {name: np.concatenate([column, column[:7]]) for name, column in columns.items()}
    longer["realised_volatility"][-7:] = np.nan
    assert curves("volatility", longer) == whole


@pytest.mark.parametrize("head", ["action", "regime", "confidence", "volatility", "risk"])
def test_too_few_rows_are_refused_with_their_count(head):
    with pytest.raises(TooFewSamples, match="found 199 test samples; a curve needs 200"):
        curves(head, table(199))
