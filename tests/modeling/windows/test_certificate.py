import dataclasses
import json

import numpy as np
import pytest

from markets.features.compute import compute_features
from markets.features.splice import splice_prices
from modeling.specs import ModelSpec
from modeling.windows import certificate
from modeling.windows.certificate import certify_fit
from modeling.windows.learned import learn_from_fit, prepare_fold
from modeling.windows.make import make_windows
from modeling.windows.targets import raw_targets
from tests.markets.features.market import quiet_market

SPEC = ModelSpec.parse(
    {
        "features": {
            "feature_set": ["rsi_14", "vwap_dev_12", "rv_48", "ret_1", "ret_12", "tod_sin"],
            "select_top": 3,
            "scales": [1, 3],
        },
        "windows": {"context_bars": 32},
        "evaluation": {"scheme": "single", "embargo_bars": 0, "holdout_fraction": 0},
    }
)


@pytest.fixture(scope="module")
def windows():
    candles = quiet_market(6000)
    table = compute_features(candles, SPEC.features.names(), SPEC.features.scales_for(5))
    return make_windows(candles, table, SPEC, holdout_at=int(candles.close_time[-1]))


@pytest.fixture(scope="module")
def combinatorial(windows):
    evaluation = SPEC.evaluation.model_copy(update={"scheme": "cpcv"})
    spec = SPEC.model_copy(update={"evaluation": evaluation})
    end = int(windows.only.candles.close_time[-1])
    return make_windows(windows.only.candles, windows.only.table, spec, holdout_at=end)


def certified(windows, learn=learn_from_fit, *, place=0):
    """The report on a fold whose fit slice was learned from with `learn`."""
    fold = prepare_fold(windows, windows.folds[place], SPEC)
    learned = learn(windows.parts, windows.raw, windows.bars(fold.fold.fit), SPEC)
    changed = dataclasses.replace(fold, learned=learned)
    return certify_fit(windows, changed, SPEC, learn=learn)


def verdicts(report):
    return {name: report[name] for name in ("selection", "scalers", "targets")}


def learning(part):
    """A mutant that learns one part from all samples instead of the fit slice."""

    def learn(parts, raw, fit_bars, spec):
        everything = np.arange(2500, len(raw.valid) - 48)
        honest = learn_from_fit(parts, raw, fit_bars, spec)
        seen = learn_from_fit(parts, raw, everything, spec, selection=honest.selection)
        if part == "selection":
            seen = learn_from_fit(parts, raw, everything, spec)
        return dataclasses.replace(honest, **{part: getattr(seen, part)})

    return learn


def test_what_is_learned_from_the_fit_slice_passes(windows):
    report = certified(windows)
    assert report["passed"]
    assert report["altered_after_bar"] == windows.bars(windows.folds[0].fit).max() + 48
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    ("part", "name"), [("selection", "selection"), ("scalers", "scalers"), ("scale", "targets")]
)
def test_what_is_learned_from_everything_is_caught_by_name(windows, part, name):
    report = certified(windows, learning(part))
    assert not report["passed"]
    assert [key for key, verdict in verdicts(report).items() if verdict == "failed"] == [name]


def within(part):
    """A mutant that learns one part from all bars between the first and the last of the fit slice."""

    def learn(parts, raw, fit_bars, spec):
        stretch = np.arange(fit_bars[0], fit_bars[-1] + 1)
        honest = learn_from_fit(parts, raw, fit_bars, spec)
        kept = None if part == "selection" else honest.selection
        seen = learn_from_fit(parts, raw, stretch, spec, selection=kept)
        return dataclasses.replace(honest, **{part: getattr(seen, part)})

    return learn


@pytest.mark.parametrize("place", [0, 1, 12])
def test_a_combinatorial_split_that_learns_around_its_blocks_passes(combinatorial, place):
    assert certified(combinatorial, place=place)["passed"]


@pytest.mark.parametrize(
    ("part", "name"), [("selection", "selection"), ("scalers", "scalers"), ("scale", "targets")]
)
def test_what_is_learned_from_a_test_block_within_the_fit_slice_is_caught(
    combinatorial, part, name
):
    report = certified(combinatorial, within(part), place=1)
    assert [key for key, verdict in verdicts(report).items() if verdict == "failed"] == [name]


def test_one_label_that_reads_too_far_is_caught_although_no_threshold_moves(windows, monkeypatch):
    honest = prepare_fold(windows, windows.folds[0], SPEC)
    last = int(windows.bars(honest.fold.fit).max())

    def targets(candles, spliced, **lengths):
        raw = raw_targets(candles, spliced, **lengths)
        raw.risk_range[last] = 100 + candles.close[last + 49]  # the highest class, whatever comes
        return raw

    raw = targets(
        windows.only.candles,
        splice_prices(windows.only.candles),
        horizon_bars=SPEC.windows.horizon_bars,
        regime_bars=SPEC.target.regime_bars,
        target=SPEC.target,
    )
    mutant = dataclasses.replace(windows, raw=raw)
    monkeypatch.setattr(certificate, "raw_targets", targets)
    report = certify_fit(mutant, prepare_fold(mutant, mutant.folds[0], SPEC), SPEC)
    assert verdicts(report) == {"selection": "passed", "scalers": "passed", "targets": "failed"}


def test_a_fold_that_selects_sees_its_features_on_every_scale_and_no_other(windows):
    fold = prepare_fold(windows, windows.folds[0], SPEC)
    names = fold.learned.selection.names
    assert len(names) == 3
    assert fold.learned.scalers.names == names
    assert {k: part.shape[1] for k, part in fold.scaled.items()} == {1: 3, 3: 3}
    expected = fold.learned.scalers.apply(windows.only.table.only(names))
    for k in (1, 3):
        np.testing.assert_array_equal(fold.scaled[k], expected[k])


def test_a_fold_that_goes_on_keeps_the_selection_it_began_with(windows):
    first = prepare_fold(windows, windows.folds[0], SPEC)
    other = dataclasses.replace(first.learned.selection, names=("rsi_14", "ret_1", "tod_sin"))
    again = prepare_fold(windows, windows.folds[0], SPEC, selection=other)
    assert again.learned.selection == other
    assert again.learned.scalers.names == other.names


def test_a_fold_that_keeps_all_features_scales_them_as_they_come(windows):
    spec = SPEC.model_copy(
        update={"features": SPEC.features.model_copy(update={"select_top": "none"})}
    )
    fold = prepare_fold(windows, windows.folds[0], spec)
    assert fold.learned.selection.names == windows.names
    assert fold.learned.selection.relevance == {}
