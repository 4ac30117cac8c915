"""What a model is made of: data, features, windows, target, network, training, evaluation."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Literal, Self

from pydantic import field_validator, model_validator

from markets.features.registry import FEATURE_SETS, FEATURES, automatic_scales
from specs.declaration import InvalidSpec, Spec, UtcInstant, declared

MINUTES_PER_DAY = 1440
SELECT_MAX = 1000


class DataSpec(Spec):
    """Which part of each dataset version is used."""

    from_at: UtcInstant | None = declared(
        None, label="From", help="First bar used (UTC). Empty: from the first bar of the version."
    )
    to_at: UtcInstant | None = declared(
        None, label="To", help="End of the span used (UTC, exclusive). Empty: to the last bar."
    )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.from_at and self.to_at and self.to_at <= self.from_at:
            raise InvalidSpec({"to_at": "expected a time after the beginning of the span"})
        return self

    def within(self, first: datetime, last: datetime) -> tuple[datetime, datetime]:
        """The part used of candles from the open `first` to the close `last`.

        Raises InvalidSpec when nothing is left.
        """
        start = max(first, self.from_at) if self.from_at else first
        end = min(last, self.to_at) if self.to_at else last
        if end <= start:
            is_early = self.to_at is not None and self.to_at <= first
            raise InvalidSpec(
                {
                    "data.to_at"
                    if is_early
                    else "data.from_at": f"no bar of the dataset lies between {start:%Y-%m-%d %H:%M} "
                    f"and {end:%Y-%m-%d %H:%M} UTC"
                }
            )
        return start, end


class FeatureSpec(Spec):
    """Which features on which timescales."""

    feature_set: str | tuple[str, ...] = declared(
        "basic-15",
        label="Feature set",
        help="A named set, or the names of single features.",
        choices={"basic-15": "15 basic features", "all-67": "all 67 features"},
    )
    select_top: Literal["none"] | int = declared(
        40,
        label="Select",
        unit="features",
        help="Each fold keeps so many of the set, those that tell most in its fit slice and least "
        "repeat each other. None, or not fewer than the set holds: all are kept.",
        advanced=True,
    )
    scales: Literal["auto"] | tuple[int, ...] = declared(
        "auto",
        label="Timescales",
        help="Multiples of the base bar. Auto: those of 1, 3, 6, 12 that divide a UTC day.",
        advanced=True,
    )

    @field_validator("feature_set")
    @classmethod
    def _features_are_known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            _refuse_unknown(value, list(FEATURE_SETS))
            return value
        if not value:
            raise ValueError("expected at least one feature")
        for name in value:
            _refuse_unknown(name, list(FEATURES))
        if len(set(value)) < len(value):
            raise ValueError("expected each feature once")
        return tuple(name for name in FEATURES if name in value)

    @field_validator("select_top", mode="before")
    @classmethod
    def _keeps_at_least_one(cls, value: object) -> object:
        if value is None or value == "none":
            return "none"
        if isinstance(value, str) and value.isdecimal() and len(value) < 10:
            value = int(value)
        if isinstance(value, int) and 1 <= value <= SELECT_MAX:
            return value
        raise ValueError(f"expected 1 to {SELECT_MAX} features, or none to keep all")

    @field_validator("scales")
    @classmethod
    def _scales_rise_from_one(cls, value: Literal["auto"] | tuple[int, ...]) -> object:
        if value == "auto":
            return value
        if not value or value[0] != 1 or list(value) != sorted({k for k in value if k > 0}):
            raise ValueError("expected rising whole numbers beginning with 1, such as 1, 3, 6, 12")
        if len(value) > 6 or value[-1] > MINUTES_PER_DAY:
            raise ValueError("expected at most 6 timescales, none longer than a day")
        return value

    def names(self) -> tuple[str, ...]:
        """Names of the computed features, in registry order."""
        if isinstance(self.feature_set, str):
            return FEATURE_SETS[self.feature_set]
        return self.feature_set

    @property
    def most_kept(self) -> int | None:
        """How many features each fold selects; None when all are kept."""
        return None if self.select_top == "none" else self.select_top

    @property
    def count(self) -> int:
        """How many features the network sees."""
        available = len(self.names())
        return available if self.most_kept is None else min(self.most_kept, available)

    def scales_for(self, timeframe_minutes: int) -> tuple[int, ...]:
        """The timescales for a base bar. Raises InvalidSpec when a scale does not divide a UTC day."""
        if self.scales == "auto":
            return automatic_scales(timeframe_minutes)
        for k in self.scales:
            if MINUTES_PER_DAY % (timeframe_minutes * int(k)):
                raise InvalidSpec(
                    {
                        "features.scales": f"scale {k}: a scale's bar must divide a UTC day; "
                        f"{k} × {timeframe_minutes} minutes does not"
                    }
                )
        return tuple(int(k) for k in self.scales)


class WindowSpec(Spec):
    """How much history a sample sees and how far its labels look ahead."""

    context_bars: int = declared(
        250, label="Context", unit="bars", help="Bars of history in one sample.", ge=4, le=4096
    )
    horizon_bars: int = declared(
        12,
        label="Horizon",
        unit="bars",
        help="Bars ahead that the action head looks.",
        ge=1,
        le=288,
    )
    stride: int = declared(
        1,
        label="Stride",
        unit="bars",
        help="Every n-th fit sample is used. Validation, test and predictions use every bar.",
        ge=1,
        le=100,
        advanced=True,
    )


class TargetSpec(Spec):
    """What the five heads learn."""

    cost_bps: float = declared(
        10.0,
        label="Round-trip cost",
        unit="bps",
        help="Costs a trade has to earn back; decides the confidence labels.",
        ge=0,
        le=500,
    )
    regime_bars: int = declared(
        48,
        label="Regime length",
        unit="bars",
        help="Bars ahead for regime and risk.",
        ge=2,
        le=2016,
    )
    action_target: Literal["scaled_return", "triple_barrier"] = declared(
        "scaled_return",
        label="Action target",
        help="The volatility-scaled return over the horizon, or which barrier is touched first.",
        choices={"scaled_return": "Scaled return", "triple_barrier": "Triple barrier"},
        advanced=True,
    )


class NetworkSpec(Spec):
    """Shape and components of the transformer, or that there is none."""

    kind: Literal["transformer", "linear"] = declared(
        "transformer",
        label="Network",
        help="Linear: no network. Logistic regression and ridge on the newest bar predict; shape "
        "and components are not read.",
        choices={"transformer": "Transformer", "linear": "None (linear)"},
    )
    d_model: int = declared(512, label="Width", help="Length of a token vector.", ge=8, le=1024)
    heads: int = declared(
        16, label="Attention heads", help="They must divide the width.", ge=1, le=32
    )
    layers: int = declared(8, label="Layers", help="Number of transformer blocks.", ge=1, le=24)
    d_ff: int = declared(
        2048,
        label="Feed-forward width",
        help="Inner width of a block.",
        ge=8,
        le=8192,
        advanced=True,
    )
    patch_bars: int = declared(
        1, label="Patch", unit="bars", help="Bars joined into one token.", ge=1, le=64
    )
    temporal_bias: bool = declared(
        True, label="Temporal attention bias", help="Attention fades with age.", advanced=True
    )
    multi_scale: bool = declared(
        True, label="Multi-scale", help="Coarser bars are fused into the tokens.", advanced=True
    )
    adaptive_dropout: bool = declared(
        True,
        label="Adaptive dropout",
        help="Dropout follows the volatility of the window.",
        advanced=True,
    )
    dropout: float = declared(
        0.1, label="Dropout", help="Base rate; 0 switches it off.", ge=0, le=0.5, advanced=True
    )

    @property
    def is_linear(self) -> bool:
        """Whether there is no network."""
        return self.kind == "linear"

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.d_model % self.heads:
            raise InvalidSpec(
                {"heads": f"found {self.heads}; heads must divide {self.d_model} (the width)"}
            )
        return self


class TrainingSpec(Spec):
    """How the network is fitted."""

    batch: int = declared(
        32, label="Batch", unit="samples", help="Samples in one step.", ge=1, le=4096
    )
    learning_rate: float = declared(
        5e-5, label="Learning rate", help="Peak rate after the warm-up.", ge=1e-7, le=1.0
    )
    epochs: int = declared(
        150, label="Epochs", help="Passes over the fit samples, at most.", ge=1, le=1000
    )
    patience: int = declared(
        10,
        label="Patience",
        unit="epochs",
        help="Stop after so many epochs without a gain.",
        ge=1,
        le=1000,
    )
    warmup: float = declared(
        0.05,
        label="Warm-up",
        help="Share of all steps in which the learning rate rises.",
        ge=0,
        le=0.5,
        advanced=True,
    )
    weight_decay: float = declared(
        0.05, label="Weight decay", help="On matrices only.", ge=0, le=1, advanced=True
    )
    grad_clip: float = declared(
        1.0,
        label="Gradient clip",
        help="Largest gradient norm of a step.",
        gt=0,
        le=100,
        advanced=True,
    )
    checkpoint_steps: int = declared(
        100,
        label="Checkpoint every",
        unit="steps",
        help="A killed run continues from its last checkpoint.",
        ge=1,
        le=100_000,
        advanced=True,
    )
    precision: Literal["auto", "fp32", "bf16"] = declared(
        "auto",
        label="Precision",
        help="Auto takes bf16 where the machine computes it natively.",
        advanced=True,
    )
    threads: int = declared(
        0,
        label="Threads",
        help="Processor threads; 0 takes the physical cores.",
        ge=0,
        le=256,
        advanced=True,
    )
    seeds: tuple[int, ...] = declared(
        (0,), label="Seeds", help="One run for each seed.", min_length=1, max_length=20
    )
    devices: int = declared(
        1,
        label="Devices",
        help="GPUs that share each batch of one run. Where the setting OUTSAMPLE_DEVICES is above "
        "the number of GPUs, processes share the processor instead: for tests, not for speed.",
        ge=1,
        le=8,
        advanced=True,
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or any(not 0 <= seed < 2**31 for seed in value):
            raise ValueError("expected different whole numbers from 0 to 2147483647")
        return value


class EvaluationSpec(Spec):
    """How the model is judged out of sample."""

    scheme: Literal["anchored", "rolling", "cpcv", "single"] = declared(
        "anchored",
        label="Scheme",
        help="Walk-forward with a growing or a moving training part; combinatorial: every pair of "
        "eight groups is tested once, 28 trainings that join into 7 paths; or one 70/30 cut.",
        choices={
            "anchored": "Anchored walk-forward",
            "rolling": "Rolling walk-forward",
            "cpcv": "Combinatorial (CPCV)",
            "single": "Single cut",
        },
    )
    folds: int = declared(
        4,
        label="Folds",
        help="Test blocks in the last half of the span. Of walk-forward only; the other schemes do "
        "not read it.",
        ge=2,
        le=20,
    )
    embargo_bars: int = declared(
        288,
        label="Embargo",
        unit="bars",
        help="Bars left out between training and test.",
        ge=0,
        le=10_000,
    )
    holdout_fraction: float = declared(
        0.15,
        label="Sealed hold-out",
        help="Last share of the calendar span that nothing may touch.",
        ge=0,
        le=0.5,
    )
    bootstrap_draws: int = declared(
        1000,
        label="Bootstrap draws",
        help="Draws for each interval.",
        ge=100,
        le=10_000,
        advanced=True,
    )
    bootstrap_seed: int = declared(
        0, label="Bootstrap seed", help="Seed of the draws.", ge=0, le=2**31 - 1, advanced=True
    )


class ModelSpec(Spec):
    """Everything the trainer needs to know."""

    data: DataSpec = DataSpec()
    features: FeatureSpec = FeatureSpec()
    windows: WindowSpec = WindowSpec()
    target: TargetSpec = TargetSpec()
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @model_validator(mode="after")
    def _context_holds_every_scale(self) -> Self:
        """Windows must hold one whole coarse bar of each scale, and one patch."""
        if self.features.scales != "auto":
            largest = max(int(k) for k in self.features.scales)
            if self.windows.context_bars < largest:
                raise InvalidSpec(
                    {
                        "windows.context_bars": f"found {self.windows.context_bars}; "
                        f"expected at least {largest}, the largest timescale"
                    }
                )
        if self.network.patch_bars > self.windows.context_bars:
            raise InvalidSpec(
                {
                    "network.patch_bars": f"found {self.network.patch_bars}; "
                    f"expected at most the context of {self.windows.context_bars} bars"
                }
            )
        return self


def _refuse_unknown(name: str, known: list[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
    raise ValueError(f'unknown name "{name}"; {hint}')
