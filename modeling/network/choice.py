"""The module that a spec names."""

from __future__ import annotations

from modeling.network.heads import FiveHeads
from modeling.network.linear import LinearHeads
from modeling.network.transformer import build_network
from modeling.specs import NetworkSpec


def network_of(
    spec: NetworkSpec, *, features: int, context_bars: int, scales: tuple[int, ...], seed: int
) -> FiveHeads:
    """A module to load weights into: the transformer, or linear heads where the spec has no network.

    The arguments are those of `build_network`, and so are the errors.
    """
    if spec.is_linear:
        return LinearHeads(features=features)
    return build_network(
        spec, features=features, context_bars=context_bars, scales=scales, seed=seed
    )
