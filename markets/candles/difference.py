"""What a longer file changes about candles that were there before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.candles.frame import VALUE_COLUMNS, Candles
from markets.candles.report import utc_text

SHOWN_CHANGES = 20


def diff_candles(old: Candles, new: Candles) -> dict[str, Any]:  # Any: JSON has no narrower type
    """Bars added before, inside and after the old ones, bars gone, and bars changed, as JSON data.

    Two bars are equal when all five values are. `overlap` counts the times that both have;
    `removed_inside` counts the bars gone that lie within the span of the new candles;
    `changes` shows the first 20 changed bars with the old and new value of each changed column.
    `is_extension` is true when every old bar is there unchanged. Raises ValueError when the
    timeframes differ.
    """
    if old.timeframe_minutes != new.timeframe_minutes:
        raise ValueError(
            f"cannot compare {old.timeframe_minutes} with {new.timeframe_minutes} minutes"
        )
    _, in_old, in_new = np.intersect1d(old.time, new.time, assume_unique=True, return_indices=True)
    differs = {
        name: getattr(old, name)[in_old] != getattr(new, name)[in_new] for name in VALUE_COLUMNS
    }
    changed = np.logical_or.reduce(list(differs.values()))
    removed = np.setdiff1d(old.time, new.time, assume_unique=True)
    return {
        "rows_before": len(old),
        "rows_after": len(new),
        "added": _added(old, new),
        "removed_bars": len(removed),
        "removed_inside": _inside(removed, new),
        "first_removed_at": _first_at(removed),
        "overlap": {
            "bars": len(in_old),
            "equal": int((~changed).sum()),
            "changed": int(changed.sum()),
        },
        "changed_by_column": {name: int(mask.sum()) for name, mask in differs.items()},
        "first_changed_at": _first_at(old.time[in_old][changed]),
        "changes": [
            _change(old, new, int(in_old[index]), int(in_new[index]))
            for index in np.flatnonzero(changed)[:SHOWN_CHANGES]
        ],
        "is_extension": not len(removed) and not changed.any(),
    }


def _added(old: Candles, new: Candles) -> dict[str, int]:
    added = np.setdiff1d(new.time, old.time, assume_unique=True)
    if not len(old):
        return {"before": 0, "inside": 0, "after": len(added)}
    before = int((added < old.time[0]).sum())
    after = int((added > old.time[-1]).sum())
    return {"before": before, "inside": len(added) - before - after, "after": after}


def _inside(times: NDArray[np.int64], candles: Candles) -> int:
    if not len(candles):
        return 0
    return int(((times >= candles.time[0]) & (times <= candles.time[-1])).sum())


def _first_at(times: NDArray[np.int64]) -> str | None:
    return utc_text(int(times[0])) if len(times) else None


def _change(old: Candles, new: Candles, was: int, now: int) -> dict[str, Any]:  # Any: as above
    pairs = {
        name: [float(getattr(old, name)[was]), float(getattr(new, name)[now])]
        for name in VALUE_COLUMNS
    }
    return {
        "at": utc_text(int(old.time[was])),
        **{name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
    }
