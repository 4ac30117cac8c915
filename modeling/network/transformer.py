"""The transformer: windows of candles in, five heads of logits out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeling.network.attention import TemporalAttentionBias
from modeling.network.dropout import AdaptiveDropout
from modeling.network.heads import FiveHeads
from modeling.network.layers import Attention, Block, FeedForward
from modeling.network.multi_scale import MultiScaleProcessor
from modeling.network.size import (
    DAYS_PER_WEEK,
    HEAD_OUTPUTS,
    SLOT_WIDTH,
    SLOTS_PER_DAY,
    token_count,
)
from modeling.network.windows import WindowBatch
from modeling.specs import NetworkSpec

WEIGHT_STD = 0.02
CLOSED_GATE = -2.0


class TemporalEmbedding(nn.Module):
    """Position in the window, time of day and day of the week of each token's close."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(tokens, width))
        self.slot = nn.Parameter(torch.zeros(SLOTS_PER_DAY, SLOT_WIDTH))
        self.slot_projection = nn.Linear(SLOT_WIDTH, width)
        self.weekday = nn.Parameter(torch.zeros(DAYS_PER_WEEK, width))

    def forward(self, slot: Tensor, weekday: Tensor) -> Tensor:
        """[B,K,D] from slot [B,K] in 0..287 and weekday [B,K] in 0..6."""
        # 288 projected rows are cheaper than B·K
        day = self.slot_projection(self.slot).float()
        return (
            self.position
            + functional.embedding(slot, day)
            + functional.embedding(weekday, self.weekday)
        )


class Head(nn.Module):
    """Linear D→D//2, GELU, Linear D//2→o, in float32."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, width // 2)
        self.output = nn.Linear(width // 2, outputs)

    def forward(self, h: Tensor) -> Tensor:
        """Logits [B,o] from h [B,D]."""
        logits: Tensor = self.output(functional.gelu(self.expand(h)))
        return logits


class EnhancedCryptoTransformer(FiveHeads):
    """A causal transformer over patches of candles with time-decayed attention and coarser scales."""

    def __init__(
        self, spec: NetworkSpec, *, features: int, context_bars: int, scales: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.patch_bars = spec.patch_bars
        self.tokens = token_count(context_bars, spec.patch_bars)
        self.padding_bars = self.tokens * spec.patch_bars - context_bars
        self.input = nn.Linear(spec.patch_bars * features, spec.d_model)
        self.embedding = TemporalEmbedding(self.tokens, spec.d_model)
        self.dropout = AdaptiveDropout(spec.dropout, adaptive=spec.adaptive_dropout)
        self.multi_scale = (
            MultiScaleProcessor(spec, features=features, context_bars=context_bars, scales=scales)
            if spec.multi_scale
            else None
        )
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.d_model)
        self.heads = nn.ModuleDict(
            {name: Head(spec.d_model, outputs) for name, outputs in HEAD_OUTPUTS.items()}
        )

    def forward(self, batch: WindowBatch) -> dict[str, Tensor]:
        """Logits of the five heads, float32: action [B,1], market_regime [B,4], confidence [B,1],
        volatility [B,1], risk [B,3].

        The confidence head sees a detached state: its loss never steers the backbone.
        """
        # the heads read the last token: the last block computes no other
        state = self.encode(batch, last_only=True)[:, -1]
        with torch.autocast(state.device.type, enabled=False):
            h = self.norm(state.float())
            return {
                name: head(h.detach() if name == "confidence" else h)
                for name, head in self.heads.items()
            }

    def encode(self, batch: WindowBatch, *, last_only: bool = False) -> Tensor:
        """Token states [B,K,D] after the last block, or [B,1,D] of the last token alone.

        Token i depends on nothing after its end.
        """
        rate = self.dropout.rate(batch.log_volatility_z)
        token_time = self._token_time(batch.base.device)
        z = self.input(self._patches(batch.base)) + self.embedding(batch.slot, batch.weekday)
        z = self.dropout(z, rate)
        if self.multi_scale is not None:
            z = self.multi_scale(
                z,
                base=batch.base,
                coarse=batch.coarse,
                phase=batch.phase,
                token_time=token_time,
                rate=rate,
            )
        for number, block in enumerate(self.blocks, start=1):
            is_last = last_only and number == len(self.blocks)
            z = block(z, token_time, rate, queries=1 if is_last else self.tokens)
        return z

    def half_lives(self) -> dict[str, list[float]]:
        """Half-life in bars of each head's attention, by layer; empty without temporal bias."""
        return {
            name.removesuffix(".bias"): module.half_lives()
            for name, module in self.named_modules()
            if isinstance(module, TemporalAttentionBias) and module.slope is not None
        }

    def mean_dropout(self, batch: WindowBatch) -> Tensor:
        """Mean rate of the adaptive dropout over the batch, []."""
        return self.dropout.rate(batch.log_volatility_z).mean()

    def start_at(self, constants: Mapping[str, Tensor]) -> None:
        """Set the output biases, so that each head of an untrained network is near its constant."""
        for name, constant in constants.items():
            bias = self.heads[name].get_parameter("output.bias")
            bias.copy_(constant[0].to(bias.device))

    def _patches(self, base: Tensor) -> Tensor:
        """[B,K,P·F] from base bars [B,T,F], padded on the left by the first bar."""
        if self.padding_bars:
            base = torch.cat((base[:, :1].expand(-1, self.padding_bars, -1), base), dim=1)
        return base.reshape(base.shape[0], self.tokens, -1)

    def _token_time(self, device: torch.device) -> Tensor:
        """End of each token [K] in bars before the window's end."""
        places = torch.arange(1 - self.tokens, 1, device=device, dtype=torch.float32)
        return places * self.patch_bars


def build_network(
    spec: NetworkSpec, *, features: int, context_bars: int, scales: tuple[int, ...], seed: int
) -> EnhancedCryptoTransformer:
    """The network of a spec with weights drawn from one generator; equal seeds give equal weights.

    `features` F, `context_bars` T and `scales` (multiples of the base bar, beginning with 1) fix its
    shapes. Raises ValueError when a scale has no whole bar in the context.
    """
    network = EnhancedCryptoTransformer(
        spec, features=features, context_bars=context_bars, scales=scales
    )
    initialise(network, layers=spec.layers, seed=seed)
    return network


@torch.no_grad()
def initialise(network: EnhancedCryptoTransformer, *, layers: int, seed: int) -> None:
    """Draw all weights: N(0, .02), outputs of attention and feed-forward N(0, .02/√(2L)); biases 0,
    LayerNorm 1 and 0, the fusion gate's bias −2. Slopes keep their spread half-lives.
    """
    generator = torch.Generator().manual_seed(seed)
    small = WEIGHT_STD / math.sqrt(2 * layers)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, WEIGHT_STD, generator=generator)
            module.bias.zero_()
    for module in network.modules():
        if isinstance(module, (Attention, FeedForward, MultiScaleProcessor)):
            module.output.weight.normal_(0.0, small, generator=generator)
    for table in (network.embedding.position, network.embedding.slot, network.embedding.weekday):
        table.normal_(0.0, WEIGHT_STD, generator=generator)
    if network.multi_scale is not None:
        network.multi_scale.gate.bias.fill_(CLOSED_GATE)
