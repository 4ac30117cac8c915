"""A mean over seeds has the paths of its runs: the same bars, from the same splits, worth as much."""

from __future__ import annotations

import numpy as np
import pytest

from modeling.evaluation.paired import mean_prediction
from modeling.evaluation.paths import join_paths
from modeling.evaluation.seeds import path_of_pieces, piece_of_path
from modeling.evaluation.table import INSTRUMENT, PREDICTED
from tests.modeling.windows.test_cpcv import BAR as BAR_NS
from tests.modeling.windows.test_cpcv import folds_of, gapped_samples


@pytest.fixture(scope="module")
def samples():
    return gapped_samples()


def tables_of(folds, samples, seed, instrument=""):
    """Tables of two rungs a fold; what comes true is known where a sample has its label."""
    rng = np.random.default_rng(seed)
    parts = []
    for fold in folds:
        rows = fold.predicted
        known = np.isin(rows, fold.test)
        base = {
            "open_at": samples.known_at[rows] - BAR_NS,
            "fold": np.full(rows.size, fold.number),
            "realised_return": np.where(known, 0.01, np.nan),
            "realised_volatility": np.where(known, 0.01, np.nan),
            "realised_regime": np.where(known, 1, -1),
            "realised_risk": np.where(known, 1, -1),
        }
        if instrument:
            base = {INSTRUMENT: np.full(rows.size, instrument, dtype=object), **base}
        parts.append(
            {
                rung: base | {name: rng.uniform(0.1, 0.9, rows.size) for name in PREDICTED}
                for rung in ("model", "logistic")
            }
        )
    return parts


def mean_paths(by_seed, own, horizon_bars):
    found = []
    for path in own:
        bars = path.tables["model"]
        pieces = {}
        for parts in zip(*by_seed, strict=True):
            mean = {rung: mean_prediction([part[rung] for part in parts]) for rung in parts[0]}
            number = int(parts[0]["model"]["fold"][0])
            if number in path.splits:
                pieces[number] = piece_of_path(mean, bars, fold=number)
        found.append(path_of_pieces(path.number, pieces, horizon_bars=horizon_bars, bar_ns=BAR_NS))
    return found


@pytest.mark.parametrize("scheme", ["cpcv", "anchored"])
def test_the_mean_of_seeds_is_the_mean_of_their_paths(samples, scheme):
    folds = folds_of(samples, scheme=scheme)
    by_seed = [tables_of(folds, samples, seed) for seed in (1, 2, 3)]
    own = [join_paths(parts, folds, samples) for parts in by_seed]
    found = mean_paths(by_seed, own[0], samples.horizon_bars)
    assert len(found) == len(own[0]) == (7 if scheme == "cpcv" else 1)
    for place, path in enumerate(found):
        alike = [paths[place] for paths in own]
        assert (path.number, path.splits) == (alike[0].number, alike[0].splits)
        assert path.effective == pytest.approx(alike[0].effective, rel=1e-12)
        for rung in ("model", "logistic"):
            by_hand = mean_prediction([one.tables[rung] for one in alike])
            assert by_hand.keys() == path.tables[rung].keys()
            for name, values in by_hand.items():
                np.testing.assert_array_equal(path.tables[rung][name], values)


def test_rows_of_several_instruments_stand_one_after_the_other(samples):
    folds = folds_of(samples, scheme="cpcv")
    parts = [
        {
            rung: {
                name: np.concatenate([first[rung][name], second[rung][name]])
                for name in first[rung]
            }
            for rung in first
        }
        for first, second in zip(
            tables_of(folds, samples, 1, "BTC"), tables_of(folds, samples, 2, "ETH"), strict=True
        )
    ]
    own = join_paths(tables_of(folds, samples, 1), folds, samples)[3]
    bars = {
        INSTRUMENT: np.repeat(["BTC", "ETH"], len(own.tables["model"]["fold"])).astype(object),
        **{name: np.tile(own.tables["model"][name], 2) for name in ("open_at", "fold")},
    }
    pieces = {number: piece_of_path(parts[number - 1], bars, fold=number) for number in own.splits}
    path = path_of_pieces(4, pieces, horizon_bars=samples.horizon_bars, bar_ns=BAR_NS)
    for name, values in bars.items():
        np.testing.assert_array_equal(path.tables["model"][name], values)
    assert path.effective_of == pytest.approx(dict.fromkeys(("BTC", "ETH"), own.effective))
    assert path.effective == pytest.approx(own.effective)


def test_a_fold_that_lacks_a_bar_of_its_path_is_refused(samples):
    folds = folds_of(samples, scheme="anchored")
    parts = tables_of(folds, samples, 1)
    (own,) = join_paths(parts, folds, samples)
    shorter = {rung: {name: v[5:] for name, v in t.items()} for rung, t in parts[0].items()}
    with pytest.raises(ValueError, match="fold 1 does not predict every bar"):
        piece_of_path(shorter, own.tables["model"], fold=1)
