from __future__ import annotations

import math

import pytest
import torch

from modeling.network.transformer import EnhancedCryptoTransformer, build_network
from modeling.training.averaging import AveragedNetwork, share_of_newest
from modeling.training.checkpoint import Checkpoint
from modeling.training.fit import fit
from tests.modeling.training.markets import (
    CONTEXT,
    FEATURES,
    PROVENANCE,
    Recorder,
    fold_task,
    small_model,
)


def untrained() -> EnhancedCryptoTransformer:
    return build_network(
        small_model().network, features=FEATURES, context_bars=CONTEXT, scales=(1, 3, 6), seed=1
    )


def shares_after(steps: int) -> list[float]:
    """The share of each step's weights in the average after the last, by multiplying out."""
    shares: list[float] = []
    for step in range(1, steps + 1):
        newest = share_of_newest(step)
        shares = [share * (1 - newest) for share in shares] + [newest]
    return shares


def test_the_first_step_replaces_the_untrained_weights() -> None:
    assert share_of_newest(1) == 1.0


def test_shares_grow_as_the_third_power_of_the_step() -> None:
    """With power 3 step s of n has the share of the rising product s (s + 1) (s + 2), by hand."""
    products = [s * (s + 1) * (s + 2) for s in range(1, 11)]
    expected = [product / sum(products) for product in products]
    assert shares_after(10) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [40, 4000])
def test_half_of_the_average_is_of_the_last_sixth_of_the_steps(steps: int) -> None:
    """(1 - x)^4 = 1/2 at x = .16, however many steps there are."""
    late = shares_after(steps)[math.floor(steps * 0.84) :]
    assert sum(late) == pytest.approx(0.5, abs=0.03)


def test_the_average_holds_the_weights_of_the_steps_by_their_shares() -> None:
    trained = untrained()
    averaged = AveragedNetwork(trained)
    seen = []
    for step in range(1, 6):
        with torch.no_grad():
            for weights in trained.parameters():
                weights.add_(
                    torch.randn(weights.shape, generator=torch.Generator().manual_seed(step))
                )
        averaged.take(step)
        seen.append({name: w.clone() for name, w in trained.state_dict().items()})
    for name, found in averaged.weights().items():
        expected = sum(
            share * each[name].double() for share, each in zip(shares_after(5), seen, strict=True)
        )
        assert torch.allclose(found.double(), torch.as_tensor(expected), atol=1e-6), name


def test_the_average_is_scored_and_kept_while_training_goes_on_from_its_own_weights() -> None:
    class KeepsAll(Recorder):
        def save(self, checkpoint: Checkpoint) -> None:
            self.last = checkpoint

    recorder = KeepsAll()
    fitted = fit(small_model(), fold_task(), provenance=PROVENANCE, observer=recorder)
    arrays = recorder.last.arrays
    for name, weights in fitted.network.state_dict().items():
        best = torch.from_numpy(arrays[f"best/{name}"])
        assert torch.equal(weights, best)
        assert not torch.equal(best, torch.from_numpy(arrays[f"network/{name}"]))
    if fitted.best_epoch == len(fitted.history):
        for name in fitted.network.state_dict():
            assert (arrays[f"best/{name}"] == arrays[f"averaged/{name}"]).all()
