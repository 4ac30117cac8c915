"""Two members on the same bars: the bars they share, the mean over seeds, and what is shown."""

import numpy as np
import pytest

from modeling.evaluation.cases import Priors, Scoring
from modeling.evaluation.heads import judge_heads
from modeling.evaluation.paired import COMPARED, mean_prediction, paired_differences, shared_bars
from modeling.evaluation.table import PREDICTED
from tests.modeling.evaluation.test_heads import prediction_table

ROWS = 1200
BAR = 300_000_000_000
DRAWING = {"horizon_bars": 12, "draws": 200, "seed": 0}


def table(skill, seed, *, first=0):
    found = prediction_table(rows=ROWS, skill=skill, noise_seed=seed)
    found["confidence_raw"] = found["confidence"]
    return found | {"open_at": (first + np.arange(ROWS)) * BAR}


def test_only_bars_of_all_members_are_shared():
    opens = [table(1.0, 1, first=first)["open_at"] for first in (0, 3, 5)]
    assert shared_bars(opens).tolist() == [k * BAR for k in range(5, ROWS)]


def test_mean_prediction_is_the_mean_and_geometric_for_volatility():
    pair = [table(1.0, 1), table(1.0, 2)]
    mean = mean_prediction(pair)
    for name in PREDICTED:
        both = np.stack([one[name] for one in pair])
        expected = np.sqrt(both.prod(axis=0)) if name == "volatility" else both.mean(axis=0)
        np.testing.assert_allclose(mean[name], expected, rtol=1e-12)
    assert mean["realised_return"] is not None


def test_mean_of_one_seed_is_that_seed():
    one = table(1.0, 1)
    mean = mean_prediction([one])
    for name in PREDICTED:
        np.testing.assert_allclose(mean[name], one[name], rtol=1e-12)


def test_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        mean_prediction([])


def test_member_against_itself_differs_by_exactly_nothing():
    one = table(1.0, 1)
    for found in paired_differences(one, one, **DRAWING).values():
        assert (found.difference, found.interval) == (0.0, (0.0, 0.0))


def test_more_skill_is_positive_on_every_metric_also_where_small_scores_are_good():
    found = paired_differences(table(2.0, 1), table(0.2, 2), **DRAWING)
    assert tuple(found) == COMPARED
    for key, pair in found.items():
        assert pair.difference > 0, key
        assert pair.interval[0] > 0, key


def test_differences_agree_with_the_verdict_against_a_rung():
    ours, rung = table(1.0, 1), table(0.8, 2)
    scoring = Scoring(
        Priors(np.full(4, 0.25), np.full(3, 1 / 3), np.array([0.3])),
        cost_bps=10,
        horizon_bars=12,
        effective=100.0,
        draws=200,
    )
    verdicts = judge_heads(ours, {"rung": rung}, scoring)[1]
    found = paired_differences(ours, rung, **DRAWING)
    for head, metric in (("action", "rank_ic"), ("volatility", "r2"), ("risk", "ordinal_brier")):
        assert found[head, metric].difference == pytest.approx(verdicts[head]["difference"])
        assert found[head, metric].interval == pytest.approx(verdicts[head]["interval"])


def test_bars_of_one_member_alone_change_nothing():
    ours, theirs = table(1.0, 1), table(0.5, 2)
    longer = {name: np.concatenate([values, values[:50]]) for name, values in ours.items()}
    longer["open_at"] = np.arange(ROWS + 50) * BAR
    assert paired_differences(longer, theirs, **DRAWING) == paired_differences(
        ours, theirs, **DRAWING
    )


def test_too_few_shared_bars_are_no_comparison_but_a_reason():
    found = paired_differences(table(1.0, 1), table(1.0, 2, first=ROWS - 50), **DRAWING)
    for pair in found.values():
        assert (pair.difference, pair.interval, pair.rows) == (None, None, 50)
        assert pair.reason == "found 50 shared test samples; a comparison needs 200"


def pooled(*tables):
    """Rows of instruments one after the other, each over the same time."""
    names = [np.full(ROWS, name, dtype=object) for name in ("BTC", "ETH")]
    named = [{"instrument": name, **each} for name, each in zip(names, tables, strict=True)]
    return {column: np.concatenate([each[column] for each in named]) for column in named[0]}


def test_mean_prediction_of_several_instruments_is_that_of_each():
    one, two = (pooled(table(1.0, seed), table(0.5, seed + 10)) for seed in (1, 2))
    mean = mean_prediction([one, two])
    assert mean["instrument"].tolist() == ["BTC"] * ROWS + ["ETH"] * ROWS
    alone = mean_prediction([table(0.5, 11), table(0.5, 12)])
    np.testing.assert_array_equal(mean["action"][ROWS:], alone["action"])


def test_instruments_share_their_draws_of_time():
    """The same rows twice are no more certain than once."""
    ours, theirs = table(2.0, 1), table(0.2, 2)
    once = paired_differences(ours, theirs, **DRAWING)
    twice = paired_differences(pooled(ours, ours), pooled(theirs, theirs), **DRAWING)
    for key, found in twice.items():
        assert found.rows == 2 * once[key].rows
        assert found.difference == pytest.approx(once[key].difference, abs=2e-3)
        assert found.interval == pytest.approx(once[key].interval, abs=5e-3)
