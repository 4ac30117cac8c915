"""Attention with temporal decay, written out: the judge of the fused mappings."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    decay: Tensor | None,
    query_time: Tensor,
    key_time: Tensor,
    allowed: Tensor | None,
) -> Tensor:
    """Scores, mask and softmax by hand, one head at a time."""
    times = key_time if key_time.dim() == 2 else key_time.expand(query.shape[0], -1)
    age = query_time[None, :, None] - times[:, None, :]
    if allowed is None:
        allowed = age >= 0
    heads = []
    for h in range(query.shape[1]):
        scores = query[:, h] @ key[:, h].transpose(1, 2) / math.sqrt(query.shape[-1])
        if decay is not None:
            scores = scores - decay[h] * age
        scores = torch.where(allowed, scores, -math.inf)
        shares = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
        shares = shares / shares.sum(dim=-1, keepdim=True)
        heads.append(shares.to(value.dtype) @ value[:, h])
    return torch.stack(heads, dim=1)
