"""How large the network of a spec is: plain arithmetic, for forms and estimates."""

from __future__ import annotations

from typing import TypedDict

from modeling.specs import ModelSpec, NetworkSpec

SLOTS_PER_DAY = 288
SLOT_WIDTH = 32
DAYS_PER_WEEK = 7
KERNEL_BARS = 4
HEAD_OUTPUTS: dict[str, int] = {
    "action": 1,
    "market_regime": 4,
    "confidence": 1,
    "volatility": 1,
    "risk": 3,
}
BYTES_PER_PARAMETER = 4
MIB = 2**20


class NetworkSize(TypedDict):
    """Parameters in all and by module, the weight in MiB of float32, and the tokens of a window."""

    parameters: int
    weight_mib: float
    tokens: int
    modules: dict[str, int]


def network_size(
    spec: NetworkSpec, *, features: int, context_bars: int, scales: tuple[int, ...]
) -> NetworkSize:
    """Count the parameters of the network that `network_of` makes from the same arguments.

    `features` is the number of columns F, `context_bars` the bars T of a window, `scales` the
    multiples of the base bar. `weight_mib` is 4 bytes per parameter over 2^20.
    """
    modules = (
        _linear(features) if spec.is_linear else _transformer(spec, features, context_bars, scales)
    )
    parameters = sum(modules.values())
    weight_mib = parameters * BYTES_PER_PARAMETER / MIB
    tokens = 1 if spec.is_linear else token_count(context_bars, spec.patch_bars)
    return NetworkSize(parameters=parameters, weight_mib=weight_mib, tokens=tokens, modules=modules)


def size_of(spec: ModelSpec, timeframe_minutes: int) -> NetworkSize:
    """Size of the network that this spec trains on candles of this timeframe."""
    return network_size(
        spec.network,
        features=spec.features.count,
        context_bars=spec.windows.context_bars,
        scales=spec.features.scales_for(timeframe_minutes),
    )


def _linear(features: int) -> dict[str, int]:
    return {"heads": sum(HEAD_OUTPUTS.values()) * (features + 1)}


def _transformer(
    spec: NetworkSpec, features: int, context_bars: int, scales: tuple[int, ...]
) -> dict[str, int]:
    width, inner = spec.d_model, spec.d_ff
    tokens = token_count(context_bars, spec.patch_bars)
    slopes = spec.heads if spec.temporal_bias else 0
    feed_forward = 2 * width * inner + inner + width
    attention = 4 * width**2 + 4 * width
    views = len(scales) * (KERNEL_BARS * features * width + 3 * width)
    fusion = 5 * (width**2 + width) + 6 * width + slopes + feed_forward
    half = width // 2
    return {
        "input": spec.patch_bars * features * width + width,
        "embedding": tokens * width
        + SLOTS_PER_DAY * SLOT_WIDTH
        + (SLOT_WIDTH + 1) * width
        + DAYS_PER_WEEK * width,
        "multi_scale": views + fusion if spec.multi_scale else 0,
        "blocks": spec.layers * (attention + feed_forward + 4 * width + slopes),
        "norm": 2 * width,
        "heads": sum(width * half + half + half * out + out for out in HEAD_OUTPUTS.values()),
    }


def token_count(context_bars: int, patch_bars: int) -> int:
    """Tokens K of a window: bars over patch length, rounded up."""
    return -(-context_bars // patch_bars)


def coarse_bars(context_bars: int, factor: int) -> int:
    """Coarse bars S_k of a window that lie wholly inside it at every phase; below 1: none."""
    return (context_bars - factor + 1) // factor
