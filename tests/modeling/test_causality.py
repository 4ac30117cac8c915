"""What a stored certificate says as a whole, and how the page of a run shows it."""

from __future__ import annotations

import pytest

from modeling.causality import (
    certificate_table,
    certified_again,
    failed_parts,
    features_version,
    joined_certificate,
    joined_proof,
    state_of,
)
from tests.factories import certificate, make_experiment, make_run, make_user

FEATURE = {"feature": "rsi_14", "scale": 3, "verdict": "failed", "reason": "a past value changed"}


def without(part):
    """As a run left it whose last fold was never proved in this part."""
    whole = certificate(2)
    del whole["folds"][1][part]
    return whole


def failing(part):
    whole = certificate(2)
    whole["folds"][1][part] = "failed"
    return whole | {"passed": False}


@pytest.mark.parametrize(
    ("stored", "state"),
    [
        ({}, "not_run"),
        ({"passed": True, "bars_tested": 30}, "not_run"),
        ({"passed": False, "bars_tested": 30, "features": [FEATURE], "maps": []}, "failed"),
        (without("predictions"), "not_run"),
        (failing("selection"), "failed"),
        (failing("predictions"), "failed"),
        (certificate(2), "passed"),
    ],
)
def test_passed_means_every_part_of_every_fold(stored, state):
    assert state_of(stored) == state


def test_the_table_tells_what_was_never_run_from_what_passed():
    rows = certificate_table(without("predictions"))["folds"]
    assert [row["verdicts"][-1] for row in rows] == ["passed", "not_run"]


def test_at_most_ten_failed_features_are_named():
    stored = {"passed": False, "bars_tested": 3, "features": [FEATURE] * 13, "maps": []}
    table = certificate_table(stored)
    assert (len(table["failures"]), table["more_failures"]) == (10, 3)


def test_the_certificate_of_several_instruments_fails_with_any_of_them():
    passed = FEATURE | {"verdict": "passed", "reason": "", "bars_tested": 3}
    failed = FEATURE | {"bars_tested": 4}
    good = {"passed": True, "bars_tested": 3, "features": [passed], "maps": [passed]}
    bad = {"passed": False, "bars_tested": 4, "features": [failed], "maps": [passed]}
    joined = joined_certificate({"BTC": good, "ETH": bad})
    assert (joined["passed"], joined["bars_tested"]) == (False, 7)
    assert joined["features"] == [{"instrument": "ETH", **failed, "bars_tested": 7}]
    assert joined["maps"] == [passed | {"bars_tested": 6}]


def test_the_certificate_of_ten_instruments_is_as_short_as_that_of_one():
    entry = FEATURE | {"verdict": "passed", "reason": "", "bars_tested": 3}
    one = {"passed": True, "bars_tested": 3, "features": [entry] * 268, "maps": [entry] * 3}
    joined = joined_certificate({str(number): one for number in range(10)})
    assert len(joined["features"]) == 268 and len(joined["maps"]) == 3


def test_the_proof_of_several_instruments_names_the_one_that_failed_and_counts_all():
    good = {"passed": True, "bars_tested": 500, "changed": []}
    bad = {"passed": False, "bars_tested": 40, "changed": ["action"]}
    found = joined_proof({"BTC": good, "ETH": bad})
    assert (found["passed"], found["instrument"], found["bars_tested"]) == (False, "ETH", 540)
    assert found["instruments"] == {"BTC": "passed", "ETH": "failed"}


FOUND = {"passed": True, "bars_tested": 30, "code_version": "2", "certified_by": "0.2.0"}


def test_what_other_code_proved_stays_for_finished_folds_and_is_kept_readable_for_the_rest():
    before = certificate(2) | {"code_version": "1", "certified_by": "0.1.0"}
    found = certified_again(before, FOUND, finished={1})
    assert [entry["fold"] for entry in found["folds"]] == [1]
    assert (found["certified_by"], found["passed"], state_of(found)) == ("0.2.0", True, "passed")
    replaced = found["earlier"][0]
    assert (replaced["certified_by"], replaced["bars_tested"]) == ("0.1.0", 30)
    assert replaced["folds"] == before["folds"][1:]
    again = certified_again(found, FOUND | {"certified_by": "0.3.0"}, finished={1})
    assert [entry["certified_by"] for entry in again["earlier"]] == ["0.1.0", "0.2.0"]


def test_a_finished_fold_keeps_the_version_of_the_features_that_it_learned_from():
    before = certificate(2) | {"code_version": "1"}
    found = certified_again(before, FOUND, finished={1})
    assert (features_version(found, 1), features_version(found, 2)) == ("1", "2")
    assert (features_version(before, 1), features_version({}, 1)) == ("1", None)


def test_an_open_fold_that_failed_by_other_code_does_not_fail_the_running_code():
    found = certified_again(failing("selection"), FOUND, finished={1})
    assert found["passed"]
    assert failed_parts(found["earlier"][0]["folds"][0]) == ["selection"]
    assert not certified_again(failing("selection"), FOUND | {"passed": False}, ())["passed"]


@pytest.fixture
def shown(db, client):
    alice = make_user("alice")
    client.force_login(alice)
    run = make_run(make_experiment(alice.first_workspace()))

    def of(stored):
        run.causality = stored
        run.save(update_fields=["causality"])
        return client.get(f"/runs/{run.pk}/").content.decode()

    return of


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({}, "Not run in full."),
        (without("predictions"), "what is tested so far has passed"),
        (failing("predictions"), '<span class="down">failed</span>'),
        (certificate(2), "Passed: nothing that this run used or said"),
        (certificate(2) | {"certified_by": "0.2.0"}, "Proved by code 0.2.0."),
        (certificate(2) | {"certified_by": "0.2.0"}, "proved by code of an unknown version"),
        (
            {"passed": False, "features": [FEATURE], "maps": []},
            "rsi_14, timescale × 3: a past value",
        ),
        (
            {"passed": False, "features": [{"instrument": "ETH", **FEATURE}], "maps": []},
            "ETH, rsi_14, timescale",
        ),
    ],
)
def test_the_page_of_a_run_shows_the_state_of_its_certificate(shown, stored, said):
    assert said in shown(stored)
