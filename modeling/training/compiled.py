"""Training steps whose forward pass, losses and gradients are one compiled graph on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from modeling.network.windows import WindowBatch
from modeling.training.losses import LabelBatch, Objective
from modeling.training.machine import Precision, is_out_of_memory

# Compiling takes a minute or more; a run of fewer steps is done sooner without.
FEWEST_STEPS = 10_000
LONGEST_REASON = 200

Compiler = str | Callable[..., Any]  # Any: torch hands a graph and its inputs, whatever they are


def chosen_compiler(device: torch.device, *, steps: int, allowed: bool = True) -> str | None:
    """The compiler of a run of so many steps, or None for steps as they are written.

    Only on a GPU and from 10 000 steps on. Never on a processor: there two minutes of compiling save
    4 % (specification of the network, section 7).
    """
    is_worth_it = device.type == "cuda" and steps >= FEWEST_STEPS
    return "inductor" if allowed and is_worth_it else None


class CompiledObjective(nn.Module):
    """An objective that computes every batch of one size by a compiled graph, and others eagerly.

    So there is one graph: the last, smaller batch of an epoch is not worth a second one. Folds whose
    networks have equal shapes share it. Where nothing can be compiled all batches go eagerly and
    `note` says why. What fails within a step, memory above all, is raised as it is without a graph.

    Equal seeds give equal losses within rounding, not equal bits: a GPU promises none, and a compiled
    dropout draws other numbers from the device's generator than an eager one. A checkpoint keeps that
    generator, so that resumed training draws new numbers; bit for bit it resumes on processors only.
    """

    def __init__(self, objective: Objective, *, compiler: Compiler, samples: int) -> None:
        super().__init__()
        self.objective = objective
        self.compiler = compiler
        self.samples = samples
        self.note: str | None = None
        self._graph: Callable[..., tuple[Tensor, Tensor]] | None = None

    def forward(
        self, windows: WindowBatch, labels: LabelBatch, *, precision: Precision
    ) -> tuple[Tensor, Tensor]:
        """What the objective gives: losses by head [5] and the one loss []; waits for no GPU."""
        if self.note is None and len(windows.base) == self.samples:
            found = self._compiled(windows, labels, precision)
            if found is not None:
                return found
        losses, loss = self.objective(windows, labels, precision=precision)
        return losses, loss

    def _compiled(
        self, windows: WindowBatch, labels: LabelBatch, precision: Precision
    ) -> tuple[Tensor, Tensor] | None:
        """None where the step cannot be compiled."""
        # loading the tracer takes seconds, which training on a processor does not need to spend
        from torch._dynamo import config as tracing
        from torch._dynamo.exc import TorchDynamoException
        from torch._functorch import config as lowering

        # the backward pass is compiled with the forward pass, so that this is where it fails; a graph
        # that is not cut at the buckets of DistributedDataParallel allows its static_graph
        whole = lowering.patch(force_non_lazy_backward_lowering=True)
        try:
            with tracing.patch(optimize_ddp=False), whole:
                if self._graph is None:
                    self._graph = torch.compile(
                        self.objective.forward, backend=self.compiler, fullgraph=True, dynamic=False
                    )
                return self._graph(windows, labels, precision=precision)
        except TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            if is_out_of_memory(cause, windows.base.device):
                raise cause from None
            self.note = f"Steps were not compiled, which makes them slower. {_reason(cause)}"
            return None


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON]
