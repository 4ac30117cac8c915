"""Processor time of pandas-ta-classic's indicators; run by `benchmarks.features` in its own environment.

Arguments: an .npy file of float64 rows (high, low, close, volume), and how often each is timed. Its own
implementations are timed, not TA-Lib through it. It stands alone on purpose: that environment has
none of our packages.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd


def indicators(columns: np.ndarray) -> dict[str, Callable[[], object]]:
    """Name of each indicator to a call with the parameters of our feature."""
    import pandas_ta_classic as ta

    high, low, close, volume = (pd.Series(row) for row in columns)
    own = {"talib": False}
    return {
        "RSI 14": lambda: ta.rsi(close, length=14, **own),
        "RSI 42": lambda: ta.rsi(close, length=42, **own),
        "MACD": lambda: ta.macd(close, fast=12, slow=26, signal=9, **own),
        "BBANDS": lambda: ta.bbands(close, length=20, std=2, **own),
        "STOCHF": lambda: ta.stoch(high, low, close, k=14, d=3, smooth_k=1, **own),
        "CCI": lambda: ta.cci(high, low, close, length=20, **own),
        "ADX and both DI": lambda: ta.adx(high, low, close, length=14, **own),
        "NATR": lambda: ta.natr(high, low, close, length=14, **own),
        "MFI": lambda: ta.mfi(high, low, close, volume, length=14, **own),
        "EMA": lambda: ta.ema(close, length=48, **own),
        "CMF": lambda: ta.cmf(high, low, close, volume, length=20),
        "Donchian 48": lambda: ta.donchian(high, low, lower_length=48, upper_length=48),
        "Donchian 288": lambda: ta.donchian(high, low, lower_length=288, upper_length=288),
        "Efficiency ratio": lambda: ta.er(close, length=48),
    }


def processor_s(action: Callable[[], object], repeats: int) -> float:
    """Median over the repeats, after one call that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])


def main() -> None:
    path, repeats = sys.argv[1], int(sys.argv[2])
    warnings.simplefilter("ignore")
    import importlib.metadata

    found = {
        "version": importlib.metadata.version("pandas-ta-classic"),
        "processor_s": {
            name: processor_s(action, repeats) for name, action in indicators(np.load(path)).items()
        },
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
