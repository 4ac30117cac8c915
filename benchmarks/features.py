"""Processor time of all 67 features on four timescales, beside raw TA-Lib and pandas-ta-classic.

Run from the root of the repository with `python -m benchmarks.features`, on a machine that does
nothing else. The candles come from the seeded generator, so every run computes the same numbers.
`--peer PYTHON` names the interpreter of an environment with `requirements/peers.txt`; without it the
comparison with pandas-ta-classic is skipped. Compared are the indicators that both have, with equal
parameters; our features hold them scaled, and that scaling is in our time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import talib

from markets.candles.frame import Candles
from markets.candles.synthetic import synthetic_candles
from markets.features.bars import Bars
from markets.features.compute import FUNCTIONS, compute_features
from markets.features.registry import FAMILIES, FEATURES
from markets.features.splice import splice_prices

SEED = 7
TIMEFRAME_MINUTES = 5
BARS_A_DAY = 24 * 60 // TIMEFRAME_MINUTES
SCALES = (1, 3, 6, 12)
# Design, section 9: seconds of processor time for 1 M bars, and times raw TA-Lib.
ALL_LIMIT_S = 3.0
TALIB_LIMIT = 1.15
PEER_LIMIT = 15.0
# The features that hold what `pandas_ta_indicators` computes, by the name it has there.
PEER_FEATURES = {
    "RSI 14": ("rsi_14",),
    "RSI 42": ("rsi_42",),
    "MACD": ("macd_line", "macd_signal", "macd_hist"),
    "BBANDS": ("bb_pctb_20", "bb_width_20"),
    "STOCHF": ("stoch_k_14", "stoch_d_14"),
    "CCI": ("cci_20",),
    "ADX and both DI": ("adx_14", "di_diff_14"),
    "NATR": ("natr_14",),
    "MFI": ("mfi_14",),
    "EMA": ("ema_slope_48",),
    "CMF": ("cmf_20",),
    "Donchian 48": ("donch_pos_48",),
    "Donchian 288": ("donch_pos_288",),
    "Efficiency ratio": ("efficiency_48",),
}


def market_of(bars: int) -> Candles:
    days = -(-bars // BARS_A_DAY)
    return synthetic_candles(days=days, timeframe_minutes=TIMEFRAME_MINUTES, seed=SEED).slice(
        0, bars
    )


def processor_times(action: Callable[[], object], repeats: int) -> list[float]:
    """Processor seconds of each repeat after one that is not counted; all threads count."""
    action()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return taken


def raw_talib(candles: Candles) -> dict[str, tuple[Callable[[], object], tuple[str, ...]]]:
    """TA-Lib's functions by name, each with the features that hold the same indicator."""
    s = splice_prices(candles)
    high_low_close = s.high, s.low, s.close

    def directional() -> None:
        for function in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI):
            function(*high_low_close, 14)

    return {
        "RSI 14": (partial(talib.RSI, s.close, 14), ("rsi_14",)),
        "RSI 42": (partial(talib.RSI, s.close, 42), ("rsi_42",)),
        "MACD and ATR": (
            lambda: (talib.MACD(s.close, 12, 26, 9), talib.ATR(*high_low_close, 14)),
            ("macd_line", "macd_signal", "macd_hist"),
        ),
        "BBANDS": (partial(talib.BBANDS, s.close, 20, 2, 2), ("bb_pctb_20", "bb_width_20")),
        "STOCHF": (partial(talib.STOCHF, *high_low_close, 14, 3), ("stoch_k_14", "stoch_d_14")),
        "CCI": (partial(talib.CCI, *high_low_close, 20), ("cci_20",)),
        "ADX and both DI": (directional, ("adx_14", "di_diff_14")),
        "NATR": (partial(talib.NATR, *high_low_close, 14), ("natr_14",)),
        "MFI": (partial(talib.MFI, *high_low_close, s.volume, 14), ("mfi_14",)),
        "EMA and ATR": (
            lambda: (talib.EMA(s.close, 48), talib.ATR(*high_low_close, 14)),
            ("ema_slope_48",),
        ),
    }


def features_s(candles: Candles, names: tuple[str, ...], repeats: int) -> float:
    """Median processor time of some features; the splice all 67 share is made before."""
    taken = []
    for _ in range(repeats + 1):
        bars = Bars(candles)
        start = time.process_time()
        for name in names:
            FUNCTIONS[name](bars)
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])


def beside_talib(candles: Candles, repeats: int) -> list[dict[str, object]]:
    """Each raw function and our features of it, scaling included, from the same spliced prices."""
    results: list[dict[str, object]] = []
    ours_all = raw_all = 0.0
    for what, (raw, names) in raw_talib(candles).items():
        ours_s = features_s(candles, names, repeats)
        raw_s = statistics.median(processor_times(raw, repeats))
        ours_all, raw_all = ours_all + ours_s, raw_all + raw_s
        results.append(_ratio(what, ours_s, raw_s))
    results.append(_ratio("all raw functions", ours_all, raw_all))
    together = tuple(name for _, names in raw_talib(candles).values() for name in names)
    ours_s = features_s(candles, together, repeats)
    results.append({**_ratio("all, shared series once", ours_s, raw_all), "limit": TALIB_LIMIT})
    return results


def _ratio(what: str, ours_s: float, raw_s: float) -> dict[str, object]:
    return {
        "what": what,
        "features_s": round(ours_s, 4),
        "talib_s": round(raw_s, 4),
        "ratio": round(ours_s / raw_s, 2),
    }


def beside_peer(candles: Candles, repeats: int, python: Path | None) -> list[dict[str, object]]:
    """pandas-ta-classic's indicators and our features of them, each alone and all together."""
    if python is None:
        return [{"what": "pandas-ta-classic", "skipped": "no --peer given"}]
    peer = peer_s(candles, repeats, python)
    if "skipped" in peer:
        return [{"what": "pandas-ta-classic", **peer}]
    results: list[dict[str, object]] = [
        {"what": "pandas-ta-classic", "version": peer["version"], "indicators": len(PEER_FEATURES)}
    ]
    theirs: dict[str, float] = peer["processor_s"]
    alone = []
    for what, names in PEER_FEATURES.items():
        ours_s = features_s(candles, names, repeats)
        alone.append(theirs[what] / ours_s)
        results.append(_peer_ratio(what, ours_s, theirs[what]))
    # Two slow indicators of the peer carry the sum, so the middle one is told too.
    results.append({"what": "median indicator", "times_faster": round(statistics.median(alone), 1)})
    every = tuple(name for names in PEER_FEATURES.values() for name in names)
    together = _peer_ratio(
        "all, shared series once", features_s(candles, every, repeats), sum(theirs.values())
    )
    return [*results, {**together, "limit": PEER_LIMIT}]


def peer_s(candles: Candles, repeats: int, python: Path) -> dict[str, Any]:
    """What the program beside this one finds in the other environment, on the same spliced prices."""
    program = Path(__file__).with_name("pandas_ta_indicators.py")
    s = splice_prices(candles)
    with tempfile.TemporaryDirectory() as folder:
        columns = Path(folder) / "columns.npy"
        np.save(columns, np.vstack([s.high, s.low, s.close, s.volume]))
        command = [str(python), str(program), str(columns), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _peer_ratio(what: str, ours_s: float, theirs_s: float) -> dict[str, object]:
    return {
        "what": what,
        "features_s": round(ours_s, 4),
        "pandas_ta_s": round(theirs_s, 4),
        "times_faster": round(theirs_s / ours_s, 1),
    }


def measure(bars: int, repeats: int, peer: Path | None) -> list[dict[str, object]]:
    candles, names = market_of(bars), tuple(FEATURES)
    start = time.perf_counter()
    compute_features(candles.slice(0, 3000), names, SCALES)
    results: list[dict[str, object]] = [
        {"what": "first call on 3000 bars", "wall_s": round(time.perf_counter() - start, 2)}
    ]
    times = processor_times(partial(compute_features, candles, names, SCALES), repeats)
    results.append(
        {
            "what": "67 features, 4 timescales",
            "bars": len(candles),
            "processor_s": round(statistics.median(times), 2),
            "range_s": [round(min(times), 2), round(max(times), 2)],
            "limit_s": ALL_LIMIT_S,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    )
    for family, features in FAMILIES.items():
        members = tuple(feature.name for feature in features)
        taken = features_s(candles, members, repeats)
        results.append({"what": family, "features": len(members), "processor_s": round(taken, 3)})
    return results + beside_talib(candles, repeats) + beside_peer(candles, repeats, peer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="interpreter with pandas-ta-classic")
    options = parser.parse_args()
    print(
        json.dumps(
            {
                "numpy": np.__version__,
                "numba": numba.__version__,
                "talib": talib.__version__,
                "talib_library": talib.__ta_version__.decode(),
            }
        )
    )
    for result in measure(options.bars, options.repeats, options.peer):
        print(json.dumps(result))


if __name__ == "__main__":
    main()
