from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from modeling.network.transformer import EnhancedCryptoTransformer, build_network
from tests.modeling.network.samples import (
    SCALES,
    enlarge_weights,
    random_batch,
    small_network,
    small_spec,
)

Outputs = dict[str, torch.Tensor]

SHAPES = {
    "action": (16, 1),
    "market_regime": (16, 4),
    "confidence": (16, 1),
    "volatility": (16, 1),
    "risk": (16, 3),
}


@pytest.mark.parametrize("patch_bars", [1, 7, 10])
def test_five_heads_give_float32_logits(patch_bars: int) -> None:
    spec = small_spec(patch_bars=patch_bars)
    network = small_network(spec, features=25, context_bars=250)
    batch = random_batch(batch=16, features=25, context_bars=250, patch_bars=patch_bars)
    for precision in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = network(batch)
        assert {name: tuple(out.shape) for name, out in logits.items()} == SHAPES
        assert all(out.dtype == torch.float32 for out in logits.values())


@pytest.mark.parametrize(
    "changes", [{"multi_scale": False}, {"temporal_bias": False}, {"adaptive_dropout": False}]
)
def test_components_can_be_switched_off(changes: dict[str, object]) -> None:
    network = small_network(small_spec(**changes))
    logits = network(random_batch(batch=16))
    assert {name: tuple(out.shape) for name, out in logits.items()} == SHAPES


def outputs_after_training_mode(network: EnhancedCryptoTransformer) -> tuple[Outputs, Outputs]:
    """What the network says in evaluation and, with one seed, in training."""
    batch = random_batch(batch=16)
    torch.manual_seed(0)
    with torch.no_grad():
        return network.eval()(batch), network.train()(batch)


@pytest.mark.parametrize(
    ("switched_off", "removed", "changes_evaluation"),
    [
        # slopes of L + 1 attentions; section 2's row of the MultiScaleProcessor; nothing
        ({"temporal_bias": False}, (2 + 1) * 4, True),
        (
            {"multi_scale": False},
            4 * (4 * 15 * 32 + 3 * 32) + 5 * (32**2 + 32) + 6 * 32 + 4 + (2 * 32 * 64 + 64 + 32),
            True,
        ),
        ({"adaptive_dropout": False}, 0, False),
    ],
)
def test_each_switch_changes_output_and_size(
    switched_off: dict[str, object], removed: int, changes_evaluation: bool
) -> None:
    whole, without = small_network(), small_network(small_spec(**switched_off))
    enlarge_weights(whole)
    without.load_state_dict(whole.state_dict(), strict=False)
    counts = [sum(p.numel() for p in each.parameters()) for each in (whole, without)]
    assert counts[0] - counts[1] == removed
    (evaluated, trained), (evaluated_without, trained_without) = map(
        outputs_after_training_mode, (whole, without)
    )
    for name in SHAPES:
        same = torch.equal(evaluated[name], evaluated_without[name])
        assert same is not changes_evaluation, name
        assert not torch.equal(trained[name], trained_without[name]), name


@pytest.mark.parametrize(("patch_bars", "tokens"), [(1, 64), (7, 10), (10, 7)])
def test_patching_changes_output_and_size(patch_bars: int, tokens: int) -> None:
    whole = small_network()
    patched = small_network(small_spec(patch_bars=patch_bars))
    counts = [sum(p.numel() for p in each.parameters()) for each in (patched, whole)]
    assert counts[0] - counts[1] == (patch_bars - 4) * 15 * 32 + (tokens - 16) * 32
    batch = random_batch(patch_bars=patch_bars)
    with torch.no_grad():
        assert patched.encode(batch).shape == (8, tokens, 32)
        found, other = patched.eval()(batch), whole.eval()(random_batch())
    assert all(not torch.equal(found[name], other[name]) for name in SHAPES)


def test_base_bars_alone_are_enough() -> None:
    network = build_network(small_spec(), features=15, context_bars=64, scales=(1,), seed=0)
    assert network(random_batch(batch=16))["risk"].shape == (16, 3)


def test_scale_without_a_whole_bar_is_refused() -> None:
    with pytest.raises(ValueError, match="scale 12"):
        build_network(small_spec(), features=15, context_bars=22, scales=SCALES, seed=0)


def test_same_seed_draws_the_same_weights() -> None:
    first, second, other = small_network(seed=5), small_network(seed=5), small_network(seed=6)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.input.weight, other.input.weight)


def test_initial_weights_follow_the_declared_scales() -> None:
    weights = small_network(small_spec(d_model=64, d_ff=256)).state_dict()
    assert float(weights["input.weight"].std()) == pytest.approx(0.02, rel=0.1)
    for part in ("attention", "feed_forward"):
        output = weights[f"blocks.0.{part}.output.weight"]
        assert float(output.std()) == pytest.approx(0.01, rel=0.1)
    assert torch.all(weights["multi_scale.gate.bias"] == -2)
    assert torch.all(weights["input.bias"] == 0)
    assert torch.all(weights["norm.weight"] == 1)


def test_half_lives_start_spread_from_4_to_512_bars() -> None:
    half_lives = small_network().half_lives()
    assert set(half_lives) == {"multi_scale", "blocks.0.attention", "blocks.1.attention"}
    for bars in half_lives.values():
        assert bars[0] == pytest.approx(4, rel=1e-4)
        assert bars[-1] == pytest.approx(512, rel=1e-3)


def test_saved_weights_give_bitwise_equal_outputs(tmp_path: Path) -> None:
    network, batch = small_network(seed=1).eval(), random_batch()
    save_file(dict(network.state_dict()), tmp_path / "weights.safetensors")
    fresh = small_network(seed=2).eval()
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    expected, found = network(batch), fresh(batch)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_confidence_never_steers_the_backbone() -> None:
    network = small_network(small_spec(dropout=0.0))
    network(random_batch())["confidence"].sum().backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    assert touched
    assert all(name.startswith("heads.confidence.") for name in touched)


@pytest.mark.parametrize("head", ["action", "market_regime", "volatility", "risk"])
def test_each_balanced_head_reaches_the_backbone(head: str) -> None:
    network = small_network(small_spec(dropout=0.0))
    logits = network(random_batch())[head]
    target = torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)
    functional.huber_loss(logits, target).backward()
    for name in (
        "input.weight",
        "blocks.0.attention.projection.weight",
        f"heads.{head}.output.bias",
    ):
        grad = network.get_parameter(name).grad
        assert grad is not None
        assert float(grad.abs().max()) > 0
    others = [
        n for n, p in network.named_parameters() if n.startswith("heads.") and p.grad is not None
    ]
    assert all(name.startswith(f"heads.{head}.") for name in others)


@pytest.mark.parametrize("patch_bars", [1, 4])
def test_last_token_alone_is_the_last_of_all_tokens(patch_bars: int) -> None:
    network = small_network(small_spec(patch_bars=patch_bars)).eval()
    batch = random_batch(patch_bars=patch_bars)
    every, last = network.encode(batch), network.encode(batch, last_only=True)
    assert last.shape == (8, 1, 32)
    torch.testing.assert_close(last, every[:, -1:], rtol=1e-5, atol=1e-6)


def test_evaluation_is_repeatable_and_training_drops() -> None:
    network, batch = small_network(), random_batch()
    network.eval()
    assert torch.equal(network(batch)["action"], network(batch)["action"])
    network.train()
    assert not torch.equal(network(batch)["action"], network(batch)["action"])
