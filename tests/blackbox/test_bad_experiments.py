"""Experiments that cannot be against a real server: by API, by form, and as JSON in the form."""

from __future__ import annotations

import pytest

from tests.blackbox.bad_experiments import compare
from tests.browser.machine import running_machine


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_experiment_that_cannot_be_is_refused_with_its_reason(monkeypatch):
    monkeypatch.setenv("OUTSAMPLE_LAUNCHES_PER_HOUR", "2")
    with running_machine() as machine:
        assert compare(machine.address, machine.add_token(), machine.sign_in_link()) == []
