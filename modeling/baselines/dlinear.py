"""The DLinear rung: two linear maps of the window, trained as the network is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from modeling.baselines.rungs import (
    Floats,
    Ints,
    RungFailed,
    RungFold,
    RungLabels,
    RungPredictions,
    calibrated_fold,
    every,
    thinning_note,
)
from modeling.network.dlinear import DLinear
from modeling.specs import ModelSpec
from modeling.training.checkpoint import Provenance
from modeling.training.errors import Diverged, OutOfMemory
from modeling.training.fit import FittedFold, FoldTask, fit
from modeling.training.observer import Unobserved
from modeling.training.predict import predict


class Watched(Unobserved):
    """Calls `between`, which may raise, before each step and each batch that is scored."""

    def __init__(self, between: Callable[[], None]) -> None:
        self._between = between

    def should_stop(self) -> bool:
        """Never by itself: what `between` raises ends the training."""
        self._between()
        return False


def fit_dlinear(
    spec: ModelSpec,
    task: FoldTask,
    *,
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> tuple[FittedFold, tuple[str, ...]]:
    """DLinear with the weights of its best epoch, and sentences about what was simplified.

    The same samples, losses, schedule and early stop as the network's, on at most 200 000 samples,
    every k-th. It is cheap enough to be trained again: nothing is saved on the way. One thread; equal
    task and seed give equal bits on a processor. Raises RungFailed when training diverges or does not
    fit into memory, and whatever `between` raises.
    """
    step = every(len(task.fit_bars))
    notes = (thinning_note(step, len(task.fit_bars)),) if step > 1 else ()
    network = DLinear(features=task.resident.features, context_bars=task.resident.context_bars)
    try:
        with one_thread():
            fitted = fit(
                spec,
                dataclasses.replace(task, fit_bars=task.fit_bars[::step]),
                provenance=Provenance(spec_sha256="", dataset_sha256="", seed=seed),
                observer=Watched(between),
                network=network,
            )
    except Diverged as error:
        raise RungFailed(
            f"the loss {error.what} at step {error.step}; "
            f"try a learning rate below {error.learning_rate:g}"
        ) from error
    except OutOfMemory as error:
        raise RungFailed(
            f"memory ran out at step {error.step}; try batches below {error.batch}"
        ) from error
    return fitted, notes


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes with one thread: on a busy machine several wait for each other at every
    one of the many small products. The network's number is restored, which fixes its last bits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_dlinear(
    spec: ModelSpec,
    task: FoldTask,
    calibration: tuple[Ints, RungLabels],
    test_bars: Ints,
    *,
    seed: int,
    volatility: tuple[Floats, Floats] | None = None,
    between: Callable[[], None] = lambda: None,
) -> RungFold:
    """Fit, calibrate and set the threshold on the calibration slice, predict the test block.

    `calibration` and `test_bars` are base bars, as in the task. `volatility` are mean and spread of
    log volatility by base bar [N], where they are not the task's for all. Raises RungFailed with the
    reason, and whatever `between` raises.
    """
    fitted, notes = fit_dlinear(spec, task, seed=seed, between=between)
    bars, labels = calibration
    if len(labels) == 0:
        raise RungFailed("found no calibration samples; expected at least one")
    mean, std = volatility or _everywhere(task)
    seen, ahead = (
        _predictions(fitted, task, wanted, mean[wanted], std[wanted], between)
        for wanted in (bars, test_bars)
    )
    return calibrated_fold(seen, labels, ahead, cost_bps=spec.target.cost_bps, notes=notes)


def _everywhere(task: FoldTask) -> tuple[Floats, Floats]:
    bars, scale = task.resident.bars, task.scale
    return np.full(bars, scale.volatility_mean), np.full(bars, scale.volatility_std)


def _predictions(
    fitted: FittedFold,
    task: FoldTask,
    bars: Ints,
    volatility_mean: Floats,
    volatility_std: Floats,
    between: Callable[[], None],
) -> RungPredictions:
    found = predict(
        fitted.network,
        task.resident,
        bars,
        volatility_mean=volatility_mean,
        volatility_std=volatility_std,
        precision=fitted.precision,
        between=between,
    )
    return RungPredictions(
        action=found.action,
        regime=found.market_regime,
        risk=found.risk,
        volatility=found.volatility,
        confidence_raw=found.confidence_raw,
    )
