"""The last-sign rung: the next bars go where the last bar went."""

from __future__ import annotations

import numpy as np

from modeling.baselines.rungs import Floats, Ints


def last_sign(log_returns: Floats, bars: Ints) -> Floats:
    """The action −1, 0 or 1 [n]: the sign of the return of each bar t in `bars` [n].

    `log_returns` [N] are close to close, spliced over gaps; NaN where there is none, and NaN then.
    Uses nothing after t.
    """
    return np.sign(log_returns[bars])
