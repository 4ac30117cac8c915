"""Processor time to import 1 M candles, report included, beside a plain pandas read in the same run.

Run from the root of the repository with `python -m benchmarks.imports`, on a machine that does
nothing else. The candles come from the seeded generator, so every run reads the same files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq

from markets.candles.frame import (
    VALUE_COLUMNS,
    Candles,
    candles_sha256,
    read_candles,
    write_candles,
)
from markets.candles.synthetic import synthetic_candles
from markets.candles.validation import validate_candles
from markets.sources.reading import read_source
from markets.specs import ImportSpec

SEED = 7
TIMEFRAME_MINUTES = 5
BARS_A_DAY = 24 * 60 // TIMEFRAME_MINUTES
BARS_A_YEAR = 365 * BARS_A_DAY
# Design, section 9, in seconds of processor time for 1 M candles; the year in wall time.
LIMITS_S = {"parquet": 1.0, "csv": 3.0, "read a year": 0.05}
# What fits into the 50 MiB that are accepted as JSON.
JSON_ROWS = 500_000


def market_of(rows: int) -> Candles:
    days = -(-rows // BARS_A_DAY)
    return synthetic_candles(days=days, timeframe_minutes=TIMEFRAME_MINUTES, seed=SEED).slice(
        0, rows
    )


def write_files(folder: Path, candles: Candles) -> dict[str, Path]:
    paths = {name: folder / f"candles.{name}" for name in ("parquet", "csv", "feather", "json")}
    milliseconds = candles.time // 1_000_000
    frame = pd.DataFrame(
        {"timestamp": milliseconds, **{name: getattr(candles, name) for name in VALUE_COLUMNS}}
    )
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), paths["parquet"])
    pa_feather.write_feather(frame, paths["feather"])
    frame.to_csv(paths["csv"], index=False)
    rows = frame.head(JSON_ROWS).round(2).to_numpy().tolist()
    paths["json"].write_text(json.dumps([[int(row[0]), *row[1:]] for row in rows]))
    return paths


def processor_s(action: Callable[[], object], repeats: int) -> float:
    """Median over the repeats; all threads of this process count."""
    action()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def imported(path: Path) -> tuple[Candles, str]:
    spec = ImportSpec(symbol="BTC/USDT")
    candles, _ = validate_candles(read_source(path, path.name, spec), spec, time.time_ns())
    return candles, candles_sha256(candles)


PANDAS: dict[str, Callable[[Path], object]] = {
    "parquet": pd.read_parquet,
    "csv": pd.read_csv,
    "feather": pd.read_feather,
    "json": pd.read_json,
}


def measure(rows: int, repeats: int) -> list[dict[str, object]]:
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        candles = market_of(rows)
        expected = candles_sha256(candles)
        for form, path in write_files(folder, candles).items():
            found, sha256 = imported(path)
            if form != "json" and sha256 != expected:
                raise SystemExit(f"{form}: the candles read are not those written")
            ours = processor_s(partial(imported, path), repeats)
            plain = processor_s(partial(PANDAS[form], path), repeats)
            results.append(
                {
                    "what": form,
                    "rows": len(found),
                    "mib": round(path.stat().st_size / 2**20, 1),
                    "import_s": round(ours, 3),
                    "pandas_read_s": round(plain, 3),
                    "ratio": round(ours / plain, 2),
                    "limit_s": LIMITS_S.get(form),
                }
            )
        results.append(_year(folder, candles, repeats))
    return results


def _year(folder: Path, candles: Candles, repeats: int) -> dict[str, object]:
    path = folder / "sealed.parquet"
    year = candles.slice(0, min(len(candles), BARS_A_YEAR))
    write_candles(path, year)
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        read_candles(path, TIMEFRAME_MINUTES)
        taken.append(time.perf_counter() - start)
    return {
        "what": "read a year",
        "rows": len(year),
        "wall_s": round(statistics.median(taken[1:]), 4),
        "limit_s": LIMITS_S["read a year"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(
        json.dumps({"numpy": np.__version__, "pyarrow": pa.__version__, "pandas": pd.__version__})
    )
    late = []
    for result in measure(options.rows, options.repeats):
        print(json.dumps(result))
        limit_s, taken_s = result["limit_s"], result.get("import_s", result.get("wall_s"))
        if isinstance(limit_s, float) and isinstance(taken_s, float) and taken_s > limit_s:
            late.append(f"{result['what']} took {taken_s} s, at most {limit_s} s are allowed")
    if late:
        raise SystemExit("; ".join(late))


if __name__ == "__main__":
    main()
