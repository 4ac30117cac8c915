"""What the steps of a fold tell, by numbers set by hand."""

from __future__ import annotations

import pytest
import torch

from modeling.training.errors import Diverged
from modeling.training.losses import ALL_HEADS
from modeling.training.telling import LARGEST_LOSS, PendingStep, StepLog
from tests.modeling.training.markets import Recorder

CONSTANT = 4.0


def log_to(recorder: Recorder, *, steps_per_fetch: int = 1) -> StepLog:
    return StepLog(
        recorder,
        fold=1,
        total_steps=9,
        learning_rate=0.3,
        constant_loss=CONSTANT,
        steps_per_fetch=steps_per_fetch,
        clock=iter(range(100)).__next__,
    )


def made(
    step: int, *, share: float = 1.0, samples: int = 32, left_out: bool = False
) -> PendingStep:
    """A step in which the heads together lose `share` times what the constant loses."""
    losses = [share * CONSTANT / len(ALL_HEADS)] * len(ALL_HEADS)
    loss, dropped, norm = 7.0, 0.1, 2.0
    numbers = torch.tensor([*losses, loss, dropped, norm, float(left_out), 0.1, 0.2, 0.3, 0.4])
    return PendingStep(step, 1, samples, 0.3, numbers)


def test_one_step_far_above_the_constant_is_told_like_any_other():
    recorder = Recorder()
    log = log_to(recorder)
    for step, share in enumerate((1.0, 2 * LARGEST_LOSS, 1.0, 2 * LARGEST_LOSS, 1.0), start=1):
        log.note(made(step, share=share))
    assert [metrics.step for metrics in recorder.steps] == [1, 2, 3, 4, 5]


def test_the_second_of_two_such_steps_is_divergence_and_says_how_far_it_rose():
    recorder = Recorder()
    log = log_to(recorder)
    log.note(made(1, share=LARGEST_LOSS * 1.5))
    with pytest.raises(
        Diverged, match=r"rose to 20\.0 times that of a constant prediction at step 2"
    ):
        log.note(made(2, share=LARGEST_LOSS * 2))
    assert [metrics.step for metrics in recorder.steps] == [1, 2]


def test_a_step_just_below_the_limit_is_no_divergence():
    log = log_to(Recorder())
    for step in (1, 2, 3):
        log.note(made(step, share=LARGEST_LOSS * 0.99))
    assert log.bad_in_a_row == 0


def test_a_step_left_out_after_one_far_above_is_divergence_too():
    recorder = Recorder()
    log = log_to(recorder)
    log.note(made(1, share=LARGEST_LOSS * 2))
    with pytest.raises(Diverged, match="became non-finite at step 2"):
        log.note(made(2, left_out=True))
    assert recorder.non_finite == [2]


def test_means_of_an_epoch_weigh_by_samples_and_leave_out_what_was_left_out():
    log = log_to(Recorder(), steps_per_fetch=50)
    log.note(made(1, share=1.0, samples=30))
    log.note(made(2, share=9.0, left_out=True))
    log.note(made(3, share=2.0, samples=10))
    share = (30 * 1.0 + 10 * 2.0) / 40
    expected = dict.fromkeys(ALL_HEADS, share * CONSTANT / len(ALL_HEADS))
    assert log.losses_of_epoch() == pytest.approx(expected)
    log.begin_epoch()
    log.note(made(4, share=3.0))
    expected = dict.fromkeys(ALL_HEADS, 3.0 * CONSTANT / len(ALL_HEADS))
    assert log.losses_of_epoch() == pytest.approx(expected)


def test_steps_are_told_together_and_timed_from_one_fetch_to_the_next():
    recorder = Recorder()
    log = log_to(recorder, steps_per_fetch=2)
    log.note(made(1))
    assert recorder.steps == []
    for step in (2, 3, 4):
        log.note(made(step))
    # The clock counts one second for each fetch of 64 samples.
    assert [metrics.samples_per_s for metrics in recorder.steps] == [None, None, 64.0, 64.0]
    log.pause()
    log.note(made(5))
    log.fetch()
    assert recorder.steps[-1].samples_per_s is None
