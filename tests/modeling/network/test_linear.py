"""Linear heads: the newest bar alone, as many parameters as said, loadable as any network."""

from __future__ import annotations

from typing import Any

import torch

from modeling.network.choice import network_of
from modeling.network.linear import LinearHeads
from modeling.network.size import HEAD_OUTPUTS, network_size
from modeling.network.transformer import EnhancedCryptoTransformer
from modeling.specs import NetworkSpec
from tests.modeling.network.samples import SCALES, small_spec
from tests.modeling.network.test_dlinear import batch_of

LINEAR = NetworkSpec(kind="linear")


def drawn(features: int = 3) -> LinearHeads:
    network = LinearHeads(features=features)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator)
    return network


def test_heads_have_their_shapes_and_read_the_last_bar_only() -> None:
    network, windows = drawn(), torch.randn(2, 9, 3)
    logits = network(batch_of(windows))
    assert {name: out.shape for name, out in logits.items()} == {
        name: (2, outputs) for name, outputs in HEAD_OUTPUTS.items()
    }
    earlier = windows.clone()
    earlier[:, :-1] = 0.0
    for name, out in network(batch_of(earlier)).items():
        assert torch.equal(out, logits[name])


def test_rows_are_set_by_the_name_of_their_head() -> None:
    network = LinearHeads(features=2)
    network.set_rows(
        {name: (torch.zeros(o, 2), torch.full((o,), float(o))) for name, o in HEAD_OUTPUTS.items()}
    )
    for name, out in network(batch_of(torch.randn(1, 4, 2))).items():
        assert out.tolist() == [[float(HEAD_OUTPUTS[name])] * HEAD_OUTPUTS[name]]


def test_the_size_is_known_without_building() -> None:
    network = LinearHeads(features=40)
    size = network_size(LINEAR, features=40, context_bars=250, scales=SCALES)
    assert sum(p.numel() for p in network.parameters()) == size["parameters"] == 410
    assert size["tokens"] == 1


def test_a_spec_names_its_module() -> None:
    wanted: dict[str, Any] = {"features": 3, "context_bars": 64, "scales": SCALES, "seed": 0}
    assert isinstance(network_of(LINEAR, **wanted), LinearHeads)
    assert isinstance(network_of(small_spec(), **wanted), EnhancedCryptoTransformer)
