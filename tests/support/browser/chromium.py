"""Starts Debian's Chromium and looks at pages with it: a screenshot and an accessibility check of each."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

ROOT = Path(__file__).parents[3]
CHROMIUM = Path("/usr/bin/chromium")
AXE = ROOT / ".cache" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = ROOT / ".cache" / "screenshots"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
REQUIRE_VARIABLE = "SONOBRIDGE_REQUIRE_BROWSER"
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1440, "height": 900}
TOLERATED = ("minor", "moderate")
WAIT_MS = 15_000

Scheme = Literal["light", "dark"]


def missing_parts() -> list[str]:
    """What the browser tests need and this machine does not have."""
    return [str(path) for path in (CHROMIUM, AXE) if not path.exists()]


def need_browser() -> None:
    """Fail the test where something is missing: it is only run there when it is required."""
    if missing_parts():
        pytest.fail(f"the browser tests are required, and these are missing: {', '.join(missing_parts())}")


def skip_without_browser(items: list[pytest.Item]) -> None:
    """Mark the browser tests skipped where they can't run, unless they are required. One line a file in the report."""
    if not missing_parts() or os.environ.get(REQUIRE_VARIABLE) == "1":
        return
    reason = "no Chromium with axe-core here; tests/support/browser/install brings both"
    for item in items:
        if item.get_closest_marker("browser") is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@asynccontextmanager
async def open_chromium() -> AsyncIterator[Browser]:
    """The browser, until the body ends."""
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


async def context(
    browser: Browser, url: str, *, phone: bool = False, scheme: Scheme = "light", script: bool = True
) -> BrowserContext:
    """Another person's browser: own cookies, own window."""
    made = await browser.new_context(
        base_url=url,
        viewport=PHONE if phone else DESK,  # type: ignore[arg-type] # a dict of two numbers
        color_scheme=scheme,
        java_script_enabled=script,
        reduced_motion="reduce",
    )
    made.set_default_timeout(WAIT_MS)
    return made


async def judge(page: Page) -> list[str]:
    """What axe-core finds serious or critical on the page, one line each. Needs a page with scripts enabled."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = await page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{item['id']} ({item['impact']}): {item['help']} at {[node['target'] for node in item['nodes']]}"
        for item in found["violations"]
        if item["impact"] not in TOLERATED
    ]


async def scrolls_sideways(page: Page) -> bool:
    """Whether the page is wider than the window."""
    wide: bool = await page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth")
    return wide


async def sticks_out(page: Page) -> list[str]:
    """What is drawn beyond the right edge of the card that it belongs to, outside boxes that scroll by themselves."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll('.card *')]
            .filter(one => one.checkVisibility() && !one.closest('.unseen, thead'))
            .filter(one => !(one.closest('.table') && getComputedStyle(one.closest('.table')).overflowX === 'auto'))
            .filter(one => one.getBoundingClientRect().right > one.closest('.card').getBoundingClientRect().right)
            .map(one => one.outerHTML.slice(0, 120))"""
    )
    return found


async def picture(page: Page, name: str) -> None:
    """A screenshot of the whole page, for people to look at; the folder is not committed."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


async def look(page: Page, name: str) -> None:
    """Picture and judge the page as a phone and a desk show it, in both schemes."""
    before = page.viewport_size
    for size_name, size in (("360", PHONE), ("1440", DESK)):
        await page.set_viewport_size(size)  # type: ignore[arg-type] # a dict of two numbers
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await picture(page, f"{name}-{size_name}-{scheme}")
            problems = await judge(page)
            assert problems == [], f"{name} at {size_name} px, {scheme}: {problems}"
            assert not await scrolls_sideways(page), f"{name} scrolls sideways at {size_name} px"
            assert await sticks_out(page) == [], f"{name} at {size_name} px"
    await page.emulate_media(color_scheme="light")
    if before is not None:
        await page.set_viewport_size(before)
