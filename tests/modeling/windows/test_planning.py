"""The plan of an experiment: what the form shows is what the splits of candles without gaps give."""

from __future__ import annotations

import time

import numpy as np
import pytest

from modeling.presets import PRESETS
from modeling.specs import EvaluationSpec, ModelSpec
from modeling.windows.errors import NotEnoughHistory
from modeling.windows.planning import least_bars, plan_experiment
from modeling.windows.samples import SCALE_BARS, Samples, first_window
from modeling.windows.splits import holdout_instant, make_folds

BAR_NS = 5 * 60_000_000_000
FIRST_OPEN = 1_700_000_100_000_000_000


def spec_of(**evaluation: object) -> ModelSpec:
    return PRESETS["tiny"].model_copy(
        update={"evaluation": EvaluationSpec.model_validate(evaluation)}
    )


def planned_from_samples(spec: ModelSpec, bars: int) -> list[dict[str, object]]:
    """Folds of candles without a gap, sample by sample."""
    label_bars = max(spec.windows.horizon_bars, spec.target.regime_bars)
    scales = spec.features.scales_for(5)
    first = first_window(
        spec.features.names(),
        scales,
        spec.windows.context_bars,
        first_open=FIRST_OPEN,
        timeframe_minutes=5,
    )
    bar = np.arange(first, bars, dtype=np.int64)
    known_at = FIRST_OPEN + (bar + 1) * BAR_NS
    samples = Samples(
        bar=bar,
        has_label=(bar >= SCALE_BARS) & (bar < bars - label_bars),
        known_at=known_at,
        label_end_at=known_at + label_bars * BAR_NS,
        horizon_bars=spec.windows.horizon_bars,
        regime_bars=spec.target.regime_bars,
    )
    last_close = FIRST_OPEN + bars * BAR_NS
    holdout_at = holdout_instant(
        FIRST_OPEN, last_close, spec.evaluation.holdout_fraction, bar_ns=BAR_NS
    )
    folds = make_folds(
        samples,
        spec.evaluation,
        context_bars=spec.windows.context_bars,
        bar_ns=BAR_NS,
        holdout_at=holdout_at,
    )
    return [fold.to_json() for fold in folds]


def planned(spec: ModelSpec, bars: int) -> list[dict[str, object]]:
    last_close = FIRST_OPEN + bars * BAR_NS
    plan = plan_experiment(spec, first_open=FIRST_OPEN, last_close=last_close, timeframe_minutes=5)
    return [fold.to_json() for fold in plan.folds]


@pytest.mark.parametrize("bars", [27_011, 40_000])
@pytest.mark.parametrize("embargo_bars", [0, 1, 288])
@pytest.mark.parametrize("holdout_fraction", [0.0, 0.15])
@pytest.mark.parametrize(
    ("scheme", "folds"), [("anchored", 4), ("rolling", 3), ("single", 2), ("cpcv", 2)]
)
def test_plan_is_what_the_splits_make_of_samples_without_gaps(
    bars: int, embargo_bars: int, holdout_fraction: float, scheme: str, folds: int
) -> None:
    spec = spec_of(
        scheme=scheme, folds=folds, embargo_bars=embargo_bars, holdout_fraction=holdout_fraction
    )
    assert planned(spec, bars) == planned_from_samples(spec, bars)


@pytest.mark.parametrize("scheme", ["anchored", "cpcv"])
@pytest.mark.parametrize("bars", [100, 2_000, 9_000])
def test_plan_and_splits_refuse_the_same_histories(bars: int, scheme: str) -> None:
    spec = spec_of(scheme=scheme, folds=4, embargo_bars=288)
    with pytest.raises(NotEnoughHistory):
        planned_from_samples(spec, bars)
    with pytest.raises(NotEnoughHistory) as refusal:
        planned(spec, bars)
    assert (refusal.value.found, refusal.value.needed) == (
        bars,
        least_bars(spec, 5, first_open=FIRST_OPEN),
    )


def test_too_few_bars_are_told_in_days_with_the_levers_that_help() -> None:
    needed = least_bars(spec_of(), 5, first_open=FIRST_OPEN)
    assert needed is not None
    with pytest.raises(NotEnoughHistory) as refusal:
        planned(spec_of(), 2_880)
    said = str(refusal.value)
    assert "2880 usable bars (10.0 days)" in said
    assert f"at least {needed} ({needed / 288:.1f} days)" in said
    assert "a shorter timeframe" in said and "fewer timescales" in said


def test_a_plan_counts_windows_without_a_label_at_the_beginning() -> None:
    spec = spec_of(scheme="cpcv", embargo_bars=12)
    short = spec.features.model_copy(update={"feature_set": ("body",), "scales": (1,)})
    spec = spec.model_copy(update={"features": short})
    assert planned(spec, 9_000) == planned_from_samples(spec, 9_000)


def test_plan_of_a_million_bars_takes_no_time_in_a_request() -> None:
    spec = spec_of(folds=20, embargo_bars=10_000)
    before = time.process_time()
    assert len(planned(spec, 1_000_000)) == 20
    with pytest.raises(NotEnoughHistory):
        planned(spec, 20_000)
    assert time.process_time() - before < 0.2
