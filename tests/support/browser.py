"""Open pages in the system's Chromium without a screen, driven by Playwright."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

PHONE, DESK = 390, 1440  # widths of windows in pixels
TIMEOUT = 20_000  # milliseconds for any action, enough on a busy machine


@dataclass(kw_only=True)
class Watched:
    """A page and a record of what it did since it was opened.

    Attributes:
        page: Playwright's page.
        complaints: Errors and warnings on its console, and uncaught exceptions.
        requests: Every address that it requested.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, or skip the test if none is installed. While it runs, this thread has an event loop."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if executable is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, *, width: int = DESK, dark: bool = False) -> Iterator[Watched]:
    """Open a page in a context of its own."""
    scheme: Any = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(TIMEOUT)
    watched = Watched(page=context.new_page())
    watched.page.on(
        "console",
        lambda message: watched.complaints.append(message.text) if message.type in {"error", "warning"} else None,
    )
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    watched.page.goto(address)
    yield watched
    context.close()


def press(page: Page, what: Locator, *, by: str) -> None:
    """Press a button with the mouse, or focus it and press a key."""
    if by == "mouse":
        what.click()
    else:
        what.focus()
        page.keyboard.press(by)


def violations(page: Page) -> list[str]:
    """Return the violations of WCAG 2.1, levels A and AA, that axe-core finds in a page, and where."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    found = axe.Axe().run(page, options=rules).response["violations"]
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes'][:3]]}" for rule in found]


def overflow(page: Page) -> int:
    """Return the number of pixels by which a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
