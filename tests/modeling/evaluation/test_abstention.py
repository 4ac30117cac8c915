"""What the surer trades earn: by hand, against plain loops, and what is null."""

import json

import numpy as np
import pytest

from modeling.evaluation.abstention import COVERED_PERCENT, abstention, confidence_cuts
from tests.modeling.evaluation.test_heads import prediction_table, scoring
from tests.oracles import certainty as plain


def table(rows=1200, **columns):
    found = prediction_table(rows=rows)
    found["fold"] = np.where(np.arange(rows) < rows // 2, 1, 2)
    return found | columns


def group(found, name, key=None):
    return next(each for each in found["groups"] if (each["group"], each["key"]) == (name, key))


def test_cuts_are_the_confidences_that_the_wanted_share_of_rows_reaches():
    assert confidence_cuts(np.array([0.1, 0.9, 0.5, 0.3])) == [0.1, 0.3, 0.5, 0.9, 0.9]
    assert confidence_cuts(np.arange(30) / 30)[4] == 27 / 30


def test_equal_confidences_stay_on_one_side_of_a_cut():
    assert confidence_cuts(np.array([0.2, 0.4, 0.4, 0.4])) == [0.2, 0.4, 0.4, 0.4, 0.4]


def test_no_confidence_has_no_cut():
    with pytest.raises(ValueError, match="at least one"):
        confidence_cuts(np.zeros(0))


def by_hand():
    """400 rows: the surer half is right and earns 30 bp a trade, the other half loses 10."""
    gain = np.where(np.arange(400) % 2 == 0, 0.003, -0.001)
    return table(
        400,
        action=np.full(400, 0.5),
        confidence=np.where(np.arange(400) % 2 == 0, 0.6, 0.4),
        realised_return=gain,
        regime_0=np.where(np.arange(400) < 300, 1.0, 0.0),
        regime_1=np.where(np.arange(400) < 300, 0.0, 1.0),
        regime_2=np.zeros(400),
        regime_3=np.zeros(400),
    )


def test_the_surer_half_earns_its_own_return_less_the_cost():
    found = abstention(by_hand(), scoring(draws=0))
    every, _, half, *_ = group(found, "all")["rows"]
    assert (every["coverage"], every["accuracy"]["value"]) == (1.0, 0.5)
    assert every["net_bps"]["value"] == pytest.approx(0.5 * 30 - 0.5 * 10 - 10)
    assert (half["coverage"], half["accuracy"]["value"]) == (0.5, 1.0)
    assert half["net_bps"]["value"] == pytest.approx(30 - 10)


def test_a_short_side_earns_the_fall():
    falling = by_hand() | {"action": np.full(400, -0.5)}
    falling["realised_return"] = -falling["realised_return"]
    half = group(abstention(falling, scoring(draws=0)), "all")["rows"][2]
    assert half["net_bps"]["value"] == pytest.approx(20)


def test_groups_are_all_rows_each_fold_and_each_regime_the_model_named():
    found = abstention(by_hand(), scoring(draws=0))
    named = [(each["group"], each["key"], each["samples"]) for each in found["groups"]]
    folds = [("fold", 1, 200), ("fold", 2, 200)]
    regimes = [("regime", 0, 300), ("regime", 1, 100), ("regime", 2, 0), ("regime", 3, 0)]
    assert named == [("all", None, 400), *folds, *regimes]


def test_coverage_of_a_group_is_its_own_share_above_the_common_cut():
    lopsided = by_hand()
    lopsided["confidence"] = np.where(np.arange(400) < 200, 0.6, 0.4)
    found = abstention(lopsided, scoring(draws=0))
    assert [group(found, "fold", key)["rows"][2]["coverage"] for key in (1, 2)] == [1.0, 0.0]


def test_below_two_hundred_rows_a_value_is_none_with_the_count():
    found = abstention(by_hand(), scoring(draws=0))
    row = group(found, "fold", 1)["rows"][2]
    assert row["samples"] == 100
    assert row["accuracy"] == {
        "value": None,
        "reason": "found 100 test samples; a score needs 200",
    }
    assert group(found, "regime", 3)["rows"][0]["coverage"] is None


def test_bars_that_did_not_move_have_a_net_return_and_no_accuracy():
    still = by_hand() | {"realised_return": np.zeros(400)}
    row = group(abstention(still, scoring(draws=0)), "all")["rows"][0]
    assert row["accuracy"] == {"value": None, "reason": "no bar of them moved"}
    assert row["net_bps"]["value"] == -10


def test_every_group_agrees_with_plain_loops():
    given = table()
    given["confidence"] = np.round(given["confidence"], 2)  # ties
    given["realised_return"] = np.round(given["realised_return"], 2)  # and zeros
    given["realised_return"][5] = np.nan
    found = abstention(given, scoring(draws=0))
    known = np.isfinite(given["realised_return"])
    regime = np.array([given[f"regime_{k}"] for k in range(4)]).argmax(axis=0)
    member = {
        ("all", None): known,
        **{("fold", key): known & (given["fold"] == key) for key in (1, 2)},
        **{("regime", key): known & (regime == key) for key in range(4)},
    }
    confidence = given["confidence"][known].tolist()
    cuts = [plain.cut(confidence, percent) for percent in COVERED_PERCENT]
    assert [each["cut"] for each in found["cuts"]] == cuts
    for (name, key), inside in member.items():
        columns = [given[c][inside].tolist() for c in ("confidence", "action", "realised_return")]
        for row, least in zip(group(found, name, key)["rows"], cuts, strict=True):
            if row["accuracy"]["value"] is None:
                continue
            samples, accuracy, net = plain.above(*columns, 10.0, least)
            assert row["samples"] == samples
            assert row["coverage"] == samples / inside.sum()
            assert row["accuracy"]["value"] == pytest.approx(accuracy)
            assert row["net_bps"]["value"] == pytest.approx(net)


def test_only_all_rows_together_have_intervals_and_they_hold_the_value():
    found = abstention(table(), scoring())
    for row in group(found, "all")["rows"][:4]:
        for name in ("accuracy", "net_bps"):
            low, high = row[name]["interval"]
            assert low < row[name]["value"] < high
    assert all("interval" not in row["accuracy"] for row in group(found, "fold", 1)["rows"])


def test_an_equal_seed_gives_equal_json():
    first, second = (json.dumps(abstention(table(), scoring())) for _ in range(2))
    assert first == second


def test_no_known_outcome_gives_no_cut():
    unknown = table(300, realised_return=np.full(300, np.nan))
    assert abstention(unknown, scoring()) == {"cuts": [], "groups": []}
