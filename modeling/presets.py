"""Named specs. A preset is offered when every part of it works."""

from __future__ import annotations

from modeling.specs import FeatureSpec, ModelSpec, NetworkSpec, TrainingSpec, WindowSpec

NETWORKS: dict[str, NetworkSpec] = {
    "tiny": NetworkSpec(d_model=32, heads=4, layers=2, d_ff=64, patch_bars=4),
    "small": NetworkSpec(d_model=64, heads=4, layers=2, d_ff=256, patch_bars=10),
    "reference": NetworkSpec(),
    "linear": NetworkSpec(kind="linear"),
}
CONTEXT_BARS = {"tiny": 64, "small": 250, "reference": 250, "linear": 250}

PRESETS: dict[str, ModelSpec] = {
    "tiny": ModelSpec(
        features=FeatureSpec(feature_set="basic-15", select_top="none"),
        windows=WindowSpec(context_bars=CONTEXT_BARS["tiny"]),
        network=NETWORKS["tiny"],
        training=TrainingSpec(batch=256, learning_rate=1e-3, epochs=6, patience=2),
    ),
    "small": ModelSpec(
        features=FeatureSpec(feature_set="all-67"),
        windows=WindowSpec(context_bars=CONTEXT_BARS["small"], stride=4),
        network=NETWORKS["small"],
        training=TrainingSpec(batch=256, learning_rate=1e-3, epochs=8, patience=2),
    ),
    "reference": ModelSpec(
        features=FeatureSpec(feature_set="all-67"),
        windows=WindowSpec(context_bars=CONTEXT_BARS["reference"]),
        network=NETWORKS["reference"],
    ),
    # Stride and training are those of the DLinear rung, which alone of it learns in epochs.
    "linear": ModelSpec(
        features=FeatureSpec(feature_set="all-67"),
        windows=WindowSpec(context_bars=CONTEXT_BARS["linear"], stride=4),
        network=NETWORKS["linear"],
        training=TrainingSpec(batch=256, learning_rate=1e-3, epochs=8, patience=2),
    ),
}

PURPOSE = {
    "tiny": "A first look on any machine: minutes, even on two cores.",
    "small": "Each fold selects 40 of the 67 features; sized for a processor.",
    "reference": "The full network of 29.8 M parameters: needs a GPU.",
    "linear": "No network: logistic regression and ridge. What a network has to beat.",
}
