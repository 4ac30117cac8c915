"""Rows of the model registry for tests of pages and API; no network is behind these weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jobs.statuses import JobKind, JobStatus
from markets.models import DatasetVersion
from modeling.models import Fold, ModelPrediction, PredictionSet, RegisteredModel, TrainingRun
from tests.factories import make_job, make_stored

STATE: dict[str, Any] = {
    "selection": {"names": ["rsi_14", "ret_1"], "relevance": {}, "redundancy": {}},
    "scalers": {
        "names": ["rsi_14", "ret_1"],
        "scales": {"1": {"centre": [0.0, 0.1], "width": [1.0, 0.5]}},
    },
    "targets": {"volatility_mean": -6.0, "volatility_std": 0.5},
    "window_volatility": {"mean": -6.2, "spread": 0.4},
    "calibrator": {"kind": "platt", "a": 1.0, "b": 0.0},
    "thresholds": {"model": 0.5},
}


def loadable(run: TrainingRun) -> Fold:
    """The last fold of a run with weights and with all that a registered model needs.

    Its features and windows are short, so that the 40 days of a made version hold many.
    """
    spec = run.experiment.model_spec
    run.experiment.model_spec = spec.model_copy(
        update={
            "features": spec.features.model_copy(update={"scales": (1,)}),
            "windows": spec.windows.model_copy(update={"context_bars": 24}),
        }
    )
    run.experiment.save(update_fields=["model_spec"])
    fold = run.folds.latest("number")
    weights = {"w": np.arange(3, dtype=np.float32)}
    fold.weights = make_stored(
        run.workspace, lambda path: save_file(weights, path), "w.safetensors"
    )
    fold.weights_sha256 = fold.weights.sha256
    fold.state = STATE
    fold.save()
    return fold


def make_model(run: TrainingRun, name: str = "Best", **fields: Any) -> RegisteredModel:
    fold = run.folds.filter(weights__isnull=False).first() or loadable(run)
    return RegisteredModel.objects.create(
        workspace=run.workspace, run=run, fold=fold, name=name, **fields
    )


def make_prediction(
    model: RegisteredModel,
    version: DatasetVersion | None = None,
    *,
    status: str = JobStatus.SUCCEEDED,
    **job: Any,
) -> ModelPrediction:
    """What a model predicted; with the predictions of its run once it succeeded."""
    row = ModelPrediction.objects.create(
        workspace=model.workspace,
        model=model,
        version=version or model.run.experiment.version,
        job=make_job(model.workspace, kind=JobKind.PREDICT, status=status, **job),
    )
    if status != JobStatus.SUCCEEDED:
        return row
    own = PredictionSet.objects.get(run=model.run, rung=PredictionSet.MODEL)
    values = ("rows", "first_at", "last_at", "folds", "sha256", "file_id")
    row.predictions = PredictionSet.objects.create(
        workspace=model.workspace, **{name: getattr(own, name) for name in values}
    )
    row.metrics = model.run.metrics
    row.notices = [
        {"code": "unseen_instrument", "message": "The model was not trained on ETH/USDT."}
    ]
    row.save()
    return row
