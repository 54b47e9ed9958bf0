"""A headless Chromium, and pages that say what went wrong in them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from need import NEEDS, need, on_path
from processes import TIMEOUT_S

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser that tests share."""
    need("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = on_path(*NEEDS["chromium"].programs)
        patience = {"timeout": 1000 * TIMEOUT_S}
        started = playwright.chromium.launch(executable_path=program, args=FLAGS, **patience)
        yield started
        started.close()


@contextlib.contextmanager
def opened(browser: Any, path: Path, *, width: int, height: int) -> Iterator[Any]:
    """The page of the file with all its details shown; `faults` is what went wrong meanwhile."""
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    context.set_default_timeout(1000 * TIMEOUT_S)
    page = context.new_page()
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("dialog", lambda dialog: (page.faults.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: asked.url != path.as_uri() and page.faults.append(asked.url))
    page.goto(path.as_uri(), wait_until="load")
    page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
    page.wait_for_timeout(200)
    yield page
    context.close()


def outside(page: Any, *, but: str) -> list[str]:
    """The elements that reach beyond the screen, but what lies in such elements."""
    found: list[str] = page.evaluate(
        """but => [...document.querySelectorAll('body *')].filter(it => !it.closest(but)
           && (it.getBoundingClientRect().right > window.innerWidth + 1
               || it.getBoundingClientRect().left < -1)).map(it => it.outerHTML)""",
        but,
    )
    return found
