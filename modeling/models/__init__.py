"""The rows of the app in one place, where Django looks for them."""

from modeling.models.experiments import (
    Experiment,
    RunQuerySet,
    TrainingRun,
    bars_used,
    instrument_name,
    span_used,
)
from modeling.models.folds import BaselineScore, Checkpoint, Fold, MetricPoint
from modeling.models.predictions import HoldoutOpening, PredictionSet
from modeling.models.registry import ModelPrediction, RegisteredModel
from modeling.models.trials import Trial, TrialQuerySet

__all__ = [
    "BaselineScore",
    "Checkpoint",
    "Experiment",
    "Fold",
    "HoldoutOpening",
    "MetricPoint",
    "ModelPrediction",
    "PredictionSet",
    "RegisteredModel",
    "RunQuerySet",
    "TrainingRun",
    "Trial",
    "TrialQuerySet",
    "bars_used",
    "instrument_name",
    "span_used",
]
