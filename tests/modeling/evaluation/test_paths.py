"""Paths from the tables of splits: every bar once, from the split whose turn it is."""

from __future__ import annotations

import numpy as np
import pytest

from modeling.evaluation.effective import effective_samples
from modeling.evaluation.paths import join_paths, value_of
from modeling.windows.cpcv import PATHS, path_splits
from tests.modeling.windows.test_cpcv import folds_of, gapped_samples


@pytest.fixture(scope="module")
def samples():
    return gapped_samples()


def tables_of(folds, samples):
    """A table a fold with its number in every row."""
    return [
        {
            "model": {
                "open_at": samples.known_at[fold.predicted],
                "fold": np.full(fold.predicted.size, fold.number),
            }
        }
        for fold in folds
    ]


def test_seven_paths_hold_every_bar_once_from_the_split_whose_turn_it_is(samples):
    folds = folds_of(samples)
    paths = join_paths(tables_of(folds, samples), folds, samples)
    assert [path.number for path in paths] == list(range(1, PATHS + 1))
    assert [path.title for path in paths][:2] == ["path 1", "path 2"]
    everything = np.unique(np.concatenate([fold.predicted for fold in folds]))
    for path in paths:
        table = path.tables["model"]
        np.testing.assert_array_equal(table["open_at"], samples.known_at[everything])
        for group, number in enumerate(path_splits(path.number), start=1):
            at = np.isin(everything, folds[number - 1].blocks[group])
            assert set(table["fold"][at].tolist()) == {number}
        assert path.splits == tuple(sorted(set(path_splits(path.number))))


def test_a_path_is_worth_its_labelled_bars_and_no_more(samples):
    folds = folds_of(samples)
    first = join_paths(tables_of(folds, samples), folds, samples)[0]
    labelled = np.unique(np.concatenate([fold.test for fold in folds]))
    bars = samples.bar[labelled]
    assert first.effective == effective_samples(bars + 1, bars + samples.horizon_bars)


def test_another_scheme_has_one_path_of_all_test_blocks(samples):
    folds = folds_of(samples, scheme="anchored")
    (path,) = join_paths(tables_of(folds, samples), folds, samples)
    assert (path.number, path.title, path.splits) == (0, "all folds", (1, 2, 3, 4))
    assert np.all(np.diff(path.tables["model"]["open_at"]) > 0)
    assert path.effective == sum(fold.effective["test"] for fold in folds)


def test_a_score_that_is_undefined_or_absent_has_no_value():
    scores = {"action": {"auc": {"value": None}, "accuracy": {"value": 0.5}}}
    assert value_of(scores, "action", "auc") is None
    assert value_of(scores, "risk", "ordinal_brier") is None
    assert value_of(scores, "action", "accuracy") == 0.5
