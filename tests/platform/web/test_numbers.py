from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from web.templatetags.numbers import (
    age,
    bound,
    day,
    deviation,
    difference,
    direction,
    instant,
    number,
    number_text,
    shown,
    status,
    verdict,
)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.01239, "signed", "+1.24\u00a0%"),
        (-0.01239, "signed", "−1.24\u00a0%"),
        (0.0, "signed", "0.00\u00a0%"),
        (0.01239, "points", "+1.24\u00a0pp"),
        (-0.01239, "points", "−1.24\u00a0pp"),
        (-1e-6, "points", "0.00\u00a0pp"),
        (-0.1234, "drawdown", "−12.3\u00a0%"),
        (157232, "count", "157\u2009232"),
        (1.236, "ratio", "1.24"),
        (-0.001, "ratio", "0.00"),
        (67123.4567, "price", "67\u2009123.5"),
        (0.00012345678, "price", "0.000123457"),
        (0.5, "plain", "0.5000"),
        (0.0000714, "rough", "0.000071"),
        (2.345, "rough", "2.3"),
        (0.0125, "score", "0.013"),
        (2427.37, "times", "2\u2009427.4\u00a0×"),
        (-0.00049, "fine_score", "−0.0005"),
        (3 * 2**20, "bytes", "3.0\u00a0MiB"),
        (95, "seconds", "1\u00a0min 35\u00a0s"),
        (12.34, "bps", "12.3\u00a0bp"),
    ],
)
def test_each_kind_of_number_has_one_way_to_be_written(value, kind, text):
    assert number_text(value, kind) == text


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.01239, "points", "+1.24\u00a0pp"),
        (0.01239, "signed", "+1.24\u00a0pp"),
        (-0.1234, "drawdown", "−12.3\u00a0pp"),
        (0.5, "ratio", "+0.50"),
        (0.0, "percent", "0.00\u00a0pp"),
        (12.34, "bps", "+12.3\u00a0bp"),
    ],
)
def test_a_difference_of_shares_is_in_percentage_points_and_others_keep_their_unit(
    value, kind, text
):
    assert difference(value, kind) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0002, "−0.000"),
        (0.0002, "+0.000"),
        (0.0, "0.000"),
        (-0.013, "−0.013"),
        (0.013, "+0.013"),
    ],
)
def test_a_bound_that_rounds_to_zero_keeps_its_side(value, text):
    assert bound(value, "score") == text


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [(0.0111, "signed", "1.11\u00a0%"), (0.0111, "points", "1.11\u00a0pp"), (0.4, "ratio", "0.40")],
)
def test_a_deviation_has_no_sign(value, kind, text):
    assert deviation(value, kind) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "", "abc", True, [1]])
def test_what_is_no_number_is_a_dash(value):
    assert number_text(value, "signed") == "—"


def test_a_number_keeps_its_full_value_on_hover():
    assert 'title="0.012345678"' in number(0.012345678, "percent")


def test_zero_is_muted():
    assert "muted" in number(0.0, "signed")


def test_times_name_their_zone():
    assert "2024-03-24 12:40 UTC" in instant(datetime(2024, 3, 24, 12, 40, tzinfo=UTC))


def test_a_day_is_that_in_utc():
    east = timezone.get_fixed_timezone(120)
    assert "2024-03-23" in day(datetime(2024, 3, 24, 1, 0, tzinfo=east))
    assert "—" in day(None)


@pytest.mark.parametrize("write", [number, status, verdict])
def test_what_is_no_word_of_ours_is_written_as_text(write):
    assert "<script>" not in write("<script>")


def test_an_age_keeps_the_exact_time_on_hover():
    text = age(timezone.now() - timedelta(minutes=3, seconds=5))
    assert "3\u00a0min ago" in text
    assert 'title="' in text


def test_a_status_is_a_shape_and_a_word():
    assert "◔" in status("running")
    assert "running" in status("running")


def test_direction_is_never_colour_alone():
    assert "▲" in direction(0.1)
    assert "▼" in direction(-0.1)
    assert "■" in direction(None)


def test_settings_are_shown_in_words():
    assert shown(None) == "—"
    assert shown(True) == "on"
    assert shown((0, 1)) == "0, 1"
    assert shown(datetime(2024, 1, 3, tzinfo=UTC)) == "2024-01-03 00:00 UTC"
