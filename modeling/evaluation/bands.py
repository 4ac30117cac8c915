"""Bands of a volatility forecast: what the calibration slice missed by, and how often the test stays inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from modeling.evaluation import prepared
from modeling.evaluation.cases import Scoring
from modeling.evaluation.columns import MIN_SAMPLES, scorable_rows
from modeling.evaluation.draws import resampling
from modeling.evaluation.intervals import Between, draw_values, interval_of, no_pause
from modeling.evaluation.prepared import Bools, Floats, Ints

Columns = Mapping[str, NDArray[np.generic]]
Json = dict[str, object]

NOMINAL_SHARE = 0.80
QUANTILES = (0.10, 0.90)


@dataclass(frozen=True)
class Band:
    """Quantiles 0.10 and 0.90 of ln σ − ln σ̂ over `samples` bars of a fold's calibration slice."""

    low: float
    high: float
    samples: int

    def to_json(self) -> dict[str, float]:
        """Plain JSON data; from_json(to_json()) gives an equal band."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, float]) -> Self:
        """Read `to_json()` back. Raises KeyError on anything else."""
        return cls(float(data["low"]), float(data["high"]), int(data["samples"]))


def fit_band(volatility: Floats, realised: Floats) -> Band:
    """The 80 % band of a forecast σ̂ [n] around what came, σ [n], both per bar and above 0, no NaN.

    Quantiles by linear interpolation. The realised σ then lies in σ̂·e^low … σ̂·e^high for 80 % of the
    bars, where the test block is like the calibration slice. Raises ValueError without samples.
    """
    if len(volatility) == 0:
        raise ValueError("found no calibration samples; expected at least one")
    low, high = np.quantile(np.log(realised) - np.log(volatility), QUANTILES)
    return Band(float(low), float(high), len(volatility))


def band_share(
    table: Columns,
    bands: Mapping[int, Band],
    scoring: Scoring,
    *,
    between: Between = no_pause,
) -> Json:
    """Share of bars whose realised σ lies in the band of their fold, ends included, as plain JSON.

    {"value", "interval"?, "reason"?, "nominal", "folds": [{"fold", "samples", "value", "reason"?,
    "low", "high"}]}. Rows of a fold without a band count nowhere, nor does a
    band without rows. Below 200 bars a value is None with
    its reason. `between` is called with the share of the draws done and may raise.
    """
    rows = scorable_rows(table, "volatility")
    fold_of = np.asarray(table["fold"], dtype=np.int64)[rows]
    is_banded = np.isin(fold_of, list(bands))
    rows, fold_of = rows[is_banded], fold_of[is_banded]
    inside = _is_inside(table, rows, fold_of, bands)
    folds = [
        {
            "fold": fold,
            **_share(inside[fold_of == fold]),
            "low": bands[fold].low,
            "high": bands[fold].high,
        }
        for fold in np.unique(fold_of).tolist()
    ]
    found = _share(inside)
    if scoring.draws and found["value"] is not None:
        metric = prepared.mean_of(inside.astype(float))
        plan = resampling(table, rows, inside.astype(float), scoring)
        span = interval_of(draw_values({"share": metric}, plan, between=between)["share"])
        found["interval"] = list(span) if span else None
    return {**found, "nominal": NOMINAL_SHARE, "folds": folds}


def _is_inside(table: Columns, rows: Ints, fold_of: Ints, bands: Mapping[int, Band]) -> Bools:
    guess, truth = (
        np.asarray(table[name], dtype=np.float64)[rows]
        for name in ("volatility", "realised_volatility")
    )
    residual = np.log(truth) - np.log(guess)
    low = np.array([bands[fold].low for fold in fold_of.tolist()], dtype=np.float64)
    high = np.array([bands[fold].high for fold in fold_of.tolist()], dtype=np.float64)
    return np.asarray((residual >= low) & (residual <= high))


def _share(inside: Bools) -> Json:
    samples = len(inside)
    if samples < MIN_SAMPLES:
        reason = f"found {samples} test samples; a score needs {MIN_SAMPLES}"
        return {"samples": samples, "value": None, "reason": reason}
    return {"samples": samples, "value": float(inside.mean())}
