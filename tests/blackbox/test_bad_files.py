"""The bad files of the import contract against a real server with its workers."""

from __future__ import annotations

import pytest

from tests.blackbox.bad_files import compare
from tests.browser.machine import running_machine


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_bad_file_gets_its_stated_answer():
    with running_machine() as machine:
        assert compare(machine.address, machine.add_token()) == []
