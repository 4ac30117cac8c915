"""Purge and embargo on the chart of predictions shade the bars that the split left out, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from markets.candles.synthetic import synthetic_candles
from modeling.charting import cuts
from modeling.specs import EvaluationSpec
from modeling.windows.cpcv import path_splits
from modeling.windows.samples import Samples
from modeling.windows.splits import make_folds
from tests import factories

pytestmark = pytest.mark.django_db

GROUP, BAR_NS = 4, 300 * 10**9


@pytest.mark.parametrize("embargo", [0, 1, 288])
@pytest.mark.parametrize(("scheme", "number"), [("single", 1), ("cpcv", path_splits(1)[GROUP - 1])])
def test_shaded_bars_are_those_that_the_split_keeps_from_training(
    workspace, scheme, number, embargo
):
    candles = synthetic_candles(days=60, timeframe_minutes=5)
    run = factories.make_run(
        factories.make_experiment(workspace, factories.make_version(workspace, candles=candles))
    )
    evaluation = EvaluationSpec(scheme=scheme, embargo_bars=embargo)
    spec = run.experiment.model_spec
    run.experiment.model_spec = spec.model_copy(update={"evaluation": evaluation})
    samples, fold = cut_once(candles, evaluation, number, spec.target.regime_bars)
    run.folds.all().delete()
    run.folds.create(number=number, splits=fold.to_json())
    row = run.prediction_sets.get()
    row.run, row.path, row.folds = run, int(scheme == "cpcv"), [{"fold": number}]
    assert shaded_bars(row) == kept_bars(samples, fold, fold.blocks.get(GROUP, fold.test))


def cut_once(candles, evaluation, number, ahead):
    """A sample for each bar, and one fold of a scheme."""
    bar = np.arange(len(candles))
    samples = Samples(
        bar=bar,
        has_label=bar < len(candles) - ahead,
        known_at=candles.close_time,
        label_end_at=candles.close_time + ahead * candles.bar_ns,
        horizon_bars=1,
        regime_bars=ahead,
    )
    sealed = int(candles.close_time[int(0.85 * len(candles))])
    folds = make_folds(
        samples, evaluation, context_bars=64, bar_ns=candles.bar_ns, holdout_at=sealed
    )
    return samples, folds[number - 1]


def kept_bars(samples, fold, block):
    """The opens around a test block, up to the nearest bars that are trained on."""
    trained = np.concatenate([fold.fit, fold.validation, fold.calibration])
    before, behind = trained[trained < block[0]], trained[trained > block[-1]]
    kept = list(range(before.max() + 1, block[0])) if before.size else []
    kept += range(block[-1] + 1, behind.min()) if behind.size else []
    return set((samples.known_at[kept] - BAR_NS).tolist())


def shaded_bars(row):
    """The opens under the strips of purge and embargo."""
    return {opens for span in cuts(row) for opens in range(span.from_ns, span.to_ns, BAR_NS)}
