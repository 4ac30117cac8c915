from __future__ import annotations

import pytest
from django.db import OperationalError

from jobs import cleaning
from jobs.cleaning import clean, register_cleaner
from jobs.reconciler import reconcile


@pytest.fixture(autouse=True)
def alone(settings, tmp_path, monkeypatch):
    """No scratch, and no cleaners of other apps."""
    settings.STATE = tmp_path
    monkeypatch.setattr(cleaning, "_cleaners", [])


def test_the_reconciler_runs_what_an_app_has_registered_once(db):
    calls: list[int] = []
    count = _counting(calls)
    register_cleaner(count)
    register_cleaner(count)

    assert reconcile().deleted_files == 3
    assert calls == [1]


def _counting(calls):
    def count():
        calls.append(1)
        return 3

    return count


def test_a_round_without_cleaning_deletes_nothing(db):
    calls: list[int] = []
    register_cleaner(_counting(calls))

    assert reconcile(cleaning=False).deleted_files == 0
    assert calls == []


def test_a_cleaner_that_breaks_does_not_keep_the_others(db, caplog):
    def broken():
        raise PermissionError("not ours")

    register_cleaner(broken)
    register_cleaner(lambda: 2)

    assert clean() == 2
    assert "not ours" in caplog.text


def test_a_database_that_is_away_ends_the_cleaning(db):
    def away():
        raise OperationalError("away")

    register_cleaner(away)
    with pytest.raises(OperationalError):
        clean()
