"""The parts of a transformer block."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from modeling.network.attention import TemporalAttentionBias
from modeling.network.dropout import AdaptiveDropout
from modeling.specs import NetworkSpec


class FeedForward(nn.Module):
    """Linear D→I, GELU, Linear I→D."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[…,D] from x […,D], each place for itself."""
        fed: Tensor = self.output(functional.gelu(self.expand(x)))
        return fed


class Attention(nn.Module):
    """Causal self-attention over the tokens of a window."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.projection = nn.Linear(spec.d_model, 3 * spec.d_model)
        self.bias = TemporalAttentionBias(spec.heads, decays=spec.temporal_bias)
        self.output = nn.Linear(spec.d_model, spec.d_model)

    def forward(self, x: Tensor, token_time: Tensor, *, queries: int) -> Tensor:
        """[B,Q,D] for the last Q = `queries` tokens, all or one, of x [B,K,D].

        `token_time` [K] in bars before the window's end.
        """
        query, key, value = self._projected(x, queries)
        attended = self.bias(
            split_heads(query, self.heads),
            split_heads(key, self.heads),
            split_heads(value, self.heads),
            query_time=token_time[-queries:],
            key_time=token_time,
        )
        mixed: Tensor = self.output(merge_heads(attended))
        return mixed

    def _projected(self, x: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor]:
        width = x.shape[2]
        if queries == x.shape[1]:
            query, key, value = self.projection(x).chunk(3, dim=-1)
            return query, key, value
        weight, bias = self.projection.weight, self.projection.bias
        query = functional.linear(x[:, -queries:], weight[:width], bias[:width])
        key, value = functional.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        return query, key, value


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.d_model)
        self.attention = Attention(spec)
        self.feed_forward_norm = nn.LayerNorm(spec.d_model)
        self.feed_forward = FeedForward(spec.d_model, spec.d_ff)
        self.dropout = AdaptiveDropout(spec.dropout, adaptive=spec.adaptive_dropout)

    def forward(self, z: Tensor, token_time: Tensor, rate: Tensor, *, queries: int) -> Tensor:
        """[B,Q,D] for the last Q = `queries` tokens of z [B,K,D]; `rate` [B] is the dropout rate."""
        attended = self.attention(self.attention_norm(z), token_time, queries=queries)
        z = z[:, -queries:] + self.dropout(attended, rate)
        fed: Tensor = self.feed_forward(self.feed_forward_norm(z))
        return z + self.dropout(fed, rate)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B,H,S,d] from x [B,S,D]."""
    return x.view(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B,S,D] from x [B,H,S,d]."""
    return x.transpose(1, 2).flatten(2)
