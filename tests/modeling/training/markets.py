"""Small made-up fits: windows of noise, or labels that follow from the windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modeling.specs import ModelSpec
from modeling.training.checkpoint import (
    Checkpoint,
    Provenance,
    SavedCheckpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from modeling.training.fit import FoldTask
from modeling.training.observer import EpochMetrics, StepMetrics
from modeling.training.resident import FIRST_MONDAY_NS, ResidentWindows, ScaledBars
from modeling.windows.targets import Labels, TargetScale

BAR_NS = 300 * 10**9
CONTEXT = 32
FEATURES = 6
PROVENANCE = Provenance(spec_sha256="5" * 64, dataset_sha256="d" * 64, seed=3)


def bars_of_noise(bars: int = 400, *, features: int = FEATURES, seed: int = 0) -> ScaledBars:
    """Base bars from a Monday's midnight, and their bars of 3 and 6."""
    generator = np.random.default_rng(seed)
    scaled, last_closed = {}, {}
    for k in (1, 3, 6):
        scaled[k] = generator.standard_normal((bars // k, features)).astype(np.float32)
        if k > 1:
            last = (np.arange(bars) + 1) // k - 1
            last_closed[k] = np.minimum(last, bars // k - 1).astype(np.int32)
    return ScaledBars(
        scaled=scaled,
        last_closed=last_closed,
        close_time_ns=FIRST_MONDAY_NS + (np.arange(bars, dtype=np.int64) + 1) * BAR_NS,
        bar_ns=BAR_NS,
        log_volatility_z=generator.standard_normal(bars).astype(np.float32),
    )


def labels_of(bars: ScaledBars, *, seed: int = 1) -> Labels:
    """Labels that follow from the first feature of the last bar, with noise."""
    x = bars.scaled[1][:, 0]
    noise = np.random.default_rng(seed).standard_normal((4, len(x))).astype(np.float32)
    action, volatility, regime, risk = x + 0.3 * noise
    return Labels(
        action=np.clip(action, -3, 3),
        regime=np.digitize(regime, [-0.7, 0.0, 0.7]).astype(np.int8),
        log_volatility=(volatility - 6.0).astype(np.float64),
        log_volatility_z=volatility,
        risk=np.digitize(risk, [-0.4, 0.4]).astype(np.int8),
        realised_return=(0.01 * action).astype(np.float64),
        valid=np.ones(len(x), dtype=bool),
    )


def scale_of(labels: Labels, bars: np.ndarray) -> TargetScale:
    regime = np.bincount(labels.regime[bars], minlength=4) / len(bars)
    risk = np.bincount(labels.risk[bars], minlength=3) / len(bars)
    return TargetScale(
        bear_below=0.0,
        bull_above=0.0,
        volatile_above=0.0,
        medium_above=0.0,
        high_above=0.0,
        volatility_mean=-6.0,
        volatility_std=1.0,
        action_mean=float(labels.action[bars].mean()),
        regime_prior=tuple(regime.tolist()),
        risk_prior=tuple(risk.tolist()),
    )


def small_model(**training: object) -> ModelSpec:
    """A very small network and short training; `training` replaces fields of TrainingSpec."""
    fields = {"batch": 32, "learning_rate": 3e-3, "epochs": 3, "patience": 3, **training}
    network = {"d_model": 16, "heads": 2, "layers": 2, "d_ff": 32, "patch_bars": 4}
    return ModelSpec.parse(
        {"windows": {"context_bars": CONTEXT}, "network": network, "training": fields}
    )


def fold_task(
    bars: ScaledBars | None = None,
    labels: Labels | None = None,
    *,
    fit_samples: int = 200,
    patch_bars: int = 4,
) -> FoldTask:
    """Fold 1: the first windows to fit on, 90 later ones to validate."""
    bars = bars or bars_of_noise()
    labels = labels or labels_of(bars)
    first = 40
    fit_bars = np.arange(first, first + fit_samples, dtype=np.int64)
    validation = np.arange(first + fit_samples + 40, first + fit_samples + 130, dtype=np.int64)
    return FoldTask(
        number=1,
        resident=ResidentWindows(bars, context_bars=CONTEXT, patch_bars=patch_bars),
        labels=labels,
        scale=scale_of(labels, fit_bars),
        fit_bars=fit_bars,
        validation_bars=validation,
        notes={"names": ["a", "b"]},
    )


class Recorder:
    """Keeps what training tells, saves checkpoints in a folder, stops at a step, spoils losses."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        stop_at: int | None = None,
        nan_at: tuple[int, ...] = (),
    ) -> None:
        self.folder, self.stop_at, self.nan_at = folder, stop_at, nan_at
        self.steps: list[StepMetrics] = []
        self.epochs: list[EpochMetrics] = []
        self.saved: list[SavedCheckpoint] = []
        self.saved_steps: list[int] = []
        self.non_finite: list[int] = []

    def before_step(self, step: int) -> float:
        return float("nan") if step in self.nan_at else 1.0

    def on_step(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        self.epochs.append(metrics)

    def on_non_finite(self, step: int) -> None:
        self.non_finite.append(step)

    def save(self, checkpoint: Checkpoint) -> None:
        self.saved_steps.append(checkpoint.step)
        if self.folder is not None:
            self.saved.append(save_checkpoint(self.folder, checkpoint))
            prune_checkpoints(self.folder)

    def should_stop(self) -> bool:
        made = self.steps[-1].step if self.steps else 0
        return self.stop_at is not None and made >= self.stop_at


def newest_in(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a folder, which must be whole."""
    states = sorted(folder.glob("fold-*.json"))
    return load_checkpoint(states[-1]) if states else None
