"""The card of a registered model: all that is needed to use its weights elsewhere, and to judge them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from modeling.causality import features_version
from modeling.models import RegisteredModel, instrument_name

FORMAT = "outsample-model-1"
WEIGHTS = "weights.safetensors"
SPAN = ("from_at", "to_at", "parts")
OF_EACH = ("instruments", "window_volatilities")
OF_SEVERAL = (
    "Scalers, targets and window_volatility are those of all training instruments together, for an "
    "instrument not among them. For one of them take what stands under its name in instruments and "
    "window_volatilities; the thresholds in targets hold for all.",
)
HOW_TO_LOAD = (
    f"Check that the SHA-256 of {WEIGHTS} is weights.sha256.",
    "Compute features.names with markets.features.compute.compute_features on each of features.scales, "
    "with the feature code version named here.",
    "Scale each feature of each scale: clip((x - centre) / width, -6, 6); the time features stay as they are.",
    "Build the network with modeling.network.choice.network_of from spec.network, the number of "
    "features, spec.windows.context_bars and features.scales, then "
    f"network.load_state_dict(safetensors.torch.load_file('{WEIGHTS}')).",
    "The log volatility of a window enters as (v - window_volatility.mean) / window_volatility.spread.",
    "Read out: action = tanh(logit); regime and risk = softmax; volatility per bar = "
    "exp(targets.volatility_mean + targets.volatility_std * logit); confidence = calibrator(sigmoid(logit)).",
)


def model_card(model: RegisteredModel) -> dict[str, Any]:
    """Plain JSON: `card`, which is equal whenever it is made again, and the SHA-256 of its text.

    The text is `canonical(card)`. Name, stage and notes may change and stand beside it.
    """
    card = _card(model)
    digest = hashlib.sha256(canonical(card).encode()).hexdigest()
    return {
        "name": model.name,
        "stage": model.stage,
        "notes": model.notes,
        "card_sha256": digest,
        "card": card,
    }


def canonical(card: dict[str, Any]) -> str:
    """JSON with sorted keys, without blanks and in ASCII."""
    return json.dumps(card, sort_keys=True, separators=(",", ":"))


def trained_on(model: RegisteredModel) -> dict[str, Any]:
    """The candles and the times behind the weights."""
    run = model.run
    version = run.experiment.version
    slices = model.fold.splits["slices"]

    def span(name: str) -> dict[str, Any]:
        """From when to when, and under combinatorial cross-validation in which stretches."""
        return {key: slices[name][key] for key in SPAN if key in slices[name]}

    pool = run.experiment.pool
    several = [
        {"instrument": instrument_name(each), "version_sha256": each.sha256} for each in pool
    ]
    return {
        **({"instruments": several} if len(pool) > 1 else {}),
        "instrument": str(version.dataset.instrument),
        "timeframe": version.dataset.timeframe,
        "version_sha256": version.sha256,
        "data_sha256": run.data_sha256,
        "is_synthetic": run.experiment.is_synthetic,
        "fold": model.fold.number,
        "fit": span("fit"),
        "calibration": span("calibration"),
        "test": span("test"),
    }


def _card(model: RegisteredModel) -> dict[str, Any]:
    run, state = model.run, model.fold.state
    spec = run.experiment.model_spec
    scales = spec.features.scales_for(run.experiment.version.dataset.timeframe_minutes)
    return {
        "format": FORMAT,
        "weights": {"file": WEIGHTS, "sha256": model.fold.weights_sha256},
        "spec": spec.to_json(),
        "spec_sha256": run.experiment.spec_sha256,
        "seed": run.seed,
        "code_version": run.code_version,
        "libraries": run.libraries,
        "trained_on": trained_on(model),
        "features": {
            "names": state["selection"]["names"],
            "scales": list(scales),
            "code_version": features_version(run.causality, model.fold.number),
        },
        "scalers": state["scalers"]["scales"],
        "targets": state["targets"],
        "window_volatility": state["window_volatility"],
        **{name: state[name] for name in OF_EACH if name in state},
        "calibrator": state["calibrator"],
        "threshold": state["thresholds"]["model"],
        "metrics": run.metrics,
        "verdict": None if run.is_withheld else run.verdict,
        "leak_alarm": run.leak_alarm,
        "how_to_load": [*HOW_TO_LOAD, *(OF_SEVERAL if run.experiment.others else ())],
    }
