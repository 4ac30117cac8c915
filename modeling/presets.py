"""Named specs. A preset is offered when every part of it works."""

from __future__ import annotations

from modeling.specs import FeatureSpec, ModelSpec, NetworkSpec, TrainingSpec, WindowSpec

NETWORKS: dict[str, NetworkSpec] = {
    "tiny": NetworkSpec(d_model=32, heads=4, layers=2, d_ff=64, patch_bars=4),
    "small": NetworkSpec(d_model=64, heads=4, layers=2, d_ff=256, patch_bars=10),
    "reference": NetworkSpec(),
}
CONTEXT_BARS = {"tiny": 64, "small": 250, "reference": 250}

PRESETS: dict[str, ModelSpec] = {
    "tiny": ModelSpec(
        features=FeatureSpec(feature_set="basic-15"),
        windows=WindowSpec(context_bars=CONTEXT_BARS["tiny"]),
        network=NETWORKS["tiny"],
        training=TrainingSpec(batch=256, learning_rate=1e-3, epochs=6, patience=2),
    ),
}

PURPOSE = {"tiny": "A first look on any machine: minutes, even on two cores."}
