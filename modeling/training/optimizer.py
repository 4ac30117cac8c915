"""AdamW with decay on matrices only, and its state as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modeling.network.heads import FiveHeads
from modeling.specs import TrainingSpec
from modeling.training.losses import LossBalance

BETAS = (0.9, 0.95)
EPSILON = 1e-8
MOMENTS = ("step", "exp_avg", "exp_avg_sq")

Array = NDArray[Any]  # Any: moments and step counts differ in type


class FoldOptimizer:
    """Steps the network and the balance of its losses, and leaves out steps that are not finite."""

    def __init__(self, network: FiveHeads, balance: LossBalance, spec: TrainingSpec) -> None:
        self._balance = balance
        self._grad_clip = spec.grad_clip
        self._network_parameters = list(network.parameters())
        self.named = {**dict(network.named_parameters()), "balance.v": balance.v}
        decayed = decayed_names(network)
        groups = [
            {
                "params": [p for name, p in self.named.items() if name in decayed],
                "weight_decay": spec.weight_decay,
            },
            {
                "params": [p for name, p in self.named.items() if name not in decayed],
                "weight_decay": 0.0,
            },
        ]
        self._adam = torch.optim.AdamW(
            groups, lr=spec.learning_rate, betas=BETAS, eps=EPSILON, fused=True
        )

    def step(
        self, loss: Tensor, *, learning_rate: float, whole_loss: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One step down the gradient of `loss`; returns the gradient norm before clipping, and 1
        where the step was left out because that was not finite, else 0. Does not wait for a GPU.

        Where several processes step together, `whole_loss` is that of the global batch: all of them
        leave out the same steps.
        """
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self._network_parameters, self._grad_clip)
        judged = loss.detach() if whole_loss is None else whole_loss
        left_out = (~torch.isfinite(norm + judged)).to(torch.float32)
        # the fused kernel skips the update itself, as it does for a gradient scaler
        self._adam.found_inf = left_out  # type: ignore[attr-defined]
        self._adam.step()
        self._balance.restrain()
        return norm, left_out

    def arrays(self) -> dict[str, Array]:
        """The moments of every parameter as `optimizer/NAME/MOMENT`; empty before the first step."""
        found: dict[str, Array] = {}
        for name, parameter in self.named.items():
            for moment, value in self._adam.state.get(parameter, {}).items():
                found[f"optimizer/{name}/{moment}"] = np.array(value.detach().cpu().numpy())
        return found

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take the moments that `arrays` gave."""
        for name, parameter in self.named.items():
            keys = {moment: f"optimizer/{name}/{moment}" for moment in MOMENTS}
            if keys["step"] not in arrays:
                continue
            self._adam.state[parameter] = {
                moment: torch.from_numpy(np.array(arrays[key])).to(parameter.device)
                for moment, key in keys.items()
            }


def decayed_names(network: FiveHeads) -> set[str]:
    """Names of the matrices of linear maps and convolutions: the only parameters with decay."""
    return {
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    }
