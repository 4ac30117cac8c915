"""Steps on a GPU: nothing waits for it between two fetches, and it learns what a processor learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modeling.training.fit import FoldTask, fit
from modeling.training.resident import ResidentWindows
from modeling.training.telling import STEPS_PER_FETCH
from tests.modeling.training.markets import (
    CONTEXT,
    PROVENANCE,
    Recorder,
    bars_of_noise,
    fold_task,
    labels_of,
    newest_in,
    scale_of,
    small_model,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device was found")
LONG = {"epochs": 9, "patience": 9, "checkpoint_steps": 10_000}


def on_gpu() -> FoldTask:
    bars = bars_of_noise()
    labels, task = labels_of(bars), fold_task(bars)
    resident = ResidentWindows(bars, context_bars=CONTEXT, patch_bars=4, device="cuda")
    return FoldTask(
        number=1,
        resident=resident,
        labels=labels,
        scale=scale_of(labels, task.fit_bars),
        fit_bars=task.fit_bars,
        validation_bars=task.validation_bars,
    )


class NoWaiting(Recorder):
    """Makes torch raise when a step waits for the GPU; the first steps may, and those that are
    fetched or end an epoch must.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.watched = 0

    def before_step(self, step: int) -> float:
        waits = step < 5 or not step % self.steps_per_epoch or not step % STEPS_PER_FETCH
        torch.cuda.set_sync_debug_mode("default" if waits else "error")
        self.watched += not waits
        return 1.0

    def should_stop(self) -> bool:
        torch.cuda.set_sync_debug_mode(
            "default"
        )  # asked between steps, and while an epoch is scored
        return False


@pytest.mark.parametrize("compiler", [None, "inductor"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_step_does_not_wait_for_the_gpu(precision: str, compiler: str | None) -> None:
    observer = NoWaiting(steps_per_epoch=7)
    try:
        fitted = fit(
            small_model(precision=precision, **LONG),
            on_gpu(),
            provenance=PROVENANCE,
            observer=observer,
            compiler=compiler,
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert fitted.notes == ()
    assert fitted.steps == len(observer.steps) == 63
    assert observer.watched > 40


@pytest.mark.parametrize("compiler", [None, "inductor"])
def test_gpu_follows_the_loss_curve_of_the_processor(compiler: str | None) -> None:
    model = small_model(precision="fp32")
    model = model.model_copy(update={"network": model.network.model_copy(update={"dropout": 0.0})})
    curves = []
    for task, used in ((on_gpu(), compiler), (fold_task(), None)):
        recorder = Recorder()
        fit(model, task, provenance=PROVENANCE, observer=recorder, compiler=used)
        curves.append([step.loss for step in recorder.steps])
    assert curves[0] == pytest.approx(curves[1], abs=5e-3)  # products in TF32 there


def test_checkpoint_of_a_gpu_goes_on_there(tmp_path: Path) -> None:
    fit(small_model(epochs=1), on_gpu(), provenance=PROVENANCE, observer=Recorder(tmp_path))
    recorder = Recorder()
    fit(
        small_model(epochs=1),
        on_gpu(),
        provenance=PROVENANCE,
        observer=recorder,
        resume=newest_in(tmp_path),
    )
    assert recorder.steps == []
    kept = newest_in(tmp_path)
    assert kept is not None
    assert "random/cuda" in kept.arrays
