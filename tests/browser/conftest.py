"""Chromium, and a running machine that all browser tests of a run share.

A test that takes `live_server` looks at the pages of this process instead, see `process.py`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from django.db import connection
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.machine import Machine, running_machine
from tests.browser.watching import Watch

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]

WAIT_MS = 30_000  # workers import their libraries at the first job, on few cores
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    with running_machine() as started:
        yield started


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Where the pages of this test are."""
    if "live_server" in request.fixturenames:
        return str(request.getfixturevalue("live_server").url)
    return str(request.getfixturevalue("machine").address)


@pytest.fixture
def context(
    request: pytest.FixtureRequest, chromium: Browser, address: str
) -> Iterator[BrowserContext]:
    """A new visitor."""
    context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()
    if "live_server" in request.fixturenames:
        let_requests_end()


def let_requests_end() -> None:
    """Wait, 10 s at most, for requests of a visitor who left: they hold tables that are emptied next."""
    query = """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND pid <> pg_backend_pid() AND state <> 'idle'"""
    quiet, until = 0, time.monotonic() + 10
    with connection.cursor() as cursor:
        while quiet < 2 and time.monotonic() < until:
            cursor.execute(query)
            quiet = quiet + 1 if cursor.fetchone() == (0,) else 0
            time.sleep(0.05)


@pytest.fixture
def watch(context: BrowserContext, address: str) -> Watch:
    return Watch(context, address)


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    """A watched page of a new visitor."""
    return context.new_page()
