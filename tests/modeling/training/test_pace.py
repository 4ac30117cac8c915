"""The pace of an attempt's steps, by numbers a person can check."""

from modeling.training.pace import Pace


def paced(speeds: list[float | None]) -> Pace:
    """A pace after steps of 32 samples at these speeds."""
    pace = Pace()
    for speed in speeds:
        pace.note(32, speed)
    return pace


def test_nineteen_steps_have_no_pace_and_twenty_have():
    assert (paced([32.0] * 19).left_s(10), paced([32.0] * 19).samples_per_s) == (None, None)
    assert (paced([32.0] * 20).left_s(10), paced([32.0] * 20).samples_per_s) == (10.0, 32.0)


def test_slow_and_fast_steps_count_by_the_time_they_take():
    # Half of the steps take 2 s, half take 1 s: 48 samples in 3 s, no mean of 16 and 32 in 1 s.
    pace = paced([16.0, 32.0] * 25)
    assert pace.samples_per_s == 64 / 3
    assert pace.left_s(10) == 15.0


def test_steps_that_nobody_timed_count_and_have_no_pace():
    assert paced([None] * 30).left_s(1) is None
    assert paced([None] * 19 + [32.0]).left_s(3) == 3.0
