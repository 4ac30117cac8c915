"""Steps of one compiled graph: they learn what eager steps learn, and where there is none they are eager.

The compiler here traces and differentiates as on a GPU, but runs the graph as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from modeling.network.attention import mask_attention
from modeling.network.transformer import build_network
from modeling.presets import NETWORKS
from modeling.specs import NetworkSpec
from modeling.training.compiled import CompiledObjective, chosen_compiler
from modeling.training.errors import OutOfMemory
from modeling.training.fit import FittedFold, fit
from modeling.training.losses import LabelBatch, LossBalance, Objective, ResidentLabels
from modeling.training.resident import ResidentWindows
from tests.modeling.network.samples import use_mapping
from tests.modeling.training.markets import (
    CONTEXT,
    FEATURES,
    PROVENANCE,
    Recorder,
    bars_of_noise,
    fold_task,
    labels_of,
    small_model,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BATCH, STEPS = 32, 5
GraphCompiler = Callable[[Any, list[Tensor]], Callable[..., Any]]
SWITCHES: dict[str, dict[str, object]] = {
    "tiny": {},
    "without coarse bars": {"multi_scale": False},
    "without decay": {"temporal_bias": False},
    "plain dropout": {"adaptive_dropout": False},
    "patches of 1": {"patch_bars": 1},
    "patches of 7": {"patch_bars": 7},
}


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Counting:
    """A compiler that keeps the graphs it was given and runs them as they are."""

    def __init__(self, name: str = "aot_eager") -> None:
        self.name = name
        self.graphs: list[Any] = []

    def __call__(self, graph: Any, inputs: list[Tensor]) -> Any:
        from torch._dynamo.backends.registry import lookup_backend

        self.graphs.append(graph)
        return lookup_backend(self.name)(graph, inputs)


def refuses(graph: Any, inputs: list[Tensor]) -> Any:
    raise RuntimeError("no C compiler was found\nand a long story")


def refuses_gradients(graph: Any, inputs: list[Tensor]) -> Any:
    """Takes the forward pass and fails at the backward pass, which torch would try later."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch._aot_autograd.utils import make_boxed_func

    def forward(module: Any, examples: list[Tensor]) -> Any:
        return make_boxed_func(module.forward)

    return aot_autograd(fw_compiler=forward, bw_compiler=refuses)(graph, inputs)


def runs_out_of_memory(graph: Any, inputs: list[Tensor]) -> Any:
    raise torch.OutOfMemoryError("Tried to allocate 2.50 GiB (planted by a test)")


def tiny(**changes: object) -> NetworkSpec:
    return NetworkSpec.parse({**NETWORKS["tiny"].to_json(), "dropout": 0.0, **changes})


class Case:
    """Batches of noise, and objectives of equal weights."""

    def __init__(self, spec: NetworkSpec, mapping: object = None) -> None:
        bars = bars_of_noise()
        self.spec, self.mapping = spec, mapping
        self.labels = ResidentLabels(labels_of(bars))
        self.resident = ResidentWindows(bars, context_bars=CONTEXT, patch_bars=spec.patch_bars)

    def objective(self, seed: int = 0) -> Objective:
        network = build_network(
            self.spec,
            features=FEATURES,
            context_bars=CONTEXT,
            scales=self.resident.scales,
            seed=seed,
        )
        if self.mapping is not None:
            use_mapping(network, self.mapping)
        objective = Objective(network, LossBalance(), cost_bps=10)
        objective.train()
        return objective

    def batch(self, number: int, size: int = BATCH) -> tuple[Any, LabelBatch]:
        bars = torch.arange(size) + 60 + number * size
        return self.resident.batch(bars), self.labels.batch(bars)

    def steps(self, objective: torch.nn.Module, precision: str = "fp32") -> list[Tensor]:
        """Losses and gradients of a few steps down the gradient, one after the other."""
        found: list[Tensor] = []
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
        for number in range(STEPS):
            losses, loss = objective(*self.batch(number), precision=precision)
            optimizer.zero_grad()
            loss.backward()
            found += [losses.detach(), loss.detach()]
            found += [p.grad.clone() for p in objective.parameters() if p.grad is not None]
            optimizer.step()
        return found


def compiled(
    case: Case, compiler: Any, *, seed: int = 0, samples: int = BATCH
) -> CompiledObjective:
    return CompiledObjective(case.objective(seed), compiler=compiler, samples=samples)


def assert_steps_agree(case: Case, compiler: Any, precision: str, tolerance: float) -> None:
    objective = compiled(case, compiler)
    found = case.steps(objective, precision)
    expected = case.steps(case.objective(), precision)
    assert objective.note is None
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_compiled_steps_learn_what_eager_steps_learn(switch: str, precision: str) -> None:
    compiler = Counting()
    case = Case(tiny(**SWITCHES[switch]))
    assert_steps_agree(case, compiler, precision, tolerance=1e-5)
    assert len(compiler.graphs) == 1


@pytest.mark.slow
def test_attention_with_a_mask_compiles_too() -> None:
    compiler = Counting()
    assert_steps_agree(Case(tiny(), mask_attention), compiler, "fp32", tolerance=1e-5)
    assert len(compiler.graphs) == 1


@pytest.mark.slow
def test_network_with_dropout_is_one_graph_without_breaks() -> None:
    case = Case(tiny(dropout=0.1))
    windows, labels = case.batch(0)
    found = torch._dynamo.explain(case.objective().forward)(windows, labels, precision="fp32")
    assert (found.graph_count, found.graph_break_count) == (1, 0)
    # a value that is fetched from the device would be such a call
    calls = {str(node.target) for graph in found.graphs for node in graph.graph.nodes}
    assert not calls & {"item", "tolist", "cpu", "numpy"}


@pytest.mark.slow
def test_folds_of_equal_shapes_share_a_graph_and_other_batches_are_eager() -> None:
    compiler = Counting()
    case = Case(tiny())
    for seed in range(3):
        objective = compiled(case, compiler, seed=seed)
        for number, size in enumerate((BATCH, BATCH, 7, BATCH)):
            objective(*case.batch(number, size), precision="fp32")[1].backward()
    assert len(compiler.graphs) == 1


def trained(compiler: Any, **training: object) -> tuple[FittedFold, Recorder]:
    recorder = Recorder()
    fitted = fit(
        small_model(epochs=1, **training),
        fold_task(),
        provenance=PROVENANCE,
        observer=recorder,
        compiler=compiler,
    )
    return fitted, recorder


def losses_of(recorder: Recorder) -> list[float]:
    return [step.loss for step in recorder.steps]


def test_fold_trains_by_one_graph() -> None:
    compiler = Counting()
    fitted, recorder = trained(compiler)
    assert fitted.notes == ()
    assert len(compiler.graphs) == 1
    # 200 samples: six whole batches, and eight samples that go eagerly
    assert losses_of(recorder) == pytest.approx(losses_of(trained(None)[1]), abs=1e-4)


@pytest.mark.parametrize("compiler", [refuses, refuses_gradients])
def test_training_goes_on_bitwise_eagerly_where_nothing_compiles(compiler: GraphCompiler) -> None:
    fitted, recorder = trained(compiler)
    assert losses_of(recorder) == losses_of(trained(None)[1])
    (note,) = fitted.notes
    assert note == (
        "Steps were not compiled, which makes them slower. RuntimeError: no C compiler was found"
    )


def test_compiler_that_is_not_there_is_told() -> None:
    fitted, recorder = trained("no_such_compiler")
    assert len(recorder.steps) == 7
    assert "InvalidBackend" in fitted.notes[0]


def test_compiler_is_not_asked_again_after_it_failed() -> None:
    asked = []

    def counted(graph: Any, inputs: list[Tensor]) -> Any:
        asked.append(graph)
        return refuses(graph, inputs)

    trained(counted)
    assert len(asked) == 1


def test_memory_that_ends_while_compiling_ends_training() -> None:
    with pytest.raises(OutOfMemory) as starved:
        trained(runs_out_of_memory)
    assert starved.value.step == 1


def test_memory_that_ends_within_a_compiled_step_ends_training() -> None:
    def starves(graph: Any, inputs: list[Tensor]) -> Any:
        def run(*args: Tensor) -> Any:
            raise torch.OutOfMemoryError("Tried to allocate 2.50 GiB (planted by a test)")

        return run

    with pytest.raises(OutOfMemory):
        trained(starves)


def test_compiled_steps_that_are_not_finite_are_left_out() -> None:
    recorder = Recorder(nan_at=(2,))
    fit(
        small_model(epochs=1),
        fold_task(),
        provenance=PROVENANCE,
        observer=recorder,
        compiler=Counting(),
    )
    assert recorder.non_finite == [2]


def test_long_runs_on_a_gpu_are_compiled_and_no_others() -> None:
    assert chosen_compiler(GPU, steps=10_000) == "inductor"
    assert chosen_compiler(GPU, steps=9_999) is None
    assert chosen_compiler(GPU, steps=10_000, allowed=False) is None
    assert chosen_compiler(CPU, steps=10**9) is None
