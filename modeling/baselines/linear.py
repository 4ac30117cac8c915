"""The logistic rung in the place of a network: what an experiment without one is fitted on."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch
from torch import Tensor

from modeling.baselines.logistic import LinearClasses, LogisticModel, fit_logistic
from modeling.baselines.rungs import Floats, Ints, RungLabels
from modeling.network.linear import LinearHeads
from modeling.training.fit import FittedFold, FoldTask
from modeling.windows.targets import TargetScale


def fit_linear(
    task: FoldTask, bars: Ints, *, cost_bps: float, is_pooled: bool = False
) -> FittedFold:
    """Linear heads with the weights of the logistic rung, fitted on base bars, not thinned by a stride.

    Direction, regime, risk and confidence by logistic regression, log volatility by ridge, on the
    scaled features of the last bar; of several instruments log volatility is fitted standardised, since
    scaled features do not tell its level. There are no epochs. At most 200 000 rows, every k-th, said in
    `notes`. Raises RungFailed with the reason.
    """
    began, labels, scale = time.monotonic(), task.labels, task.scale
    log_volatility = labels.log_volatility[bars]
    if is_pooled:
        log_volatility = labels.log_volatility_z[bars].astype(np.float64)
        scale = dataclasses.replace(scale, volatility_mean=0.0, volatility_std=1.0)
    model = fit_logistic(
        task.resident.last_rows(bars).astype(np.float64),
        RungLabels(
            realised_return=labels.realised_return[bars],
            regime=labels.regime[bars].astype(np.int64),
            risk=labels.risk[bars].astype(np.int64),
            log_volatility=log_volatility,
        ),
        cost_bps=cost_bps,
    )
    network = linear_heads(model, scale).to(task.resident.device)
    return FittedFold(
        network=network.eval(),
        precision="fp32",
        best_epoch=0,
        best_ratio=float("nan"),
        steps=0,
        history=(),
        seconds=time.monotonic() - began,
        notes=model.notes,
    )


def linear_heads(model: LogisticModel, scale: TargetScale) -> LinearHeads:
    """The same model as logits: read out as those of a network are, they give its predictions.

    2·P(up) − 1 is tanh of half the log odds, and log volatility is standardised by `scale`.
    """
    heads = LinearHeads(features=len(model.volatility_weights))
    direction, confidence = _log_odds(model.direction), _log_odds(model.confidence)
    offset = (model.volatility_offset - scale.volatility_mean) / scale.volatility_std
    heads.set_rows(
        {
            "action": _rows(direction[0] / 2, direction[1] / 2),
            "market_regime": _rows(model.regime.weights, model.regime.offsets),
            "confidence": _rows(*confidence),
            "volatility": _rows(
                model.volatility_weights[None] / scale.volatility_std, np.array([offset])
            ),
            "risk": _rows(model.risk.weights, model.risk.offsets),
        }
    )
    return heads


def _log_odds(found: LinearClasses) -> tuple[Floats, Floats]:
    """Weights [1,F] and offset [1] of the second class against the first."""
    return found.weights[1:] - found.weights[:1], found.offsets[1:] - found.offsets[:1]


def _rows(weights: Floats, offsets: Floats) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(weights).float(), torch.from_numpy(offsets).float()
