"""Bands of the volatility forecast: quantiles by hand, shares against plain loops, and what is null."""

import numpy as np
import pytest

from modeling.evaluation.bands import Band, band_share, fit_band
from tests.modeling.evaluation.test_heads import scoring
from tests.oracles import certainty as plain


def made(rows, seed, noise=0.3):
    rng = np.random.default_rng(seed)
    guess = np.exp(rng.normal(-6, 0.5, rows))
    return guess, guess * np.exp(rng.normal(0.1, noise, rows))


def table(rows=1000, noise=0.3):
    guess, truth = made(rows, 2, noise)
    return {
        "open_at": np.arange(rows) * 300 * 10**9,
        "fold": np.where(np.arange(rows) < rows // 4, 1, 2),
        "volatility": guess,
        "realised_volatility": truth,
    }


def test_a_band_is_the_first_and_ninth_decile_of_the_log_errors():
    errors = np.arange(11) / 10
    band = fit_band(np.full(11, 2.0), 2.0 * np.exp(errors))
    assert (band.low, band.high, band.samples) == (pytest.approx(0.1), pytest.approx(0.9), 11)


def test_quantiles_agree_with_plain_interpolation():
    guess, truth = made(777, 1)
    errors = (np.log(truth) - np.log(guess)).tolist()
    band = fit_band(guess, truth)
    assert band.low == pytest.approx(plain.quantile(errors, 0.1))
    assert band.high == pytest.approx(plain.quantile(errors, 0.9))


def test_json_gives_the_same_band_back():
    band = fit_band(*made(300, 1))
    assert Band.from_json(band.to_json()) == band


def test_no_calibration_samples_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        fit_band(np.zeros(0), np.zeros(0))


def test_errors_like_those_of_calibration_stay_inside_four_times_of_five():
    band = fit_band(*made(4000, 1))
    found = band_share(table(4000), {1: band, 2: band}, scoring())
    assert found["value"] == pytest.approx(0.8, abs=0.02)
    low, high = found["interval"]
    assert low < found["value"] < high


def test_a_calmer_calibration_slice_shows_as_a_share_below():
    band = fit_band(*made(4000, 1, noise=0.1))
    assert band_share(table(), {1: band, 2: band}, scoring(draws=0))["value"] < 0.5


def test_each_fold_is_judged_by_its_own_band_and_agrees_with_plain_loops():
    given, bands = table(), {1: Band(-0.2, 0.4, 500), 2: Band(-0.5, 0.1, 600)}
    found = band_share(given, bands, scoring(draws=0))
    held = 0
    for fold in found["folds"]:
        rows = given["fold"] == fold["fold"]
        band = bands[fold["fold"]]
        columns = [given[name][rows].tolist() for name in ("volatility", "realised_volatility")]
        share = plain.inside(*columns, (band.low, band.high))
        assert (fold["value"], fold["samples"]) == (pytest.approx(share), rows.sum())
        assert (fold["low"], fold["high"]) == (band.low, band.high)
        held += share * rows.sum()
    assert found["value"] == pytest.approx(held / 1000)
    assert found["nominal"] == 0.8


def test_below_two_hundred_bars_a_share_is_none_with_the_count():
    found = band_share(table(600), {1: Band(-1, 1, 300), 2: Band(-1, 1, 300)}, scoring(draws=0))
    reason = "found 150 test samples; a score needs 200"
    assert found["folds"][0]["value"] is None
    assert found["folds"][0]["reason"] == reason
    assert found["value"] is not None


def test_without_a_band_there_is_no_share():
    found = band_share(table(), {}, scoring())
    assert (found["value"], found["folds"]) == (None, [])
    assert found["reason"] == "found 0 test samples; a score needs 200"
