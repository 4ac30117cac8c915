"""A page in both themes, wide and narrow, judged by axe."""

from __future__ import annotations

from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
LOOKS: list[tuple[Literal["light", "dark"], int, int]] = [("light", 1280, 800), ("dark", 360, 740)]


def faults_in_every_look(page: Page) -> list[str]:
    """What is wrong with the page in both themes, wide and narrow."""
    faults = []
    for theme, width, height in LOOKS:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": height})
        found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
        faults += [f"{theme}: {item['id']}: {item['nodes'][0]['html'][:120]}" for item in found]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            faults.append(f"{theme}: the page scrolls sideways")
    page.set_viewport_size({"width": 1280, "height": 800})
    return faults
