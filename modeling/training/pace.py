"""How fast the steps of an attempt are made."""

from __future__ import annotations

from collections import deque

# The pace is that of so many steps, and told from so many on.
STEPS, FEWEST_STEPS = 50, 20


class Pace:
    """Follows the steps of one attempt over all folds that it trains; only the last 50 count."""

    def __init__(self) -> None:
        self.steps = 0
        self._timed: deque[tuple[int, float]] = deque(maxlen=STEPS)  # samples and seconds

    def note(self, samples: int, samples_per_s: float | None) -> None:
        """A step was made; it counts, but has no pace where nobody timed it."""
        self.steps += 1
        if samples_per_s:
            self._timed.append((samples, samples / samples_per_s))

    @property
    def samples_per_s(self) -> float | None:
        """Of the last 50 steps; None before 20 were made."""
        if self.steps < FEWEST_STEPS or not self._timed:
            return None
        return sum(samples for samples, _ in self._timed) / self._seconds

    def left_s(self, steps: int) -> float | None:
        """Seconds that so many more steps take at this pace; None before 20 steps were made."""
        if self.steps < FEWEST_STEPS or not self._timed:
            return None
        return steps * self._seconds / len(self._timed)

    @property
    def _seconds(self) -> float:
        return sum(seconds for _, seconds in self._timed)
