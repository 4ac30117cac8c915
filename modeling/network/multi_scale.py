"""Coarser bars, fused into the tokens without looking ahead."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeling.network.attention import TemporalAttentionBias
from modeling.network.dropout import AdaptiveDropout
from modeling.network.layers import FeedForward, merge_heads, split_heads
from modeling.network.size import KERNEL_BARS, coarse_bars
from modeling.specs import NetworkSpec


class LocalView(nn.Module):
    """A causal convolution over four bars of one scale, then LayerNorm."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Linear(KERNEL_BARS * features, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, *, first: int = 0, step: int = 1) -> Tensor:
        """[B,S',D] from x [B,S,F], at bars `first`, `first + step` … of x.

        Before the first bar the first bar is repeated.
        """
        batch, _, features = x.shape
        padded = torch.cat((x[:, :1].expand(-1, KERNEL_BARS - 1, -1), x), dim=1)[:, first:]
        places = (padded.shape[1] - KERNEL_BARS) // step + 1
        windows = padded.as_strided(
            (batch, places, KERNEL_BARS * features),
            (padded.stride(0), step * features, 1),
        )
        view: Tensor = self.norm(self.convolution(windows).float())
        return view


class MultiScaleProcessor(nn.Module):
    """Adds the base view to the tokens, then lets them attend to coarse bars closed before them.

    Scale k gives the last S_k = (T − k + 1)//k coarse bars closed by the close of the window's
    last bar; they lie wholly inside the window at every phase.
    """

    def __init__(
        self, spec: NetworkSpec, *, features: int, context_bars: int, scales: tuple[int, ...]
    ) -> None:
        super().__init__()
        width = spec.d_model
        self.heads = spec.heads
        self.context_bars = context_bars
        self.patch_bars = spec.patch_bars
        self.coarse_scales = tuple(k for k in scales if k > 1)
        for k in self.coarse_scales:
            if coarse_bars(context_bars, k) < 1:
                raise ValueError(f"scale {k} has no whole bar in a context of {context_bars} bars")
        self.views = nn.ModuleDict({str(k): LocalView(features, width) for k in scales})
        self.query_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.coarse_norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width)
        self.bias = TemporalAttentionBias(spec.heads, decays=spec.temporal_bias)
        self.gate = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = AdaptiveDropout(spec.dropout, adaptive=spec.adaptive_dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, spec.d_ff)

    def forward(
        self,
        z: Tensor,
        *,
        base: Tensor,
        coarse: Mapping[int, Tensor],
        phase: Mapping[int, Tensor],
        token_time: Tensor,
        rate: Tensor,
    ) -> Tensor:
        """Tokens [B,K,D] from tokens z [B,K,D], base bars [B,T,F] and coarse bars {k: [B,S_k,F]}.

        `phase` {k: [B]} counts the base bars closed since the latest coarse bar; `token_time` [K]
        is each token's end in bars before the window's end; `rate` [B] is the dropout rate.
        """
        last_of_first_token = (base.shape[1] - 1) % self.patch_bars
        view = self.views["1"](base, first=last_of_first_token, step=self.patch_bars)
        z = z + view
        normed = self.query_norm(z)
        query = split_heads(self.query(normed), self.heads)
        key, value = self._keys_and_values(z, coarse)
        ends = self._ends(z.shape[0], phase, token_time)
        attended = self.bias(
            query,
            key,
            value,
            query_time=token_time,
            key_time=ends,
            allowed=ends[:, None, :] <= token_time[None, :, None],
        )
        update = self.dropout(self.output(merge_heads(attended)), rate)
        z = z + torch.sigmoid(self.gate(normed)) * update
        fed: Tensor = self.feed_forward(self.feed_forward_norm(z))
        return z + self.dropout(fed, rate)

    def _keys_and_values(self, z: Tensor, coarse: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        views = [self.views[str(k)](coarse[k]) for k in self.coarse_scales]
        joined = torch.cat(views, dim=1) if views else z[:, :0]
        key, value = self.key_value(self.coarse_norm(joined)).chunk(2, dim=-1)
        # the null key and value: zeros, so that no query is left without a key
        key, value = functional.pad(key, (0, 0, 1, 0)), functional.pad(value, (0, 0, 1, 0))
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def _ends(self, batch: int, phase: Mapping[int, Tensor], token_time: Tensor) -> Tensor:
        """Ends [B,1+ΣS_k] of null and coarse bars, in base bars before the window's end."""
        null = token_time.new_full((batch, 1), -float(self.context_bars))
        ends = [null]
        for k in self.coarse_scales:
            bars = coarse_bars(self.context_bars, k)
            place = torch.arange(1 - bars, 1, device=token_time.device, dtype=token_time.dtype)
            ends.append(place[None] * k - phase[k][:, None].to(token_time.dtype))
        return torch.cat(ends, dim=1)
