from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.commands import ReportingCommand
from modeling.network.size import network_size
from modeling.presets import CONTEXT_BARS, NETWORKS, PRESETS
from modeling.specs import FeatureSpec, NetworkSpec

BASE_MINUTES = 5


class Command(ReportingCommand):
    help = "Print the sizes of a preset's network, by module; nothing is built."
    requires_system_checks: list[str] = []  # plain arithmetic

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--preset", required=True, metavar="P", help=", ".join(NETWORKS))
        parser.add_argument(
            "--features",
            type=int,
            metavar="N",
            help="columns of the input (default: those of the preset)",
        )

    def report(self, options: dict[str, Any]) -> dict[str, Any]:
        name, features = options["preset"], options["features"]
        if name not in NETWORKS:
            raise CommandError(f"--preset: found {name!r}; expected one of {', '.join(NETWORKS)}")
        if features is None:
            features = PRESETS[name].features.count
        if not 1 <= features <= 1000:
            raise CommandError(f"--features: found {features}; expected 1 to 1000")
        spec, context = NETWORKS[name], CONTEXT_BARS[name]
        scales = FeatureSpec().scales_for(BASE_MINUTES)
        size = network_size(spec, features=features, context_bars=context, scales=scales)
        return {
            "preset": name,
            "features": features,
            "context_bars": context,
            "scales": list(scales),
            **size,
            "shapes": shapes(spec, features, context, size["tokens"]),
        }

    def text(self, found: dict[str, Any]) -> str:
        lines = [
            f"{found['preset']}: {found['parameters']:,} parameters, {found['weight_mib']:.1f} MiB",
            f"input  {found['shapes']['input']}  tokens {found['shapes']['tokens']}",
            "",
            *(f"{name:<12} {count:>12,}" for name, count in found["modules"].items()),
        ]
        return "\n".join(lines)


def shapes(spec: NetworkSpec, features: int, context: int, tokens: int) -> dict[str, list[Any]]:
    """Shapes on the way through the network; B is the batch."""
    if spec.is_linear:
        return {"input": ["B", features], "tokens": ["B", tokens, features]}
    return {"input": ["B", context, features], "tokens": ["B", tokens, spec.d_model]}
