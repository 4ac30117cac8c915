from __future__ import annotations

import json
import math

from modeling.training.early_stop import EarlyStop


def after(*scores: float, patience: int = 2) -> EarlyStop:
    stop = EarlyStop(patience=patience)
    for epoch, score in enumerate(scores, start=1):
        stop.record(epoch, score)
    return stop


def test_smallest_score_is_the_best_and_ties_go_to_the_earlier() -> None:
    stop = after(0.9, 0.8, 0.85, 0.8, patience=9)
    assert (stop.best_epoch, stop.best_score) == (2, 0.8)


def test_training_ends_after_patience_epochs_without_a_gain() -> None:
    assert not after(0.9, 0.91).is_over
    assert after(0.9, 0.91, 0.92).is_over


def test_tiny_gains_are_kept_but_buy_no_patience() -> None:
    stop = after(0.9, 0.89995, 0.89992)
    assert stop.is_over
    assert stop.best_epoch == 3


def test_tiny_gains_add_up() -> None:
    assert not after(0.9, 0.89995, 0.89985).is_over


def test_score_that_is_no_number_is_not_the_best() -> None:
    stop = after(math.nan, 0.9, math.nan)
    assert stop.best_epoch == 2
    assert not stop.is_over


def test_state_survives_json() -> None:
    for stop in (EarlyStop(patience=3), after(0.9, 0.91)):
        assert EarlyStop.from_json(json.loads(json.dumps(stop.to_json()))) == stop
