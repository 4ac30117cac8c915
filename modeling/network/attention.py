"""Attention that fades with age."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SHORTEST_HALF_LIFE_BARS = 4.0
LONGEST_HALF_LIFE_BARS = 512.0
LANES = 8

Mapping = Callable[..., Tensor]


class TemporalAttentionBias(nn.Module):
    """Scaled dot-product attention whose scores lose λ_h for each bar between query and key.

    λ_h = softplus(θ_h), one per head, so attention decays exponentially with age. The starting
    half-lives ln 2 / λ are spread evenly in the logarithm from 4 to 512 bars over the heads.
    """

    def __init__(self, heads: int, *, decays: bool, mapping: Mapping | None = None) -> None:
        super().__init__()
        self.mapping = mapping or rank_one_attention
        self.slope = nn.Parameter(starting_slopes(heads)) if decays else None

    def decay(self) -> Tensor | None:
        """λ [H] per bar in float32, or None when attention does not fade."""
        return None if self.slope is None else functional.softplus(self.slope.float())

    def half_lives(self) -> list[float]:
        """Bars after which a head's attention has halved, one per head; empty without decay."""
        decay = self.decay()
        return [] if decay is None else (math.log(2.0) / decay.detach()).tolist()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        query_time: Tensor,
        key_time: Tensor,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Attend: [B,H,Q,d] from query [B,H,Q,d] and key, value [B,H,J,d].

        `query_time` [Q] and `key_time` [J] or [B,J] are bars before the window's end (≤ 0).
        `allowed` [B,Q,J] names the keys a query may see; without it a query sees its own place and
        earlier ones, and a single query sees all keys.
        """
        attended: Tensor = self.mapping(
            query,
            key,
            value,
            decay=self.decay(),
            query_time=query_time,
            key_time=key_time,
            allowed=allowed,
        )
        return attended


def starting_slopes(heads: int) -> Tensor:
    """θ [H] = ln(e^λ − 1) for half-lives from 4 to 512 bars; one head takes the middle."""
    first, last = math.log(SHORTEST_HALF_LIFE_BARS), math.log(LONGEST_HALF_LIFE_BARS)
    places = torch.linspace(first, last, heads) if heads > 1 else torch.tensor([(first + last) / 2])
    return torch.log(torch.expm1(math.log(2.0) / torch.exp(places)))


def rank_one_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    decay: Tensor | None,
    query_time: Tensor,
    key_time: Tensor,
    allowed: Tensor | None,
) -> Tensor:
    """The decay as two more columns of query and key; no Q × J tensor of scores is made.

    Softmax ignores what is equal for all keys of a row, so of −λ(t_i − t_j) only λ·t_j counts.
    It is split in a part that bfloat16 holds exactly and the rest.
    """
    width = query.shape[-1]
    scale = 1.0 / math.sqrt(width)
    if decay is not None:
        shift = math.sqrt(width) * decay[:, None] * _rows(key_time)[:, None, :]  # [B|1,H,J]
        coarse = shift.detach().to(torch.bfloat16).float()
        columns = torch.stack((coarse, shift - coarse), dim=-1).to(key.dtype)
        key = torch.cat((key, columns.expand(*key.shape[:3], 2)), dim=-1)
        query = torch.cat((query, query.new_ones(()).expand(*query.shape[:3], 2)), dim=-1)
    padding = -query.shape[-1] % LANES
    attended = functional.scaled_dot_product_attention(
        functional.pad(query, (0, padding)),
        functional.pad(key, (0, padding)),
        functional.pad(value, (0, query.shape[-1] + padding - width)),
        attn_mask=None if allowed is None else allowed[:, None],
        is_causal=allowed is None and query.shape[2] > 1,
        scale=scale,
    )
    return attended[..., :width]


def mask_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    decay: Tensor | None,
    query_time: Tensor,
    key_time: Tensor,
    allowed: Tensor | None,
) -> Tensor:
    """The decay as a float mask [B,H,Q,J]: the fall-back, and dearer in memory.

    Rows of the mask are allocated to a multiple of 8 so that fused kernels accept it.
    """
    queries, keys = query.shape[2], key.shape[2]
    if allowed is None:
        seen = torch.ones(queries, keys, dtype=torch.bool, device=query.device)
        allowed = torch.tril(seen, diagonal=keys - queries)[None]
    age = query_time[None, :, None] - _rows(key_time)[:, None, :]  # [B|1,Q,J]
    bias = torch.zeros_like(age)[:, None] if decay is None else -decay[:, None, None] * age[:, None]
    bias = bias.masked_fill(~allowed[:, None], -math.inf).to(query.dtype)
    room = functional.pad(bias, (0, -keys % LANES))[..., :keys]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=room)


def _rows(key_time: Tensor) -> Tensor:
    return key_time if key_time.dim() == 2 else key_time[None]
