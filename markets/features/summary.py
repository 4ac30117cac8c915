"""How the values of computed features are spread, and how alike the features are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from markets.features.table import FeatureTable, ScaleFeatures

HISTOGRAM_BINS = 40
CORRELATION_ROWS = 20_000
QUANTILES = {
    "q01": 0.01,
    "q05": 0.05,
    "q25": 0.25,
    "q50": 0.5,
    "q75": 0.75,
    "q95": 0.95,
    "q99": 0.99,
}
DIGITS = 6

Floats = NDArray[np.float64]


def summarize_scale(names: tuple[str, ...], scale: ScaleFeatures) -> dict[str, Any]:
    """Figures of each feature on one timescale, as plain JSON: `{bars, features: [...]}`.

    A feature has `count` (known values), `missing_share` (a fraction of the bars; the warm-up),
    `mean`, `sd` (ddof 0), `min`, `max`, quantiles (linear interpolation) and a `histogram`: 40 equal
    bins between the 1 % and the 99 % quantile, values outside counted in the first and the last.
    A feature without any value has None in all of them.
    """
    return {
        "bars": scale.values.shape[1],
        "features": [
            {"feature": name, **_figures(np.asarray(row, dtype=np.float64))}
            for name, row in zip(names, scale.values, strict=True)
        ],
    }


def correlations(table: FeatureTable) -> dict[str, Any]:
    """Spearman's correlation of all pairs on the base scale: `{method, rows, names, matrix}`.

    Rows are the bars that know all features; every q-th of them, at most 20 000, the first included.
    Ranks of equal values are averaged. With a constant feature, or with fewer than two rows, it is 0.
    """
    known = np.flatnonzero(np.isfinite(table.base.values).all(axis=0))
    rows = known[:: max(1, -(-known.size // CORRELATION_ROWS))]
    ranks = np.array([average_ranks(row) for row in table.base.values[:, rows]])
    return {
        "method": "spearman",
        "rows": int(rows.size),
        "names": list(table.names),
        "matrix": [[round(value, 4) for value in row] for row in _pearson(ranks).tolist()],
    }


def strongest_pairs(correlation: dict[str, Any], most: int) -> list[tuple[str, str, float]]:
    """The pairs with the largest absolute correlation, largest first; ties in registry order."""
    names, matrix = correlation["names"], correlation["matrix"]
    pairs = [
        (names[i], names[j], matrix[i][j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))[:most]


def average_ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks. NaN is not expected."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[place]
    return ranks


def _pearson(rows: Floats) -> Floats:
    """Correlation of the rows with each other, [F, F]; 0 with a constant row, 1 of a row with itself."""
    if rows.shape[1] < 2:
        return np.zeros((len(rows), len(rows)))
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def _figures(row: Floats) -> dict[str, Any]:
    known = row[np.isfinite(row)]
    count, missing = int(known.size), float(1.0 - known.size / max(1, row.size))
    if not count:
        nothing = dict.fromkeys(("mean", "sd", "min", "max", *QUANTILES, "histogram"))
        return {"count": 0, "missing_share": missing, **nothing}
    quantiles = np.quantile(known, list(QUANTILES.values())).tolist()
    spread = dict(zip(QUANTILES, quantiles, strict=True))
    figures = {
        "mean": float(known.mean()),
        "sd": float(known.std()),
        "min": float(known.min()),
        "max": float(known.max()),
        **spread,
    }
    return {
        "count": count,
        "missing_share": _short(missing),
        **{name: _short(value) for name, value in figures.items()},
        "histogram": _histogram(known, spread["q01"], spread["q99"]),
    }


def _histogram(known: Floats, low: float, high: float) -> dict[str, Any]:
    counts, edges = np.histogram(
        np.clip(known, low, high), bins=HISTOGRAM_BINS, range=(low, high) if high > low else None
    )
    return {
        "from": _short(float(edges[0])),
        "to": _short(float(edges[-1])),
        "counts": counts.tolist(),
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
