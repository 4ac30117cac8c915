"""Combinatorial splits: 28 of them, seven paths, and every rule of purge and embargo around two blocks."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest

from modeling.specs import EvaluationSpec
from modeling.windows.cpcv import GROUPS, NEWEST_SPLIT, PATHS, SPLITS, path_splits
from modeling.windows.errors import IntervalsMeet, NotEnoughHistory
from modeling.windows.samples import Samples
from modeling.windows.splits import audit_intervals, make_folds
from tests.oracles import splits as oracle

BAR = 300_000_000_000
LABEL, HORIZON, CONTEXT = 10, 4, 24
BARS, HOLDOUT = 7200, 6700
GAPS = ((1000, 1040), (2290, 2410), (5300, 5307))


def gapped_samples(gaps=GAPS, bars=BARS):
    """Windows and labels of candles with holes, made one by one; `bar` counts rows, time does not."""
    missing = {bar for first, stop in gaps for bar in range(first, stop)}
    there = [bar for bar in range(bars) if bar not in missing]
    row_of = {bar: row for row, bar in enumerate(there)}
    whole = [bar for bar in there if all(b in row_of for b in range(bar - CONTEXT + 1, bar + 1))]
    labelled = [all(b in row_of for b in range(bar + 1, bar + LABEL + 1)) for bar in whole]
    known_at = np.array([bar + 1 for bar in whole], dtype=np.int64) * BAR
    return Samples(
        bar=np.array([row_of[bar] for bar in whole], dtype=np.int64),
        has_label=np.array(labelled),
        known_at=known_at,
        label_end_at=known_at + LABEL * BAR,
        horizon_bars=HORIZON,
        regime_bars=LABEL,
    )


def folds_of(samples, *, embargo=20, scheme="cpcv", holdout=HOLDOUT):
    spec = EvaluationSpec(scheme=scheme, embargo_bars=embargo)
    return make_folds(samples, spec, context_bars=CONTEXT, bar_ns=BAR, holdout_at=holdout * BAR)


@pytest.fixture(scope="module")
def samples():
    return gapped_samples()


@pytest.fixture(scope="module")
def folds(samples):
    return folds_of(samples)


def test_every_pair_of_eight_groups_is_tested_once():
    assert list(SPLITS) == list(combinations(range(1, 9), 2))
    assert len(SPLITS) == 28 and PATHS == 7


def test_the_splits_join_into_seven_paths_that_use_every_test_block_once():
    used = Counter()
    for path in range(1, PATHS + 1):
        splits = path_splits(path)
        assert len(splits) == GROUPS
        for group, number in enumerate(splits, start=1):
            assert group in SPLITS[number - 1]
            used[number, group] += 1
    assert len(used) == 28 * 2 and set(used.values()) == {1}


def test_a_group_goes_to_the_paths_in_the_order_in_which_it_is_tested():
    assert path_splits(1) == (1, 1, 2, 3, 4, 5, 6, 7)
    assert path_splits(7) == (7, 13, 18, 22, 25, 27, 28, 28)
    with pytest.raises(IndexError):
        path_splits(8)


def test_every_bar_is_predicted_exactly_once_on_every_path(samples, folds):
    everything = np.flatnonzero(samples.known_at <= HOLDOUT * BAR)
    for path in range(1, PATHS + 1):
        blocks = [
            folds[number - 1].blocks[group]
            for group, number in enumerate(path_splits(path), start=1)
        ]
        np.testing.assert_array_equal(np.concatenate(blocks), everything)


def test_groups_are_equal_in_time():
    samples = gapped_samples(gaps=())
    sizes = {group: at.size for fold in folds_of(samples) for group, at in fold.blocks.items()}
    assert sorted(sizes) == list(range(1, 9))
    assert max(sizes.values()) - min(sizes.values()) <= 1


@pytest.mark.parametrize("embargo", [0, 1, 20, 60])
@pytest.mark.parametrize("scheme", ["anchored", "rolling", "single", "cpcv"])
def test_folds_are_those_of_the_plain_version(samples, scheme, embargo):
    found = folds_of(samples, scheme=scheme, embargo=embargo)
    plain = [
        oracle.Sample(number, int(known // BAR), int(end // BAR), bool(has_label))
        for number, (known, end, has_label) in enumerate(
            zip(samples.known_at, samples.label_end_at, samples.has_label, strict=True)
        )
    ]
    spans = spans_of(scheme, first=plain[0].known)
    assert len(found) == len(spans)
    for fold, (test_spans, train_span) in zip(found, spans, strict=True):
        expected, purged, embargoed = oracle.fold_of(
            plain, test_spans, train_span, embargo=embargo, context=CONTEXT, holdout=HOLDOUT
        )
        for name, numbers in expected.items():
            assert getattr(fold, name).tolist() == numbers, (fold.number, name)
        assert (fold.purged, fold.embargoed) == (purged, embargoed)


def spans_of(scheme, *, first):
    """Test and training spans of each fold, in bars."""
    span, before = HOLDOUT - first, first - 1
    if scheme == "cpcv":
        edges = [before, *(first + span * i // 8 for i in range(1, 8)), HOLDOUT]
        blocks = [(edges[i], edges[i + 1]) for i in range(8)]
        return [((blocks[a], blocks[b]), (before, HOLDOUT)) for a, b in combinations(range(8), 2)]
    if scheme == "single":
        cut = first + int(0.7 * span)
        return [(((cut, HOLDOUT),), (before, cut))]
    edges = [*(first + int(span * (0.5 + 0.125 * i)) for i in range(4)), HOLDOUT]
    starts = [max(before, e - int(0.5 * span)) if scheme == "rolling" else before for e in edges]
    return [(((edges[i], edges[i + 1]),), (starts[i], edges[i])) for i in range(4)]


def test_effective_samples_of_slices_with_holes_are_the_summed_uniqueness(samples, folds):
    for fold in folds[::9]:
        for name in ("fit", "test"):
            numbers = getattr(fold, name).tolist()
            expected = oracle.covered_share(numbers, samples.bar.tolist(), HORIZON)
            assert fold.effective[name] == pytest.approx(expected)


def test_training_on_both_sides_of_a_block_keeps_its_distance(samples, folds):
    split = folds[SPLITS.index((3, 6))]
    training = np.concatenate([split.fit, split.validation, split.calibration])
    for block in split.blocks.values():
        first, last = samples.known_at[block[0]], samples.label_end_at[block[-1]]
        before = training[samples.known_at[training] < first]
        behind = training[samples.known_at[training] > last]
        assert samples.label_end_at[before].max() == first - 20 * BAR
        assert samples.known_at[behind].min() == last + 20 * BAR


def test_the_fit_slice_is_80_percent_of_the_training_time_wherever_the_holes_are():
    samples = gapped_samples(gaps=())
    for fold in folds_of(samples, embargo=0):
        count = sum(getattr(fold, name).size for name in ("fit", "validation", "calibration"))
        assert fold.fit.size / count == pytest.approx(0.8, abs=0.02)


def test_a_split_tells_the_stretches_of_its_slices(folds):
    found = folds[SPLITS.index((3, 6))].to_json()
    assert json.loads(json.dumps(found)) == found
    slices = found["slices"]
    assert [part["group"] for part in slices["test"]["parts"]] == [3, 6]
    assert len(slices["fit"]["parts"]) == 3
    for name in slices:
        parts = slices[name]["parts"]
        assert sum(part["samples"] for part in parts) == slices[name]["samples"]
        assert parts[0]["from_at"] == slices[name]["from_at"]
        assert parts[-1]["to_at"] == slices[name]["to_at"]
        for part, following in pairwise(parts):
            assert part["to_at"] < following["from_at"] or name == "test"


def test_other_schemes_tell_no_stretches(samples):
    for fold in folds_of(samples, scheme="anchored"):
        assert fold.blocks == {} and fold.parts == {}
        assert "parts" not in fold.to_json()["slices"]["fit"]


def test_the_newest_split_learned_last_of_those_an_embargo_before_the_hold_out(samples, folds):
    ends = {
        fold.number: int(samples.label_end_at[fold.calibration].max())
        for fold in folds
        if samples.label_end_at[fold.calibration].max() <= (HOLDOUT - 20) * BAR
    }
    newest = folds[NEWEST_SPLIT - 1]
    assert sorted(newest.blocks) == [1, 8]
    assert ends[newest.number] == max(ends.values())
    earliest = {number: folds[number - 1].fit[0] for number in ends}
    assert max(earliest, key=lambda number: earliest[number]) == newest.number


def test_the_audit_passes_what_the_splits_make(samples, folds):
    audit_intervals(folds, samples, HOLDOUT * BAR)


@pytest.mark.parametrize("side", ["before", "behind"])
@pytest.mark.parametrize("group", [3, 6])
def test_the_audit_finds_one_label_planted_at_either_side_of_either_block(
    samples, folds, group, side
):
    split = folds[SPLITS.index((3, 6))]
    block = split.blocks[group]
    if side == "before":
        planted = np.flatnonzero(samples.label_end_at >= samples.known_at[block[0]])[0]
    else:
        planted = np.flatnonzero(samples.known_at <= samples.label_end_at[block[-1]])[-1]
    leaky = dataclasses.replace(split, fit=np.r_[split.fit, planted])
    with pytest.raises(IntervalsMeet, match="1 fit samples share time with predicted"):
        audit_intervals([leaky], samples, HOLDOUT * BAR)


def test_a_group_that_a_gap_has_eaten_is_refused_with_its_number():
    samples = gapped_samples(gaps=((1700, 2480),))
    with pytest.raises(NotEnoughHistory, match=r"Fold 2 has \d+ group 3 test samples"):
        folds_of(samples)
