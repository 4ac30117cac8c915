import dataclasses
import json

import numpy as np
import pytest

from modeling.specs import EvaluationSpec
from modeling.windows.errors import IntervalsMeet, NotEnoughHistory
from modeling.windows.samples import Samples
from modeling.windows.splits import SLICES, audit_intervals, holdout_instant, make_folds

BAR = 300_000_000_000
BARS = 40_000
SPEC = EvaluationSpec()


def samples_of(bars=BARS, *, first=0, missing=()):
    bar = np.setdiff1d(np.arange(first, bars, dtype=np.int64), np.array(missing, dtype=np.int64))
    known_at = (bar + 1) * BAR
    return Samples(
        bar=bar,
        has_label=bar < bars - 48,
        known_at=known_at,
        label_end_at=known_at + 48 * BAR,
        horizon_bars=12,
        regime_bars=48,
    )


def folds_of(samples, spec=SPEC, *, holdout_at=34_000 * BAR, context_bars=64):
    return make_folds(samples, spec, context_bars=context_bars, bar_ns=BAR, holdout_at=holdout_at)


@pytest.mark.parametrize("scheme", ["anchored", "rolling", "single"])
@pytest.mark.parametrize("embargo", [0, 288])
def test_training_ends_its_labels_an_embargo_before_the_test_block(scheme, embargo):
    samples = samples_of()
    spec = EvaluationSpec(scheme=scheme, embargo_bars=embargo)
    for fold in folds_of(samples, spec):
        distance = samples.known_at[fold.predicted[0]] - samples.label_end_at[fold.calibration[-1]]
        assert distance == max(embargo, 1) * BAR


@pytest.mark.parametrize(("embargo", "distance"), [(10, 64), (288, 288)])
def test_slices_of_the_training_part_keep_the_embargo_and_the_context(embargo, distance):
    samples = samples_of()
    for fold in folds_of(samples, EvaluationSpec(embargo_bars=embargo)):
        for first, second in ((fold.fit, fold.validation), (fold.validation, fold.calibration)):
            found = samples.known_at[second[0]] - samples.label_end_at[first[-1]]
            assert found == distance * BAR


def test_test_blocks_are_equal_and_cover_the_last_half_once():
    samples = samples_of()
    folds = folds_of(samples)
    covered = np.concatenate([fold.predicted for fold in folds])
    np.testing.assert_array_equal(covered, np.arange(covered[0], 34_000))
    assert covered[0] == 17_000
    assert {len(fold.predicted) for fold in folds} <= {4249, 4250}


def test_an_anchored_training_part_grows_and_a_rolling_one_moves():
    samples = samples_of()
    anchored = folds_of(samples)
    rolling = folds_of(samples, EvaluationSpec(scheme="rolling"))
    assert [int(fold.fit[0]) for fold in anchored] == [0, 0, 0, 0]
    starts = [int(fold.fit[0]) for fold in rolling]
    assert starts == sorted(set(starts))
    spans = [int(fold.predicted[0] - fold.fit[0]) for fold in rolling]
    assert max(spans) - min(spans) <= 1


def test_a_single_cut_tests_the_last_thirty_percent():
    (fold,) = folds_of(samples_of(), EvaluationSpec(scheme="single"))
    assert fold.predicted[0] == pytest.approx(0.7 * 34_000, abs=2)
    assert fold.predicted[-1] == 33_999


def test_fit_validation_and_calibration_are_cut_at_80_and_90_percent_of_the_time():
    fold = folds_of(samples_of())[0]
    span = fold.calibration[-1] - fold.fit[0]
    assert fold.validation[0] == pytest.approx(0.8 * span, abs=2)
    assert fold.calibration[0] == pytest.approx(0.9 * span, abs=2)


def test_nothing_behind_the_holdout_is_used():
    samples = samples_of()
    for fold in folds_of(samples):
        for name in SLICES:
            assert samples.label_end_at[getattr(fold, name)].max() <= 34_000 * BAR
        assert samples.known_at[fold.predicted].max() <= 34_000 * BAR


def test_candles_behind_the_holdout_change_no_fold():
    shorter, longer = folds_of(samples_of(34_048)), folds_of(samples_of(50_000))
    assert [f.to_json() for f in shorter] == [f.to_json() for f in longer]


def test_open_bars_at_the_end_are_predicted_but_not_scored():
    samples = samples_of(34_000)
    last = folds_of(samples)[-1]
    assert len(last.predicted) - len(last.test) == 48
    assert last.predicted[-1] == 33_999


def test_purged_and_embargoed_samples_are_counted():
    fold = folds_of(samples_of(), EvaluationSpec(scheme="single", embargo_bars=100))[0]
    # Two cuts inside the training part and one before the test block; labels are 48 bars long.
    assert fold.purged == 3 * 48
    assert fold.embargoed == 3 * 99


def test_a_gap_is_time_not_rows():
    samples = samples_of(missing=range(16_500, 17_000))
    fold = folds_of(samples)[0]
    assert samples.bar[fold.calibration[-1]] == 16_499
    assert samples.bar[fold.predicted[0]] == 17_000


def test_a_fold_tells_its_dates_counts_and_effective_samples():
    fold = folds_of(samples_of())[0].to_json()
    assert json.loads(json.dumps(fold)) == fold
    fit = fold["slices"]["fit"]
    assert fit["from_at"] == "1970-01-01T00:05:00Z"
    assert fit["effective_samples"] == pytest.approx(fit["samples"] / 12, rel=0.01)


def test_small_slices_are_refused_with_counts():
    with pytest.raises(NotEnoughHistory, match=r"Fold 1 has .* expected at least 200") as caught:
        folds_of(samples_of(9000), holdout_at=4000 * BAR)
    assert caught.value.needed == 200 and caught.value.found < 200
    with pytest.raises(NotEnoughHistory, match="No sample"):
        folds_of(samples_of(first=5000), holdout_at=4000 * BAR)


def test_the_audit_passes_what_the_split_makes():
    samples = samples_of()
    audit_intervals(folds_of(samples), samples, 34_000 * BAR)


def test_the_audit_finds_a_random_split():
    samples = samples_of()
    fold = folds_of(samples)[0]
    mixed = np.random.default_rng(0).permutation(np.r_[fold.fit, fold.test])
    leaky = dataclasses.replace(fold, fit=mixed[:10_000], predicted=mixed[10_000:])
    with pytest.raises(IntervalsMeet, match="fit samples share time with predicted"):
        audit_intervals([leaky], samples, 34_000 * BAR)


def test_the_audit_finds_one_label_that_touches_the_next_slice():
    samples = samples_of()
    fold = folds_of(samples)[0]
    touching = int(fold.validation[0]) - 48
    barely = dataclasses.replace(fold, fit=np.r_[fold.fit, touching])
    with pytest.raises(IntervalsMeet, match="Fold 1: 1 fit samples"):
        audit_intervals([barely], samples, 34_000 * BAR)
    clear = dataclasses.replace(fold, fit=np.r_[fold.fit, touching - 1])
    audit_intervals([clear], samples, 34_000 * BAR)


def test_the_audit_finds_a_long_label_between_short_ones():
    samples = samples_of()
    fold = folds_of(samples)[0]
    samples.label_end_at[fold.validation[10]] = samples.known_at[fold.predicted[5]]
    with pytest.raises(IntervalsMeet, match="validation samples share time with calibration"):
        audit_intervals([fold], samples, 34_000 * BAR)


def test_the_audit_looks_at_each_label_of_the_other_slice():
    samples = samples_of()
    fold = folds_of(samples)[0]
    # The first of two predicted labels is long, the second ends before the fit sample begins.
    samples.label_end_at[fold.predicted[0]] = samples.known_at[fold.predicted[100]] + 1
    late = dataclasses.replace(fold, fit=fold.predicted[100:101], predicted=fold.predicted[:2])
    with pytest.raises(IntervalsMeet, match="1 fit samples share time with predicted"):
        audit_intervals([late], samples, 34_000 * BAR)


def test_the_audit_finds_samples_behind_the_holdout():
    samples = samples_of()
    with pytest.raises(IntervalsMeet, match="hold-out"):
        audit_intervals(folds_of(samples), samples, 33_999 * BAR)


def test_the_holdout_is_the_last_share_of_the_calendar_on_the_bar_grid():
    assert holdout_instant(0, 1000 * BAR, 0.15, bar_ns=BAR) == 850 * BAR
    assert holdout_instant(0, 1001 * BAR, 0.15, bar_ns=BAR) == 850 * BAR
    assert holdout_instant(0, 1000 * BAR, 0.0, bar_ns=BAR) == 1000 * BAR
