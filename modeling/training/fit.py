"""Fit the network of one fold, so that it can be stopped at any step and go on bit for bit."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modeling.network.heads import FiveHeads
from modeling.network.transformer import build_network
from modeling.specs import ModelSpec
from modeling.training.averaging import AveragedNetwork
from modeling.training.checkpoint import Checkpoint, Provenance
from modeling.training.compiled import CompiledObjective, Compiler
from modeling.training.early_stop import EarlyStop
from modeling.training.errors import CheckpointRejected, OutOfMemory, Stopped
from modeling.training.losses import (
    LossBalance,
    Objective,
    ResidentLabels,
    start_at_the_constant,
)
from modeling.training.machine import (
    Precision,
    chosen_precision,
    free_bytes,
    held_bytes,
    is_out_of_memory,
    repeatable,
)
from modeling.training.observer import EpochMetrics, TrainingObserver
from modeling.training.optimizer import FoldOptimizer
from modeling.training.randomness import generator_arrays, generator_json, restore_generators
from modeling.training.ranks import ALONE, Ranks
from modeling.training.resident import ResidentWindows
from modeling.training.schedule import derived_seed, epoch_order, rate_share
from modeling.training.scoring import Score, constant_losses, score_slice
from modeling.training.telling import STEPS_PER_FETCH, PendingStep, StepLog
from modeling.windows.targets import Labels, TargetScale

LONGEST_UNSAVED_S = 60.0
NETWORK, AVERAGED, BEST = "network/", "averaged/", "best/"

Json = dict[str, Any]  # Any: JSON has no narrower type


@dataclass(frozen=True)
class FoldTask:
    """What one fold is fitted on. `fit_bars` (already thinned by the stride) and `validation_bars`
    are base bars whose windows and labels exist; `notes` is JSON data that travels with each
    checkpoint (scalers, thresholds, selected names).
    """

    number: int
    resident: ResidentWindows
    labels: Labels
    scale: TargetScale
    fit_bars: NDArray[np.int64]
    validation_bars: NDArray[np.int64]
    notes: Json = field(default_factory=dict)


@dataclass(frozen=True)
class FittedFold:
    """A fitted network with the weights of its best epoch, in evaluation mode, and how it got there.

    `seconds` is the time it took by the clock, over all its stops; `notes` are sentences about what
    was left out or simplified.
    """

    network: FiveHeads
    precision: Precision
    best_epoch: int
    best_ratio: float
    steps: int
    history: tuple[EpochMetrics, ...]
    seconds: float
    notes: tuple[str, ...] = ()


def fit(
    spec: ModelSpec,
    task: FoldTask,
    *,
    provenance: Provenance,
    observer: TrainingObserver,
    resume: Checkpoint | None = None,
    network: FiveHeads | None = None,
    ranks: Ranks = ALONE,
    compiler: Compiler | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FittedFold:
    """Train one fold and return the network of the epoch with the smallest validation ratio.

    On a processor in fp32 equal spec, task, seed (of the provenance) and thread count give equal
    weights, bit for bit, also after any number of stops; call `set_threads` before. With `resume`
    training goes on after the checkpoint's step, with the checkpoint's number of threads. `network`,
    untrained, takes the place of the spec's. Of several `ranks` this process is the leader; the others
    are in `fit_beside` with the same task. A `compiler` makes whole batches one graph, and no longer
    promises equal bits; where it fails training goes on without, and a note of the result says so.
    Raises ValueError when a sample has no window or no labels; Stopped after the observer asked to
    stop and a checkpoint was saved; Diverged; OutOfMemory; PeerLost; CheckpointRejected when `resume`
    is not of this fold, spec, data and seed.
    """
    task.resident.require(task.fit_bars)
    task.resident.require(task.validation_bars)
    with repeatable(task.resident.device), ranks.noticing_loss():
        trainer = FoldTrainer(
            spec,
            task,
            provenance=provenance,
            observer=observer,
            network=network,
            ranks=ranks,
            compiler=compiler,
            clock=clock,
        )
        if resume is not None:
            trainer.restore(resume)
        return trainer.run()


def steps_in_all(spec: ModelSpec, fit_samples: int) -> int:
    """Steps of a fold when it is not stopped early: epochs times batches, the last one smaller."""
    return spec.training.epochs * _steps_per_epoch(spec, fit_samples)


class FoldTrainer:
    """The state of training of one fold; use it through `fit`."""

    def __init__(
        self,
        spec: ModelSpec,
        task: FoldTask,
        *,
        provenance: Provenance,
        observer: TrainingObserver,
        network: FiveHeads | None,
        ranks: Ranks,
        compiler: Compiler | None,
        clock: Callable[[], float],
    ) -> None:
        self.spec, self.task, self.ranks = spec, task, ranks
        self.provenance, self.observer, self.clock = provenance, observer, clock
        self.device = task.resident.device
        self.precision = chosen_precision(
            spec.training.precision, self.device, width=spec.network.d_model
        )
        self.labels = ResidentLabels(task.labels, self.device)
        self.labels.require(task.fit_bars)
        self.labels.require(task.validation_bars)
        self.steps_per_epoch = _steps_per_epoch(spec, len(task.fit_bars))
        self.total_steps = steps_in_all(spec, len(task.fit_bars))
        self.network = self._begun(network or self._new_network())
        self.averaged = AveragedNetwork(self.network)
        self.balance = LossBalance().to(self.device)
        objective = Objective(self.network, self.balance, cost_bps=spec.target.cost_bps)
        self.compiled = self._in_one_graph(objective, compiler) if compiler else None
        self.objective = ranks.synchronised(self.compiled or objective)
        self.optimizer = FoldOptimizer(self.network, self.balance, spec.training)
        self.stop = EarlyStop(patience=spec.training.patience)
        self.best_weights: dict[str, Tensor] = {}
        self.history: list[EpochMetrics] = []
        self.step, self.epoch, self.step_in_epoch = 0, 1, 0
        self.log = self._new_log()
        self.saved_step, self.saved_at = 0, clock()
        self.began_at, self.seconds_before = clock(), 0.0
        torch.manual_seed(derived_seed("dropout", provenance.seed, task.number))

    def run(self) -> FittedFold:
        """Train to the end."""
        self._train()
        self.network.load_state_dict(self.best_weights)
        return FittedFold(
            network=self.network.eval(),
            precision=self.precision,
            best_epoch=self.stop.best_epoch,
            best_ratio=self.stop.best_score,
            steps=self.step,
            history=tuple(self.history),
            seconds=self._seconds(),
            notes=self._notes(),
        )

    def _train(self) -> None:
        self.objective.train()
        while self.epoch <= self.spec.training.epochs and not self.stop.is_over:
            for bars in self._rest_of_epoch():
                factor = self._factor_of_next_step()
                with self._memory_errors():
                    self._train_on(bars, factor)
                self._save_if_due()
            self._end_epoch()

    def checkpoint(self) -> Checkpoint:
        """The whole state after the last step."""
        self.log.fetch()
        arrays = {f"{NETWORK}{k}": _array(v) for k, v in self.network.state_dict().items()}
        arrays |= {f"{AVERAGED}{k}": _array(v) for k, v in self.averaged.weights().items()}
        arrays |= {f"{BEST}{k}": _array(v) for k, v in self.best_weights.items()}
        arrays |= self.optimizer.arrays()
        arrays["balance"] = _array(self.balance.v)
        arrays["epoch_sums"] = self.log.sums.copy()
        arrays |= generator_arrays(self.device)
        state: Json = {
            "provenance": self.provenance.to_json(),
            "threads": torch.get_num_threads(),
            "precision": self.precision,
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "bad_in_a_row": self.log.bad_in_a_row,
            "early_stop": self.stop.to_json(),
            "history": [dataclasses.asdict(metrics) for metrics in self.history],
            "random": generator_json(),
            "seconds": self._seconds(),
            "notes": self.task.notes,
        }
        return Checkpoint(fold=self.task.number, step=self.step, arrays=arrays, state=state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint. Raises CheckpointRejected when it is of other training."""
        arrays, state = checkpoint.arrays, checkpoint.state
        if checkpoint.fold != self.task.number:
            raise CheckpointRejected(
                f"the checkpoint is of fold {checkpoint.fold}, expected {self.task.number}"
            )
        if not self.provenance.fits(state["provenance"]):
            raise CheckpointRejected(
                "the checkpoint is of another spec, other data or another seed"
            )
        torch.set_num_threads(checkpoint.threads)
        self.precision = state["precision"]
        self.network.load_state_dict(self._tensors(checkpoint, NETWORK))
        self.averaged.network.load_state_dict(self._tensors(checkpoint, AVERAGED))
        self.best_weights = self._tensors(checkpoint, BEST)
        self.optimizer.restore(arrays)
        with torch.no_grad():
            self.balance.v.copy_(torch.from_numpy(np.array(arrays["balance"])))
        self.log.sums = np.array(arrays["epoch_sums"])
        self.step, self.epoch = checkpoint.step, state["epoch"]
        self.step_in_epoch = state["step_in_epoch"]
        self.log.bad_in_a_row = state["bad_in_a_row"]
        self.stop = EarlyStop.from_json(state["early_stop"])
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]
        self.saved_step = checkpoint.step
        self.seconds_before = state.get("seconds", 0.0)
        restore_generators(arrays, state["random"], self.device)

    def _seconds(self) -> float:
        return self.seconds_before + self.clock() - self.began_at

    def _new_network(self) -> FiveHeads:
        resident, number = self.task.resident, self.task.number
        return build_network(
            self.spec.network,
            features=resident.features,
            context_bars=resident.context_bars,
            scales=resident.scales,
            seed=derived_seed("weights", self.provenance.seed, number),
        )

    def _new_log(self) -> StepLog:
        constants = constant_losses(
            self.labels,
            self.task.scale,
            bars=torch.from_numpy(self.task.fit_bars).to(self.device),
            cost_bps=self.spec.target.cost_bps,
        )
        return StepLog(
            self.observer,
            fold=self.task.number,
            total_steps=self.total_steps,
            learning_rate=self.spec.training.learning_rate,
            constant_loss=sum(constants.values()),
            steps_per_fetch=1 if self.device.type == "cpu" else STEPS_PER_FETCH,
            clock=self.clock,
        )

    def _begun(self, network: FiveHeads) -> FiveHeads:
        start_at_the_constant(network, self.task.scale)
        return network.to(self.device)

    def _in_one_graph(self, objective: Objective, compiler: Compiler) -> CompiledObjective:
        """The objective, compiled for what this process computes of an epoch's first batch."""
        first = torch.arange(min(self.spec.training.batch, len(self.task.fit_bars)))
        samples = len(self.ranks.share(first).bars)
        return CompiledObjective(objective, compiler=compiler, samples=samples)

    def _notes(self) -> tuple[str, ...]:
        note = self.compiled.note if self.compiled else None
        return () if note is None else (note,)

    def _rest_of_epoch(self) -> Iterator[Tensor]:
        """The fit bars of each step of the open epoch that was not made yet."""
        order = epoch_order(
            len(self.task.fit_bars),
            seed=self.provenance.seed,
            fold=self.task.number,
            epoch=self.epoch,
        )
        bars = torch.from_numpy(self.task.fit_bars[order]).to(self.device)
        yield from torch.split(bars, self.spec.training.batch)[self.step_in_epoch :]

    def _factor_of_next_step(self) -> float:
        """What the observer multiplies its loss with; Stopped when it asked to stop."""
        self._save_and_stop_if_asked()
        with self._memory_errors():
            return self.ranks.tell(self.observer.before_step(self.step + 1))

    def _train_on(self, bars: Tensor, factor: float) -> None:
        step = self.step + 1
        share = rate_share(step, total_steps=self.total_steps, warmup=self.spec.training.warmup)
        rate = self.spec.training.learning_rate * share
        own = self.ranks.share(bars)
        if self.ranks.count > 1:
            self._draw_anew(step)
        batch = self.task.resident.batch(own.bars)
        losses, balanced = self.objective(
            batch, self.labels.batch(own.bars), precision=self.precision
        )
        loss = balanced * factor
        dropped = self.network.mean_dropout(batch)
        told = torch.cat((losses.detach(), loss.detach()[None], dropped[None]))
        told = self.ranks.mean(told, own.part)
        balance = self.balance.v.detach().clone()
        norm, left_out = self.optimizer.step(
            self.ranks.weighted(loss, own.part), learning_rate=rate, whole_loss=told[-2]
        )
        self.averaged.take(step)
        self.step, self.step_in_epoch = step, self.step_in_epoch + 1
        numbers = torch.cat((told, norm[None], left_out[None], balance))
        self._note(PendingStep(step, self.epoch, len(bars), rate, numbers))

    def _draw_anew(self, step: int) -> None:
        """Each process draws its own dropout, from the step on: no generator has to be kept."""
        seed, fold = self.provenance.seed, self.task.number
        torch.manual_seed(derived_seed("dropout", seed, fold, step, self.ranks.rank))

    def _note(self, made: PendingStep) -> None:
        self.log.note(made)

    def _end_epoch(self) -> None:
        losses = self.log.losses_of_epoch()
        score = self._validation_score()
        self.ranks.tell(score.ratio)
        is_best = self.stop.record(self.epoch, score.ratio)
        if is_best:
            self.best_weights = {k: v.clone() for k, v in self.averaged.weights().items()}
        metrics = EpochMetrics(
            fold=self.task.number,
            epoch=self.epoch,
            step=self.step,
            losses=losses,
            validation_losses=score.losses,
            ratios=score.ratios,
            ratio=score.ratio,
            is_best=is_best,
            half_lives=self.averaged.network.half_lives(),
        )
        self.history.append(metrics)
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        self.log.begin_epoch()
        self.observer.on_epoch(metrics)
        self._save()
        self.log.pause()  # scoring and saving are no training time

    def _validation_score(self) -> Score:
        with self._memory_errors():
            return score_slice(
                self.averaged.network,
                self.task.resident,
                self.labels,
                self.task.scale,
                bars=self.task.validation_bars,
                cost_bps=self.spec.target.cost_bps,
                precision=self.precision,
                between=self._save_and_stop_if_asked,
            )

    def _save_if_due(self) -> None:
        unsaved_steps = self.step - self.saved_step
        unsaved_s = self.clock() - self.saved_at
        if unsaved_steps >= self.spec.training.checkpoint_steps or unsaved_s >= LONGEST_UNSAVED_S:
            self._save()

    def _save(self) -> None:
        self.observer.save(self.checkpoint())
        self.saved_step, self.saved_at = self.step, self.clock()

    def _save_and_stop_if_asked(self) -> None:
        if self.observer.should_stop():
            self._save()
            self.ranks.tell_stop()
            raise Stopped(self.step)

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error, self.device):
                raise
            raise OutOfMemory(
                step=self.step + 1,
                batch=self.spec.training.batch,
                needed_bytes=held_bytes(self.device) + (_asked_bytes(str(error)) or 0),
                free_bytes=free_bytes(self.device),
            ) from error

    def _tensors(self, checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): torch.from_numpy(np.array(array)).to(self.device)
            for name, array in checkpoint.arrays.items()
            if name.startswith(prefix)
        }


def _steps_per_epoch(spec: ModelSpec, fit_samples: int) -> int:
    return -(-fit_samples // spec.training.batch)


def _array(tensor: Tensor) -> NDArray[Any]:  # Any: the dtype is the tensor's
    return np.array(tensor.detach().cpu().numpy())


def _asked_bytes(text: str) -> int | None:
    """Bytes that a failed allocation asked for, as far as its message says."""
    found = re.search(r"allocate ([\d.]+) (bytes|KiB|MiB|GiB)", text)
    if not found:
        return None
    unit = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[found[2]]
    return int(float(found[1].rstrip(".")) * unit)
