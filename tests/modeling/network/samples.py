"""Random windows and small networks for the tests of the network."""

from __future__ import annotations

import torch

from modeling.network.attention import TemporalAttentionBias
from modeling.network.size import coarse_bars, token_count
from modeling.network.transformer import EnhancedCryptoTransformer, build_network
from modeling.network.windows import WindowBatch
from modeling.specs import NetworkSpec

SCALES = (1, 3, 6, 12)


def small_spec(**changes: object) -> NetworkSpec:
    """A narrow network; `changes` replace single fields."""
    fields: dict[str, object] = {
        "d_model": 32,
        "heads": 4,
        "layers": 2,
        "d_ff": 64,
        "patch_bars": 4,
    }
    return NetworkSpec.parse({**fields, **changes})


def small_network(
    spec: NetworkSpec | None = None, *, features: int = 15, context_bars: int = 64, seed: int = 0
) -> EnhancedCryptoTransformer:
    return build_network(
        spec or small_spec(),
        features=features,
        context_bars=context_bars,
        scales=SCALES,
        seed=seed,
    )


def random_batch(
    *,
    batch: int = 8,
    features: int = 15,
    context_bars: int = 64,
    patch_bars: int = 4,
    phases: tuple[int, ...] = (0, 5, 11),
    seed: int = 0,
) -> WindowBatch:
    """Windows of noise; sample b has the phase `phases[b % len(phases)]` in the largest scale."""
    generator = torch.Generator().manual_seed(seed)
    tokens = token_count(context_bars, patch_bars)
    largest = torch.tensor([phases[b % len(phases)] for b in range(batch)])
    coarse = {
        k: torch.randn(batch, coarse_bars(context_bars, k), features, generator=generator)
        for k in SCALES[1:]
    }
    return WindowBatch(
        base=torch.randn(batch, context_bars, features, generator=generator),
        coarse=coarse,
        phase={k: largest % k for k in coarse},
        slot=torch.randint(0, 288, (batch, tokens), generator=generator),
        weekday=torch.randint(0, 7, (batch, tokens), generator=generator),
        log_volatility_z=torch.randn(batch, generator=generator),
    )


def use_mapping(network: EnhancedCryptoTransformer, mapping: object) -> None:
    """Let every attention of the network compute by `mapping`."""
    for module in network.modules():
        if isinstance(module, TemporalAttentionBias):
            module.mapping = mapping  # type: ignore[assignment]


def enlarge_weights(network: EnhancedCryptoTransformer, factor: float = 8.0) -> None:
    """Make attention uneven: at its initial weights a network hardly looks at its inputs."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and parameter.dim() == 2:
                parameter.mul_(factor)
