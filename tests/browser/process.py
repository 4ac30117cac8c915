"""Pages of this process, on prepared rows and without workers: `live_server` serves them to alice."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests import factories
from tests.browser.looks import RULES

HOSTILE = "<script>alert(1)</script> " + "x" * 174
SIZES = {"wide": (1280, 800), "narrow": (360, 740)}


def sign_in(page: Page, live_server) -> None:
    page.goto(f"{live_server.url}/login/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{live_server.url}/")


def watched(page: Page, live_server) -> list[str]:
    """Console messages, script errors and requests to other origins, as they come."""
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    ours = (live_server.url, "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(ours) else seen.append(asked.url))
    return seen


def faults_of(page: Page, width: int) -> list[str]:
    """What is wrong with the page as it stands."""
    faults = [
        f"{found['id']}: {found['nodes'][0]['html'][:120]}"
        for found in Axe().run(page, options={"runOnly": RULES}).response["violations"]
    ]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        faults.append("the page scrolls sideways")
    if page.locator("h1").count() != 1:
        faults.append("there is not exactly one h1")
    squeezed = page.locator("h1, h2, h3").evaluate_all(
        "nodes => nodes.filter(n => n.clientHeight > 3 * n.clientWidth).map(n => n.textContent)"
    )
    return faults + [f"squeezed to a column of letters: {text}" for text in squeezed]
