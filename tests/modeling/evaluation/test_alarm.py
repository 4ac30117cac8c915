"""The leak alarm and its lines."""

import pytest

from modeling.evaluation.alarm import BlockScore, leak_alarm


def alarm(block, **changes):
    facts = {"market": "real", "timeframe_minutes": 5, "horizon_bars": 12} | changes
    return leak_alarm({"fold 1": block}, **facts)


def test_ordinary_scores_stay_green():
    assert not alarm(BlockScore(0.55, 0.58, 900)).raised


@pytest.mark.parametrize("block", [BlockScore(0.581, 0.5, 300), BlockScore(None, 0.621, 300)])
def test_a_score_over_the_line_is_alarmed_and_named(block):
    found = alarm(block)
    assert found.raised
    assert found.reasons[0].startswith("fold 1: ")


def test_scores_on_the_line_are_not_alarmed():
    assert not alarm(BlockScore(0.58, 0.62, 5000)).raised


def test_too_few_effective_samples_raise_no_alarm():
    assert not alarm(BlockScore(0.9, 0.9, 299)).raised


def test_longer_horizons_and_other_timeframes_have_no_line():
    assert not alarm(BlockScore(0.7, 0.7, 900), horizon_bars=13).raised
    assert not alarm(BlockScore(0.7, 0.7, 900), timeframe_minutes=60).raised


def test_noise_is_alarmed_above_its_own_band():
    assert alarm(BlockScore(0.53, None, 4000), market="noise").raised
    assert not alarm(BlockScore(0.52, 0.52, 4000), market="noise").raised


def test_failed_checks_are_alarmed_whatever_the_scores():
    quiet = BlockScore(0.5, 0.5, 900)
    assert alarm(quiet, intervals_meet=True).reasons == ("Training and test intervals meet.",)
    assert alarm(quiet, causality_failed=True).to_json() == {
        "raised": True,
        "reasons": ["The causality check failed."],
    }
