from __future__ import annotations

import torch

from modeling.network.dropout import AdaptiveDropout

QUIET_TO_WILD = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])


def test_evaluation_leaves_values_bitwise_alone() -> None:
    dropout = AdaptiveDropout(0.2, adaptive=True).eval()
    x = torch.randn(5, 4, 3)
    assert torch.equal(dropout(x, dropout.rate(QUIET_TO_WILD)), x)


def test_no_base_rate_means_no_dropout() -> None:
    dropout = AdaptiveDropout(0.0, adaptive=True).train()
    x = torch.randn(5, 4, 3)
    assert torch.equal(dropout.rate(QUIET_TO_WILD), torch.zeros(5))
    assert torch.equal(dropout(x, dropout.rate(QUIET_TO_WILD)), x)


def test_rate_rises_with_volatility_within_its_bounds() -> None:
    assert torch.all(AdaptiveDropout(0.2, adaptive=True).rate(QUIET_TO_WILD).diff() > 0)
    assert float(AdaptiveDropout(0.1, adaptive=True).rate(QUIET_TO_WILD).min()) >= 0.05 - 1e-7
    assert float(AdaptiveDropout(0.5, adaptive=True).rate(QUIET_TO_WILD).max()) <= 0.30 + 1e-7


def test_fixed_rate_ignores_volatility() -> None:
    rate = AdaptiveDropout(0.4, adaptive=False).rate(QUIET_TO_WILD)
    assert torch.equal(rate, torch.full((5,), 0.4))


def test_zeros_come_at_the_rate_and_the_mean_stays() -> None:
    torch.manual_seed(3)
    dropout = AdaptiveDropout(0.15, adaptive=True).train()
    values = 100_000
    x = torch.full((5, values // 10, 10), 2.0)
    rate = dropout.rate(QUIET_TO_WILD)
    y = dropout(x, rate).flatten(1)
    zero_share = (y == 0).float().mean(dim=1)
    error = torch.sqrt(rate * (1 - rate) / values)
    assert torch.all((zero_share - rate).abs() < 3 * error)
    assert torch.all((y.mean(dim=1) - 2.0).abs() < 3 * 2.0 * torch.sqrt(rate / (1 - rate) / values))


def test_same_seed_drops_the_same_values() -> None:
    dropout = AdaptiveDropout(0.2, adaptive=True).train()
    x, rate = torch.ones(5, 8, 8), dropout.rate(QUIET_TO_WILD)
    torch.manual_seed(1)
    first = dropout(x, rate)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, rate), first)
