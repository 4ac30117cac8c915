"""The page docs/features.md, made from the registry: `python -m markets.features.catalogue`."""

from __future__ import annotations

import sys

from markets.features.registry import FAMILIES, FEATURE_SETS, Feature

HEADINGS = {
    "core_technical": "Core technical",
    "order_flow": "Order flow (proxies: candles do not tell who bought)",
    "microstructure": "Microstructure (proxies: candles have no order book)",
    "volatility": "Volatility",
    "support_resistance": "Support and resistance",
    "momentum_trend": "Momentum and trend",
    "time": "Time (UTC, at the close of the bar)",
}
INTRODUCTION = """\
# Features

This page is made from the registry: `python -m markets.features.catalogue > docs/features.md`.

Every feature at a bar is made from bars closed by then. None carries a price level: prices times
any constant and volumes times any constant leave all of them as they are. Periods are bars of the
timescale at hand; on a coarse timescale all features are computed anew on the coarse bars.

Notation: O H L C V are open, high, low, close and volume, prices spliced over gaps; x₋₁ is one bar
earlier; r = ln(C/C₋₁); s_n = √mean_n(r²), at least ε = 1e-6; Σ_n, mean_n, max_n, min_n, σ_n (ddof 0)
and corr_n go over the last n bars with the current one; TP = (H + L + C)/3; VWAP_n = Σ_n TP·V / Σ_n V;
TWAP_n = mean_n TP; ATR is Wilder's over 14 bars; a quotient is 0 where its divisor is 0.

Warm-up: bars at the beginning without a value. Afterwards every value is finite.
"""


def catalogue_markdown() -> str:
    """The whole page in Markdown: the named sets and one table for each family."""
    sets = "".join(f"- `{name}`: {len(names)} features\n" for name, names in FEATURE_SETS.items())
    tables = [
        f"## {HEADINGS[family]}\n\n"
        "| Name | Formula | Inputs | Warm-up |\n|---|---|---|---|\n"
        + "".join(_row(feature) for feature in features)
        for family, features in FAMILIES.items()
    ]
    return "\n".join([INTRODUCTION, f"## Named sets\n\n{sets}", *tables])


def _row(feature: Feature) -> str:
    formula = feature.formula.replace("|", "\\|")
    return f"| `{feature.name}` | {formula} | {feature.inputs} | {feature.warm_up_text} |\n"


if __name__ == "__main__":
    sys.stdout.write(catalogue_markdown())
