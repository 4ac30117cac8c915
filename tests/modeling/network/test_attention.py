from __future__ import annotations

import pytest
import torch

from modeling.network.attention import Mapping, mask_attention, rank_one_attention
from modeling.network.transformer import EnhancedCryptoTransformer
from modeling.network.windows import WindowBatch
from tests.modeling.network.samples import (
    enlarge_weights,
    random_batch,
    small_network,
    small_spec,
    use_mapping,
)
from tests.oracles.attention import plain_attention

MAPPINGS = [rank_one_attention, mask_attention, plain_attention]
FAST = MAPPINGS[:2]
BARS = 250


def setting(patch_bars: int) -> tuple[EnhancedCryptoTransformer, WindowBatch]:
    network = small_network(small_spec(patch_bars=patch_bars), context_bars=BARS).eval()
    enlarge_weights(network)
    return network, random_batch(batch=3, context_bars=BARS, patch_bars=patch_bars)


@pytest.mark.parametrize("patch_bars", [1, 7, 10])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_mappings_agree_with_attention_written_out(
    patch_bars: int, dtype: torch.dtype, tolerance: float
) -> None:
    network, batch = setting(patch_bars)
    found = []
    for mapping in MAPPINGS:
        use_mapping(network, mapping)
        with torch.no_grad(), torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            found.append(network.norm(network.encode(batch).float()))
    assert float(found[2].std()) > 0.5
    for tokens in found[:2]:
        assert float((tokens - found[2]).abs().max()) < tolerance


@pytest.mark.parametrize("mapping", FAST)
def test_slopes_get_the_gradient_of_attention_written_out(mapping: Mapping) -> None:
    network, batch = setting(10)
    slopes = [p for name, p in network.named_parameters() if name.endswith("slope")]
    grads = []
    for each in (mapping, plain_attention):
        use_mapping(network, each)
        grads.append(torch.autograd.grad(network.encode(batch)[:, -1].square().sum(), slopes))
    for fast, plain in zip(*grads, strict=True):
        assert float(plain.abs().max()) > 0
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)


def places(patch_bars: int) -> tuple[int, ...]:
    tokens = -(-BARS // patch_bars)
    return (0, 3, tokens // 2, tokens - 2)


def unseen(
    batch: WindowBatch, token: int, patch_bars: int
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Which base bars [T] and coarse bars {k: [B,S_k]} end after the token."""
    tokens = -(-BARS // patch_bars)
    end = -(tokens - 1 - token) * patch_bars
    base = torch.arange(1 - BARS, 1) > end
    coarse = {}
    for k, bars in batch.coarse.items():
        ends = -(bars.shape[1] - 1 - torch.arange(bars.shape[1])) * k
        coarse[k] = ends[None] - batch.phase[k][:, None] > end
    return base, coarse


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("patch_bars", [1, 7, 10])
def test_gradient_to_later_bars_is_exactly_zero(mapping: Mapping, patch_bars: int) -> None:
    network, batch = setting(patch_bars)
    use_mapping(network, mapping)
    inputs = [batch.base, *batch.coarse.values()]
    for x in inputs:
        x.requires_grad_()
    states = network.encode(batch)
    for token in places(patch_bars):
        grads = torch.autograd.grad(states[:, token].square().sum(), inputs, retain_graph=True)
        base, coarse = unseen(batch, token, patch_bars)
        assert torch.all(grads[0][:, base] == 0)
        assert torch.any(grads[0][:, ~base] != 0)
        for grad, later in zip(grads[1:], coarse.values(), strict=True):
            assert torch.all(grad[later] == 0)
    last = torch.autograd.grad(states[:, -1].square().sum(), inputs)
    assert all(torch.any(grad != 0) for grad in last)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("patch_bars", [1, 7, 10])
def test_altered_later_bars_leave_a_token_bit_equal(mapping: Mapping, patch_bars: int) -> None:
    network, batch = setting(patch_bars)
    use_mapping(network, mapping)
    with torch.no_grad():
        for token in places(patch_bars):
            before = network.encode(batch)[:, token].clone()
            base, coarse = unseen(batch, token, patch_bars)
            batch.base[:, base] = 50.0
            for k, later in coarse.items():
                batch.coarse[k][later] = -50.0
            assert torch.equal(network.encode(batch)[:, token], before)
            batch = random_batch(batch=3, context_bars=BARS, patch_bars=patch_bars)


def test_older_keys_count_less() -> None:
    keys = 9
    query = key = torch.zeros(1, 1, keys, 8)
    value = torch.eye(keys)[None, None, :, :8]
    time = torch.arange(1.0 - keys, 1.0)
    shares = rank_one_attention(
        query,
        key,
        value,
        decay=torch.tensor([0.5]),
        query_time=time,
        key_time=time,
        allowed=None,
    )[0, 0, 7]
    expected = torch.exp(0.5 * (time[:8] - time[7]))
    torch.testing.assert_close(shares, expected / expected.sum())
