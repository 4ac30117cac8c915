"""Four planted leaks on random walks: each fakes skill, and each is seen. The clean pipeline has none.

Boosted trees on walks of 5000 bars, the next 12 bars' direction, the last fifth as the test block.
The alarm for noise looks at the score; the audit of intervals and the certificate look at the cause.
About 500 effective samples stand behind a score on six walks: a standard error of .022.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from markets.candles.frame import Candles
from markets.features.certificate import certify_features
from markets.features.compute import compute_features
from markets.features.table import FeatureTable
from modeling.evaluation.alarm import BlockScore, LeakAlarm, leak_alarm
from modeling.evaluation.effective import effective_samples
from modeling.specs import EvaluationSpec
from modeling.windows.errors import IntervalsMeet
from modeling.windows.samples import Samples, eligible_samples
from modeling.windows.splits import Fold, audit_intervals, make_folds

WALKS, BARS, HORIZON, CONTEXT = 6, 5000, 12, 24
BAR_NS = 300 * 10**9
MONDAY_NS = 4 * 86_400 * 10**9
NAMES = ("bb_pctb_20", "clv", "rv_12", "ret_1", "ret_3", "ret_12", "ret_48", "efficiency_48")
COARSE = 12
LOOK_BACK = 12

Compute = Callable[..., FeatureTable]


@cache
def random_walk(seed: int) -> Candles:
    generator = np.random.default_rng(seed)
    steps = 0.001 * generator.standard_normal(BARS)
    close = 100.0 * np.exp(np.cumsum(steps))
    open_ = np.r_[100.0, close[:-1]]
    reach = 0.0005 * np.abs(generator.standard_normal((2, BARS)))
    return Candles(
        5,
        MONDAY_NS + np.arange(BARS, dtype=np.int64) * BAR_NS,
        open_,
        np.maximum(open_, close) * np.exp(reach[0]),
        np.minimum(open_, close) * np.exp(-reach[1]),
        close,
        np.exp(generator.standard_normal(BARS)),
    )


def samples_of(candles: Candles, table: FeatureTable) -> Samples:
    return eligible_samples(
        candles, table, context_bars=CONTEXT, horizon_bars=HORIZON, regime_bars=HORIZON
    )


def last_fifth(samples: Samples) -> Fold:
    """A fold of the product, its test block narrowed to the last fifth and its training part whole."""
    spec = EvaluationSpec(scheme="single", embargo_bars=0, holdout_fraction=0.0)
    fold = make_folds(
        samples,
        spec,
        context_bars=CONTEXT,
        bar_ns=BAR_NS,
        holdout_at=int(samples.label_end_at.max()),
    )[0]
    begins = len(samples) * 4 // 5
    labelled = np.flatnonzero(samples.has_label)
    return dataclasses.replace(
        fold,
        fit=labelled[labelled < begins - HORIZON],
        validation=fold.validation[:0],
        calibration=fold.calibration[:0],
        test=labelled[labelled >= begins],
        predicted=np.arange(begins, len(samples)),
    )


def shuffled(samples: Samples, fold: Fold, seed: int) -> Fold:
    """The leak of a random split: as many test samples, drawn from all of time."""
    mixed = np.random.default_rng(seed).permutation(np.flatnonzero(samples.has_label))
    cut = len(mixed) * 4 // 5
    return dataclasses.replace(fold, fit=mixed[:cut], test=mixed[cut:], predicted=mixed[cut:])


def seen_at(table: FeatureTable, bars: np.ndarray) -> np.ndarray:
    """All features of all scales that a decision at these base bars sees [n, F × scales]."""
    columns = [scale.values[:, scale.last_closed[bars]] for scale in table.scales.values()]
    return np.concatenate(columns).T.astype(np.float64)


def hits(candles: Candles, table: FeatureTable, samples: Samples, fold: Fold) -> np.ndarray:
    """Whether the trees foresaw the direction, for each test sample."""
    import lightgbm

    close = np.log(candles.close)
    ahead = np.minimum(np.arange(BARS) + HORIZON, BARS - 1)
    up = (close[ahead] > close).astype(int)
    x, bars = seen_at(table, samples.bar), samples.bar
    trees = lightgbm.LGBMClassifier(
        n_estimators=200, num_leaves=31, seed=0, deterministic=True, n_jobs=1, verbose=-1
    )
    trees.fit(x[fold.fit], up[bars[fold.fit]])
    return np.asarray(trees.predict(x[fold.test]) == up[bars[fold.test]])


def score(
    compute: Compute, *, random_split: bool = False, first: int = 0
) -> tuple[float, LeakAlarm]:
    """Accuracy over all walks from the seed `first` on, and what the alarm for noise says of it."""
    found, effective = [], 0.0
    for seed in range(first, first + WALKS):
        candles = random_walk(seed)
        table = compute(candles, NAMES, (1, COARSE))
        samples = samples_of(candles, table)
        fold = last_fifth(samples)
        fold = shuffled(samples, fold, seed) if random_split else fold
        found.append(hits(candles, table, samples, fold))
        bars = np.sort(samples.bar[fold.test])
        effective += effective_samples(bars + 1, bars + HORIZON)
    accuracy = float(np.concatenate(found).mean())
    block = BlockScore(accuracy=accuracy, auc=None, effective=effective)
    alarm = leak_alarm(
        {"all walks": block}, market="noise", timeframe_minutes=5, horizon_bars=HORIZON
    )
    return accuracy, alarm


def certificate(compute: Compute) -> dict[str, set[str]]:
    """Reasons of the certificate on one walk, by feature or by `map`."""
    candles = random_walk(0)
    names, scales = NAMES, (1, COARSE)
    report = certify_features(candles, compute(candles, names, scales), bars=5, compute=compute)
    entries = [entry for entry in report["features"] + report["maps"] if entry["reason"]]
    return {entry.get("feature", "map"): {entry["reason"]} for entry in entries}


def replaced(table: FeatureTable, name: str, values: np.ndarray) -> FeatureTable:
    changed = table.base.values.copy()
    row = changed[table.names.index(name)]
    known = np.isfinite(row)
    row[known] = values[known]
    base = dataclasses.replace(table.base, values=changed)
    return dataclasses.replace(table, scales=table.scales | {1: base})


def joined_at_the_open(candles, names, scales) -> FeatureTable:
    table = compute_features(candles, names, scales)
    coarse = table.scales[COARSE]
    known = np.searchsorted(coarse.open_time, candles.time, side="right") - 1
    early = dataclasses.replace(coarse, last_closed=known.astype(np.int32))
    return dataclasses.replace(table, scales=table.scales | {COARSE: early})


def centred_mean(candles, names, scales) -> FeatureTable:
    table = compute_features(candles, names, scales)
    log = np.log(candles.close)
    mean = np.convolve(np.pad(log, 10, mode="edge"), np.ones(21) / 21, "valid")
    return replaced(table, "bb_pctb_20", 1000 * (log - mean))


def scaled_with_the_horizon(candles, names, scales) -> FeatureTable:
    """z-score whose window reaches over the horizon."""
    table = compute_features(candles, names, scales)
    log = np.pad(np.log(candles.close), (LOOK_BACK, HORIZON), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(log, LOOK_BACK + HORIZON + 1)
    z = (np.log(candles.close) - windows.mean(axis=1)) / np.maximum(windows.std(axis=1), 1e-9)
    return replaced(table, "ret_48", z)


def next_return(candles, names, scales) -> FeatureTable:
    """A feature equal to the return over the horizon, from the next open on."""
    table = compute_features(candles, names, scales)
    entry = np.log(np.append(candles.open[1:], candles.close[-1]))
    left = np.log(np.append(candles.close[HORIZON:], np.full(HORIZON, candles.close[-1])))
    return replaced(table, "ret_1", left - entry)


@pytest.mark.slow
def test_the_clean_pipeline_finds_nothing_and_stays_green():
    accuracy, alarm = score(compute_features)
    assert 0.50 <= accuracy <= 0.53
    assert not alarm.raised
    assert certificate(compute_features) == {}


@pytest.mark.slow
def test_the_clean_pipeline_is_right_half_of_the_time_on_ten_draws_of_walks():
    found = [score(compute_features, first=first) for first in range(0, 10 * WALKS, WALKS)]
    assert not any(alarm.raised for _, alarm in found)
    assert np.mean([accuracy for accuracy, _ in found]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
def test_a_random_split_fakes_skill_and_the_audit_sees_it():
    accuracy, alarm = score(compute_features, random_split=True)
    assert accuracy > 0.75
    assert alarm.raised
    candles = random_walk(0)
    samples = samples_of(candles, compute_features(candles, NAMES, (1, COARSE)))
    leaky = shuffled(samples, last_fifth(samples), 0)
    with pytest.raises(IntervalsMeet, match="fit samples share time with predicted"):
        audit_intervals([leaky], samples, int(samples.label_end_at.max()))
    audit_intervals([last_fifth(samples)], samples, int(samples.label_end_at.max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leak", "about", "named", "reason"),
    [
        (joined_at_the_open, 0.67, "map", "a coarse bar is known before it closes"),
        (centred_mean, 0.76, "bb_pctb_20", "a past value changed"),
        (scaled_with_the_horizon, 0.84, "ret_48", "a past value changed"),
        (next_return, 1.0, "ret_1", "a past value changed"),
    ],
)
def test_a_leaking_value_fakes_skill_and_the_certificate_names_it(leak, about, named, reason):
    accuracy, alarm = score(leak)
    assert accuracy == pytest.approx(about, abs=0.05)
    assert alarm.raised
    found = certificate(leak)
    assert reason in found[named].pop()
