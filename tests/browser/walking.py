"""What a person does on the pages, in one place for all browser tests."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.machine import Machine


def sign_in(page: Page, machine: Machine) -> None:
    page.goto("/")
    page.get_by_label("User name").fill(machine.username)
    page.get_by_label("Password").fill(machine.password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def send_file(page: Page, path: Path, **fields: str) -> None:
    """Choose a file on the upload page, fill in fields by their label, and ask for the preview."""
    page.goto("/datasets/new/")
    page.get_by_label("Candle file").set_input_files(path)
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Preview", exact=True).click()


def import_file(page: Page, path: Path, **fields: str) -> None:
    """Send a file, wait for its preview, and import it."""
    send_file(page, path, **fields)
    page.get_by_role("button", name="Import", exact=True).click()


def set_field(page: Page, path: str, value: str) -> None:
    """Fill in a field of the experiment form by its dotted path, opening what hides it."""
    field = page.locator(f'[data-field="{path}"]')
    field.evaluate(
        "node => { for (let up = node.closest('details'); up; up = up.parentElement.closest('details')) up.open = true }"
    )
    field.locator("input, textarea").fill(value)


def open_dataset(page: Page) -> None:
    """Follow the import that is shown to the dataset it makes."""
    page.locator("#live").get_by_role("link", name="Open ").click()
    expect(page.get_by_role("link", name="Use in experiment")).to_be_visible()
