"""The page in a real browser: Chromium, without a window."""

from __future__ import annotations

import itertools
import math
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support.server import Launch, Server

# A browser takes its time to start where many tests run beside each other.
pytestmark = pytest.mark.timeout(240)
expect.set_options(timeout=30_000)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

#: Where the pictures of docs/page.md are written, by `make screenshots`.
PICTURES = os.environ.get("PLUGINCORE_SCREENSHOTS")

PLUGIN = """
from plugincore.baseplugin import BasePlugin

class {name}(BasePlugin):
    async def request_handler(self, **data):
        return 200, "hello"
"""

NAMES = ["Blinds", "Calendar", "Doorbell", "Energy", "Garden", "Heating", "Solar", "Weather"]
PLUGINS = {name.lower(): PLUGIN.format(name=name) for name in NAMES}
BROKEN = PLUGIN.format(name="Mail") + "\nserver = settings.server\n"

BLOCKING = """
import time
from pathlib import Path
from plugincore.baseplugin import BasePlugin

class Block(BasePlugin):
    async def request_handler(self, **data):
        while not Path("go-on").exists():
            time.sleep(0.05)
        return 200, "done"
"""

KEYS = """
[auth]
apikey = never-shown

[keys]
admin = key=let-me-in&scopes=control&expires=2090-12-31
grafana = key=read-only&scopes=metrics

[plugin_parms]
garden = auth_type=none&token=never-shown
"""

VIEWS = ["Plugins", "Routes", "Keys", "Log", "Configuration"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser with a profile of its own."""
    assert CHROMIUM, "make test needs Chromium; on Debian: sudo apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Return a context without cookies."""
    with browser.new_context(viewport={"width": 1240, "height": 820}) as context:
        context.set_default_timeout(30_000)
        yield context


def open_page(context: BrowserContext, server: Server, key: str | None = None) -> Page:
    """Open the page, and log in by keyboard; what the browser complains of fails the test that reads ``faults``."""
    page = context.new_page()
    page.faults = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.faults.append(str(error)))  # type: ignore[attr-defined]
    complaints = ("Content Security Policy", "Content-Security-Policy")
    page.on(
        "console",
        lambda message: page.faults.append(message.text) if any(c in message.text for c in complaints) else None,  # type: ignore[attr-defined]
    )
    page.goto(f"{server.base_url}/-/")
    if key is not None:
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        page.keyboard.type(key)
        page.keyboard.press("Enter")
    return page


def row(page: Page, plugin: str) -> object:
    """Return the row of a plugin."""
    return page.get_by_role("row").filter(has=page.get_by_role("button", name=plugin, exact=True))


def picture(page: Page, name: str) -> None:
    """Write a picture for the documentation, if it is wanted."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"page-{name}.png")


def check_accessible(page: Page) -> None:
    """Fail for what axe finds against WCAG 2.2 AA."""
    rules = {
        "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    }
    results = Axe().run(page, options=rules)
    assert results.violations_count == 0, results.generate_report()


def test_a_person_logs_in_sees_a_failure_and_mends_it(launch: Launch, context: BrowserContext) -> None:
    """A wrong key first; the failure is there with file and line, and gone after a reload."""
    server = launch({**PLUGINS, "mail": BROKEN}, ini_more=KEYS)
    page = open_page(context, server, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("not one that controls the server")
    picture(page, "login")
    page.get_by_label("Key", exact=True).fill("let-me-in")
    page.keyboard.press("Enter")
    mail = row(page, "mail")
    expect(mail).to_contain_text("failed")
    expect(mail).to_contain_text("plugins/mail.py:8")
    expect(mail).to_contain_text("NameError")
    page.get_by_role("button", name="mail", exact=True).click()
    expect(page.get_by_label("Last error of mail")).to_contain_text("Traceback")
    (server.plugins / "mail.py").write_text(PLUGIN.format(name="Mail"))
    page.get_by_role("button", name="Reload mail").click()
    expect(page.get_by_role("status").first).to_have_text("mail is reloaded.")
    expect(row(page, "mail")).to_contain_text("serving")
    page.get_by_role("button", name="Disable mail").click()
    expect(row(page, "mail")).to_contain_text("disabled")
    page.get_by_role("button", name="Enable mail").click()
    expect(row(page, "mail")).to_contain_text("serving")
    server.wait_for(r"/-/api/plugins/mail/disable - with the key admin")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Key", exact=True)).to_be_visible()
    assert [] == page.faults


def test_a_change_elsewhere_shows_at_once(launch: Launch, context: BrowserContext) -> None:
    """By the stream of events, not only when the page looks again."""
    server = launch(PLUGINS)
    page = open_page(context, server)
    expect(row(page, "solar")).to_contain_text("serving")
    server.post("/-/api/plugins/solar/disable")
    expect(row(page, "solar")).to_contain_text("disabled", timeout=4_000)
    assert [] == page.faults


def test_the_charts_move_with_the_requests(launch: Launch, context: BrowserContext) -> None:
    """What is counted arrives within seconds, without a reload of the page."""
    server = launch({**PLUGINS, "mail": BROKEN})
    page = open_page(context, server)
    chart = page.locator("figure", has_text="Requests per second")
    canvas = chart.locator("canvas")
    expect(canvas).to_be_visible()
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    ended = threading.Event()

    def ask() -> None:
        with server.client() as client:
            for number in itertools.count():
                if ended.wait(0.004 + 0.004 * math.sin(number / 300)):
                    break
                client.get(f"/{NAMES[number % 7 % 4].lower()}")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        expect(chart.locator("strong").first).to_have_text(re.compile(r"[1-9]"))
        expect(row(page, "blinds")).to_contain_text(re.compile(r"\d ms"))
        page.wait_for_function("before => document.querySelector('figure canvas').toDataURL() !== before", arg=before)
        if PICTURES:
            page.wait_for_timeout(90_000)  # for lines that are worth a picture
            picture(page, "light")
            page.emulate_media(color_scheme="dark")
            picture(page, "dark")
    finally:
        ended.set()
        asking.join()
    assert [] == page.faults


FORECAST = """
from typing import Any
from plugincore.baseplugin import BasePlugin

class Forecast(BasePlugin):
    async def request_handler(self, *, city: str, days: int = 3, **data: Any) -> dict[str, str]:
        '''The weather of the next days.'''
        return {"sky": f"clear over {city} for {days} days"}
"""


def test_a_route_is_tried_in_the_description(launch: Launch, context: BrowserContext) -> None:
    """A method leads to its operation, whose form makes a real request."""
    server = launch({**PLUGINS, "forecast": FORECAST})
    page = open_page(context, server)
    page.get_by_role("link", name="Routes", exact=True).click()
    page.get_by_role("row", name="/forecast").get_by_role("link", name="GET", exact=True).click()
    operation = page.locator("#operations-forecast-get_forecast")
    expect(operation).to_contain_text("The weather of the next days.")
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("city").fill("Oslo")
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text("clear over Oslo for 3 days")
    picture(page, "docs")
    assert [] == page.faults


def test_the_file_can_be_checked_before_a_reload(launch: Launch, context: BrowserContext) -> None:
    """What would change, and what is wrong with file and line."""
    server = launch(PLUGINS)
    page = open_page(context, server)
    page.get_by_role("link", name="Configuration").click()
    check, ini = page.get_by_role("button", name="Check the file"), server.folder / "server.ini"
    check.click()
    expect(page.get_by_role("main")).to_contain_text("what it says is in force")
    ini.write_text(ini.read_text() + "\n[limits]\nbody_size = 5 KiB\n")
    check.click()
    expect(page.get_by_role("main")).to_contain_text("[limits] body_size")
    ini.write_text(ini.read_text().replace("5 KiB", "many"))
    check.click()
    expect(page.get_by_role("main")).to_contain_text("server.ini:10: [limits] body_size: must be")
    assert [] == page.faults


def test_the_page_lives_while_python_is_blocked(launch: Launch, context: BrowserContext) -> None:
    """It shows which plugin blocks, and where in its code."""
    server = launch({**PLUGINS, "block": BLOCKING}, ini_more="[server]\nstall_warn = 0.25\n")
    asking = threading.Thread(target=lambda: server.get("/block", timeout=120))
    asking.start()
    try:
        page = open_page(context, server)
        expect(row(page, "block")).to_contain_text("blocking")
        page.get_by_role("button", name="block", exact=True).click()
        expect(page.get_by_label("Last stall of block")).to_contain_text("block.py")
        page.get_by_role("link", name="Log").click()
        expect(page.get_by_label("Lines of the log")).to_contain_text("block")
    finally:
        (server.folder / "go-on").touch()
        asking.join()
    assert [] == page.faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_views_can_be_used_by_all_people(launch: Launch, browser: Browser, scheme: str) -> None:
    """WCAG 2.2 AA as far as a program can tell, in light and dark; no secret is in what is shown."""
    server = launch({**PLUGINS, "mail": BROKEN}, ini_more=KEYS)
    with server.client() as client:
        for number in range(200):
            client.get(f"/{NAMES[number % 3 + 3].lower()}")
    with browser.new_context(color_scheme=scheme, viewport={"width": 1240, "height": 820}) as context:
        context.set_default_timeout(30_000)
        page = open_page(context, server)
        expect(page.get_by_label("Key", exact=True)).to_be_visible()
        check_accessible(page)
        page.keyboard.type("let-me-in")
        page.keyboard.press("Enter")
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (scheme == "dark") == (sum(map(int, re.findall(r"\d+", back)[:3])) < 200)
        for view in VIEWS:
            page.get_by_role("link", name=view, exact=True).click()
            expect(page.get_by_role("heading", name=view, exact=True)).to_be_visible()
            expect(page).to_have_title(f"{view} - plugincore")
            expect(page.locator("figure canvas, tbody tr, .log li").first).to_be_visible()
            if view == "Plugins":
                page.get_by_role("button", name="mail", exact=True).click()
            check_accessible(page)
            assert "never-shown" not in page.content()
        assert [] == page.faults


def test_everything_can_be_done_by_keyboard(launch: Launch, context: BrowserContext) -> None:
    """What has the focus is seen, and opens and acts on Enter and Space."""
    server = launch({"garden": PLUGINS["garden"]})
    page = open_page(context, server)
    expect(row(page, "garden")).to_contain_text("serving")
    names = []
    for _ in range(14):
        page.keyboard.press("Tab")
        names.append(page.evaluate("(document.activeElement.ariaLabel || document.activeElement.textContent).trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", names
        if names[-1] == "Reload garden":
            break
    assert [*VIEWS, "Plugins", "garden", "Reload garden"] == [name for name in names if name]
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("garden is reloaded.")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="garden", exact=True)).to_have_attribute("aria-expanded", "true")
    assert [] == page.faults


def test_a_narrow_window_needs_no_scrolling_sideways(launch: Launch, browser: Browser) -> None:
    """As on a telephone: tables scroll within themselves."""
    server = launch(PLUGINS)
    with browser.new_context(viewport={"width": 360, "height": 740}) as context:
        page = open_page(context, server)
        expect(row(page, "garden")).to_contain_text("serving")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
