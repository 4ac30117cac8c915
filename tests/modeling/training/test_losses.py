from __future__ import annotations

import math

import pytest
import torch

from modeling.network.transformer import build_network
from modeling.training.losses import (
    BALANCED_HEADS,
    LabelBatch,
    LossBalance,
    ResidentLabels,
    constant_logits,
    earned_its_costs,
    head_losses,
    start_at_the_constant,
)
from modeling.windows.targets import TargetScale
from tests.modeling.training.markets import fold_task, small_model

SCALE = TargetScale(
    bear_below=-0.4,
    bull_above=0.4,
    volatile_above=1.5,
    medium_above=1.0,
    high_above=2.0,
    volatility_mean=-6.0,
    volatility_std=0.5,
    action_mean=0.125,
    regime_prior=(0.4, 0.25, 0.35, 0.0),
    risk_prior=(0.5, 0.35, 0.15),
)


def two_labels() -> LabelBatch:
    return LabelBatch(
        action=torch.tensor([0.5, -3.0]),
        regime=torch.tensor([1, 3]),
        log_volatility_z=torch.tensor([0.0, 2.0]),
        risk=torch.tensor([0, 2]),
        realised_return=torch.tensor([0.004, 0.004]),
    )


def logits(*, action: tuple[float, float]) -> dict[str, torch.Tensor]:
    return {
        "action": torch.tensor(action)[:, None],
        "market_regime": torch.zeros(2, 4),
        "volatility": torch.zeros(2, 1),
        "risk": torch.zeros(2, 3),
        "confidence": torch.tensor([[0.0], [math.log(3)]]),
    }


def test_losses_of_two_samples_by_hand() -> None:
    losses = head_losses(logits(action=(0.0, 1.0)), two_labels(), cost_bps=10)
    assert float(losses["action"]) == pytest.approx((0.5 * 0.5**2 + (4 - 0.5)) / 2)
    assert float(losses["market_regime"]) == pytest.approx(math.log(4))
    assert float(losses["volatility"]) == pytest.approx((0 + 1.5) / 2)
    assert float(losses["risk"]) == pytest.approx(math.log(3))
    # the first takes no side, the second is right beyond its costs at even odds of three to one
    assert float(losses["confidence"]) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_confidence_asks_whether_the_side_earned_its_costs() -> None:
    action = torch.tensor([0.2, -0.2, 0.2, 0.0])
    batch = LabelBatch(
        action=action,
        regime=action.long(),
        log_volatility_z=action,
        risk=action.long(),
        realised_return=torch.tensor([0.0011, 0.0011, 0.0009, 0.5]),
    )
    assert earned_its_costs(action, batch, cost_bps=10).tolist() == [1, 0, 0, 0]


def test_balance_starts_as_the_plain_sum() -> None:
    losses = head_losses(logits(action=(0.0, 1.0)), two_labels(), cost_bps=10)
    assert float(LossBalance()(losses).detach()) == pytest.approx(
        sum(float(x) for x in losses.values())
    )


def test_balance_weighs_losses_and_stays_in_its_range() -> None:
    balance = LossBalance()
    with torch.no_grad():
        balance.v.copy_(torch.tensor([5.0, -7.0, 1.0, 0.0]))
    balance.restrain()
    assert balance.v.tolist() == [3, -3, 1, 0]
    losses = {
        "action": torch.tensor(2.0),
        "market_regime": torch.tensor(1.0),
        "volatility": torch.tensor(4.0),
        "risk": torch.tensor(1.0),
        "confidence": torch.tensor(0.5),
    }
    expected = 2 * math.exp(-3) + 3 + math.exp(3) - 3 + 4 * math.exp(-1) + 1 + 1 + 0 + 0.5
    assert float(balance(losses).detach()) == pytest.approx(expected, rel=1e-6)


def test_network_starts_near_the_constant_predictor() -> None:
    task = fold_task()
    network = build_network(
        small_model().network, features=6, context_bars=32, scales=task.resident.scales, seed=0
    ).eval()
    start_at_the_constant(network, SCALE)
    found = network(task.resident.batch(torch.from_numpy(task.fit_bars)))
    for name, row in constant_logits(SCALE).items():
        assert float((found[name].detach() - row).abs().max()) < 0.05, name


def test_class_that_never_occurred_keeps_a_finite_prior() -> None:
    assert torch.isfinite(constant_logits(SCALE)["market_regime"]).all()


def gradients_of(head: str) -> dict[str, torch.Tensor | None]:
    """Gradient of one balanced loss, or of confidence, at every tensor of a fresh network."""
    task = fold_task()
    network = build_network(
        small_model().network.model_copy(update={"dropout": 0.0}),
        features=6,
        context_bars=32,
        scales=task.resident.scales,
        seed=0,
    )
    start_at_the_constant(network, task.scale)
    bars = torch.from_numpy(task.fit_bars)
    found = head_losses(
        network(task.resident.batch(bars)), ResidentLabels(task.labels).batch(bars), cost_bps=10
    )
    found[head].backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("head", BALANCED_HEADS)
def test_each_balanced_loss_reaches_its_head_and_all_of_the_backbone(head: str) -> None:
    for name, gradient in gradients_of(head).items():
        if name.startswith("heads.") and not name.startswith(f"heads.{head}."):
            assert gradient is None, name
            continue
        assert gradient is not None and torch.isfinite(gradient).all(), name
        assert float(gradient.abs().max()) > 0, name


def test_the_loss_of_confidence_reaches_its_head_and_nothing_else() -> None:
    touched = {
        name for name, gradient in gradients_of("confidence").items() if gradient is not None
    }
    parts = ("expand.weight", "expand.bias", "output.weight", "output.bias")
    assert touched == {f"heads.confidence.{part}" for part in parts}
