"""The average of the weights over the latest part of training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from modeling.network.heads import FiveHeads

POWER = 3


def share_of_newest(step: int, *, power: int = POWER) -> float:
    """Share of the newest weights in the average after a step counted from 1.

    Weights of step s then have a share that grows about as s to the power of `power`. With power 3 half
    of the average is of the last sixth of the steps so far, however many there are.
    Source: polynomial-decay averaging, Shamir and Zhang 2013, section 4.
    """
    return (power + 1) / (step + power)


class AveragedNetwork:
    """A network of the same shape as the trained one that holds the average of its weights.

    It is never trained; it is what is scored, kept and used for predictions.
    """

    def __init__(self, trained: FiveHeads) -> None:
        self.network = copy.deepcopy(trained).requires_grad_(False)
        self._trained: list[Tensor] = list(trained.parameters())
        self._averages: list[Tensor] = list(self.network.parameters())

    @torch.no_grad()
    def take(self, step: int) -> None:
        """Take in the trained weights after a step counted from 1; nothing leaves the device."""
        newest = [weights.detach() for weights in self._trained]
        torch._foreach_lerp_(self._averages, newest, share_of_newest(step))

    def weights(self) -> dict[str, Tensor]:
        """The averages by name, still the network's own tensors."""
        found: dict[str, Tensor] = self.network.state_dict()
        return found
