"""Why training ended before it was done."""

from __future__ import annotations

from specs.writing import grouped


class Stopped(Exception):
    """Training was asked to stop; a checkpoint of `step` was saved."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"Stopped at step {step}.")


class Diverged(Exception):
    """Two steps in a row went wrong, the second being `step`. `share` is what that one lost over what
    the constant predictor loses, None when loss or gradient was not finite. `what` says it in words.
    """

    def __init__(self, step: int, learning_rate: float, *, share: float | None = None) -> None:
        self.step = step
        self.learning_rate = learning_rate
        self.what = (
            "became non-finite"
            if share is None
            else f"rose to {grouped(share, 0 if share >= 100 else 1)} times that of a constant prediction"
        )
        super().__init__(
            f"The loss {self.what} at step {step} with learning rate {learning_rate:g}."
        )


class OutOfMemory(Exception):
    """An allocation failed. `needed_bytes` are those held by then and those asked for."""

    def __init__(self, step: int, batch: int, needed_bytes: int, free_bytes: int) -> None:
        self.step = step
        self.batch = batch
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        super().__init__(f"Out of memory at step {step} with batch {batch}.")


class CheckpointRejected(Exception):
    """A checkpoint is damaged, or belongs to other training; the message says which."""


class OtherFormat(CheckpointRejected):
    """A whole checkpoint that another version of this code wrote."""


class PeerLost(Exception):
    """Another of the processes that train together is gone; it knows why, this one does not."""


class TooFewDevices(Exception):
    """More processes than GPUs were asked for."""

    def __init__(self, found: int, wanted: int) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(f"found {found} GPUs; expected {wanted}")
