"""DLinear against a plain loop, and what training asks of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from modeling.network.dlinear import DLinear, moving_mean
from modeling.network.size import HEAD_OUTPUTS
from modeling.network.windows import WindowBatch
from modeling.training.losses import ALL_HEADS
from tests.oracles import dlinear as plain


def batch_of(windows: Tensor) -> WindowBatch:
    """The parts of a batch that DLinear does not look at are empty."""
    nothing = torch.zeros(len(windows), 0, dtype=torch.long)
    return WindowBatch(windows, {}, {}, nothing, nothing, torch.zeros(len(windows)))


def drawn(*, features: int = 3, bars: int = 40) -> DLinear:
    network = DLinear(features=features, context_bars=bars)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator)
    return network


@pytest.mark.parametrize("bars", [5, 25, 40])
def test_outputs_are_those_of_a_plain_loop(bars: int) -> None:
    network = drawn(bars=bars)
    windows = torch.randn(2, bars, 3, generator=torch.Generator().manual_seed(1))
    found = torch.cat(list(network(batch_of(windows)).values()), dim=1).tolist()
    weights = network.trend.weight.tolist(), network.remainder.weight.tolist()
    for window, outputs in zip(windows.tolist(), found, strict=True):
        expected = plain.logits(window, *weights, network.trend.bias.tolist())
        assert outputs == pytest.approx(expected, abs=1e-5)


def test_the_trend_of_a_straight_line_is_the_line_but_at_its_ends() -> None:
    line = torch.arange(60.0)
    trend = moving_mean(60) @ line
    assert torch.allclose(trend[12:-12], line[12:-12], atol=1e-5)
    assert float(trend[0]) == pytest.approx(sum(range(13)) / 25)


def test_heads_have_their_shapes_and_parameters() -> None:
    network = DLinear(features=15, context_bars=64)
    logits = network(batch_of(torch.zeros(4, 64, 15)))
    assert {name: out.shape for name, out in logits.items()} == {
        name: (4, outputs) for name, outputs in HEAD_OUTPUTS.items()
    }
    assert sum(parameter.numel() for parameter in network.parameters()) == 2 * 10 * 64 * 15 + 10
    assert set(network.state_dict()) == {"trend.weight", "trend.bias", "remainder.weight"}


def test_an_untrained_map_says_the_constants_it_starts_at() -> None:
    network = DLinear(features=3, context_bars=40)
    constants = {
        name: torch.arange(float(outputs))[None] + place
        for place, (name, outputs) in enumerate(HEAD_OUTPUTS.items())
    }
    with torch.no_grad():
        network.start_at(constants)
        logits = network(batch_of(torch.randn(2, 40, 3)))
    for name in ALL_HEADS:
        assert torch.equal(logits[name], constants[name].expand(2, -1))


def test_each_head_steers_its_own_rows_only() -> None:
    network = drawn()
    network(batch_of(torch.randn(8, 40, 3)))["confidence"].sum().backward()  # type: ignore[no-untyped-call]
    for parameter in network.parameters():
        assert parameter.grad is not None
        touched = parameter.grad.reshape(10, -1).abs().sum(dim=1) > 0
        assert np.flatnonzero(touched.numpy()).tolist() == [5]
