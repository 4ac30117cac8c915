from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from markets.candles.frame import Candles
from markets.candles.quality import LIMITS, findings
from markets.candles.report import candle_quality
from markets.candles.synthetic import synthetic_candles


def report_of(candles, **changes):
    made = {
        "timeframe": "1h",
        "rows_read": len(candles),
        "rows_kept": len(candles),
        "dropped": [],
        **candle_quality(candles),
    }
    return made | changes


@pytest.fixture
def candles():
    return synthetic_candles(
        days=40, timeframe_minutes=60, end_at=datetime(2024, 2, 10, tzinfo=UTC)
    )


def codes(report):
    return [finding.code for finding in findings(report)]


def test_whole_candles_have_no_findings(candles):
    assert findings(report_of(candles)) == ()


def test_missing_bars_above_the_share_are_a_finding(candles):
    keep = np.ones(len(candles), dtype=bool)
    keep[100:120] = False  # 20 of 960 bars, 2.08 %
    names = ("time", "open", "high", "low", "close", "volume")
    holed = Candles(60, *(getattr(candles, name)[keep] for name in names))
    (finding,) = findings(report_of(holed))
    assert finding.code == "missing_share"
    assert finding.message == "Missing bars: found 2.08 %, expected at most 2.00 %."
    assert finding.found == pytest.approx(20 / 960)


@pytest.mark.parametrize(
    ("code", "within", "above"),
    [
        ("missing_share", {"missing_share": 0.02}, {"missing_share": 0.0201}),
        (
            "longest_gap",
            {"largest_gaps": [{"missing_bars": 72}]},
            {"largest_gaps": [{"missing_bars": 73}]},
        ),
        ("dropped_share", {"dropped": []}, {"dropped": [{"count": 1}]}),
        ("zero_volume_share", {"zero_volume_bars": 48}, {"zero_volume_bars": 49}),
        ("flat_share", {"flat_bars": 96}, {"flat_bars": 97}),
        ("flat_run", {"longest_flat_run": 96}, {"longest_flat_run": 97}),
        ("outlier_share", {"outlier_count": 4}, {"outlier_count": 5}),
        (
            "largest_move",
            {"outliers": [{"log_return": -0.69}]},
            {"outliers": [{"log_return": -0.70}]},
        ),
    ],
)
def test_a_measure_at_its_limit_is_within_and_one_above_is_a_finding(candles, code, within, above):
    assert codes(report_of(candles, **within)) == []
    assert codes(report_of(candles, **above)) == [code]


def test_every_limit_is_tried_above():
    tried = test_a_measure_at_its_limit_is_within_and_one_above_is_a_finding.pytestmark[0].args[1]
    assert {row[0] for row in tried} == {limit.code for limit in LIMITS}


def test_a_finding_is_plain_json(candles):
    (finding,) = findings(report_of(candles, longest_flat_run=1200))
    assert finding.to_json() == {
        "code": "flat_run",
        "message": "Longest flat run: found 1\u2009200 bars, expected at most 96 bars.",
        "found": 1200.0,
        "at_most": 96,
    }
