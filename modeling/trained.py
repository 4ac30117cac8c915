"""A finished fold at work on candles: its stored weights, scalers and thresholds, nothing trained.

Only the trainer process imports this module; it loads torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from artifacts.models import StoredFile
from artifacts.store import FileChanged, verified_path
from jobs.attempts import RunningAttempt
from jobs.errors import JobFailed
from modeling.evaluation.alarm import BlockScore
from modeling.evaluation.calibration import Calibrator
from modeling.evaluation.cases import Priors, Scoring
from modeling.evaluation.effective import effective_samples
from modeling.evaluation.table import Table, predictions_sha256, read_fold
from modeling.folds import known_columns
from modeling.judging import MODEL, PRIOR
from modeling.models import Fold, PredictionSet, TrainingRun
from modeling.network.choice import network_of
from modeling.network.heads import FiveHeads
from modeling.sealed import instant
from modeling.storing import store_in_run
from modeling.training.machine import chosen_precision
from modeling.training.resident import Standards
from modeling.windows.learned import AppliedFit, FoldFit, apply_fit
from modeling.windows.make import Bars, Windows
from modeling.working import WorkingFold


@dataclass(frozen=True)
class TrainedFold:
    """What a finished fold brings to the windows of some candles."""

    run: TrainingRun
    stored: Fold
    windows: Windows
    applied: AppliedFit
    standards: Standards

    def predict(self, bars: Bars, attempt: RunningAttempt) -> Table:
        """One row of the prediction table for each window that ends at the bars."""
        spec = self.run.experiment.model_spec
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        working = WorkingFold(
            spec=spec,
            network=self._network().to(device),
            precision=chosen_precision(spec.training.precision, device, width=spec.network.d_model),
            device=device,
            standards=self.standards,
            calibrator=Calibrator.from_json(self.stored.state["calibrator"]),
        )
        known = known_columns(
            self.windows, self.applied.labels, bars, fold=self.stored.number, seed=self.run.seed
        )
        return known | working.predict(self.windows, self.applied, bars, attempt.raise_if_stopping)

    def _network(self) -> FiveHeads:
        spec = self.run.experiment.model_spec
        network = network_of(
            spec.network,
            features=self.applied.scaled[1].shape[1],
            context_bars=spec.windows.context_bars,
            scales=tuple(sorted(self.applied.scaled)),
            seed=self.run.seed,
        )
        network.load_state_dict(load_file(_kept(self.stored.weights)))
        return network

    def scoring(self, effective: float) -> Scoring:
        """As the test block was scored: the priors come from the fold's own training part."""
        spec = self.run.experiment.model_spec
        prior = walked(self.stored, PRIOR)
        return Scoring(
            priors=Priors(
                regime=np.array([prior[f"regime_{k}"][0] for k in range(4)]),
                risk=np.array([prior[f"risk_{k}"][0] for k in range(3)]),
                confidence=np.asarray(prior["confidence"][:1], dtype=float),
            ),
            cost_bps=spec.target.cost_bps,
            horizon_bars=spec.windows.horizon_bars,
            effective=effective,
            draws=spec.evaluation.bootstrap_draws,
            seed=spec.evaluation.bootstrap_seed,
        )


def as_stored(run: TrainingRun, stored: Fold, windows: Windows) -> TrainedFold:
    """The fold with what it kept, applied to other candles than it was trained on."""
    return TrainedFold(
        run=run,
        stored=stored,
        windows=windows,
        applied=apply_fit(windows, FoldFit.from_json(stored.state)),
        standards=Standards.from_json(stored.state),
    )


def walked(stored: Fold, rung: str) -> Table:
    """The predictions of the fold's own test block."""
    return read_fold(_kept(stored.predictions))[rung]


def _kept(file: StoredFile | None) -> Path:
    """The path of a file that the fold kept, unchanged since."""
    if file is None:
        raise JobFailed("fold_incomplete", "The fold kept no such file. Run the experiment again.")
    try:
        return verified_path(file)
    except FileChanged as error:
        raise JobFailed("fold_changed", f"{error}. Run the experiment again.") from error


def effective_of(bars: Bars, horizon_bars: int) -> float:
    """Independent observations among labelled bars."""
    return effective_samples(bars + 1, bars + horizon_bars) if bars.size else 0.0


def block_of(metrics: Mapping[str, Any], effective: float) -> BlockScore:
    action = metrics.get("action", {})
    return BlockScore(
        accuracy=action.get("accuracy", {}).get("value"),
        auc=action.get("auc", {}).get("value"),
        effective=effective,
    )


def raise_alarm(run: TrainingRun, reasons: tuple[str, ...]) -> None:
    """An alarm of later predictions is one of the run; an explanation given before knew nothing of it."""
    if not reasons:
        return
    run.refresh_from_db(fields=["leak_alarm"])
    run.leak_alarm = {"raised": True, "reasons": [*run.leak_alarm.get("reasons", []), *reasons]}
    run.alarm_explanation = ""
    run.save(update_fields=["leak_alarm", "alarm_explanation"])


def store_set(fold: TrainedFold, table: Table, path: Path, **of: Any) -> PredictionSet:
    """The row and the file of a fold's predictions; `of` are the columns that say whose they are."""
    threshold = fold.stored.state["thresholds"][MODEL]
    row: PredictionSet = PredictionSet.objects.create(
        workspace_id=fold.run.workspace_id,
        rung=MODEL,
        file=store_in_run(fold.run, path),
        sha256=predictions_sha256(table),
        rows=len(table["open_at"]),
        first_at=instant(int(table["open_at"].min())),
        last_at=instant(int(table["open_at"].max())),
        folds=[{"fold": fold.stored.number, "threshold": threshold}],
        **of,
    )
    return row
