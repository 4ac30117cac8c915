from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.commands import ReportingCommand
from markets.candles.frame import Candles
from markets.features.registry import (
    CODE_VERSION,
    FEATURE_SETS,
    FEATURES,
    MINUTES_PER_DAY,
    UnknownFeature,
    registered,
)
from markets.specs import ImportSpec

NAMES = FEATURE_SETS["all-67"]


class Command(ReportingCommand):
    help = "List the features, or compute them on a candle file; no database is needed."
    requires_system_checks: list[str] = []  # works on files alone

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--data", type=Path, metavar="FILE", help="a candle file to compute on")
        parser.add_argument("--out", type=Path, metavar="FILE.parquet", help="where values go")
        parser.add_argument("--scale", type=int, default=1, help="base bars in one bar (default 1)")
        parser.add_argument("--names", help="features separated by commas (default: all)")

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        if (options["data"] is None) != (options["out"] is None):
            raise CommandError("--data FILE and --out FILE.parquet go together; give both.")
        names = _names(options["names"])
        if options["data"] is None:
            return {"code_version": CODE_VERSION, "features": [_facts(name) for name in names]}
        if options["out"].suffix != ".parquet":
            raise CommandError(f"--out: found {options['out'].name}; expected a name in .parquet")
        return _written(names, options)

    def text(self, found: dict[str, Any]) -> str:
        if "features" not in found:
            return super().text(found)
        return "\n".join(
            f"{row['name']:<24}{row['family']:<20}{row['warm_up_text']:<30}{row['formula']}"
            for row in found["features"]
        )


def _names(text: str | None) -> tuple[str, ...]:
    try:
        return registered(name.strip() for name in text.split(",")) if text else NAMES
    except UnknownFeature as error:
        raise CommandError(f"--names: {error}") from error


def _facts(name: str) -> dict[str, Any]:
    feature = FEATURES[name]
    return {
        "name": name,
        "family": feature.family,
        "formula": feature.formula,
        "inputs": feature.inputs.split(),
        "warm_up": feature.warm_up,
        "warm_up_text": feature.warm_up_text,
    }


def _written(names: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    from markets.features.compute import compute_scale
    from markets.features.files import write_features

    candles, factor = _candles(options["data"]), options["scale"]
    minutes = candles.timeframe_minutes
    if factor < 1 or MINUTES_PER_DAY % (minutes * factor):
        raise CommandError(
            f"--scale: found {factor}; a bar of {factor} × {minutes} minutes must divide a UTC day"
        )
    scale = compute_scale(candles, names, factor)
    try:
        write_features(options["out"], names, scale)
    except OSError as error:
        raise CommandError(f"{options['out']} cannot be written: {error.strerror}.") from error
    return {
        "rows": len(scale.open_time),
        "columns": len(names),
        "timeframe_minutes": minutes * factor,
        "code_version": CODE_VERSION,
        "out": str(options["out"]),
    }


def _candles(path: Path) -> Candles:
    """The candles of a file, validated as an import would. Raises CommandError."""
    from markets.candles.errors import InvalidCandles
    from markets.candles.validation import validate_candles
    from markets.sources.reading import read_source

    spec = ImportSpec(symbol="FILE")
    try:
        candles, _ = validate_candles(read_source(path, path.name, spec), spec, time.time_ns())
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except InvalidCandles as error:
        raise CommandError(f"{error.code}: {' '.join(error.message.split())}") from error
    return candles
