"""A real Chromium, and what a page asked of others than the service, or complained about."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
LAPTOP, PHONE = (1366, 800), (390, 844)
#: How long something may take to show (ms).
PATIENCE: Final = 60_000
#: Screenshots are kept here, if anywhere.
SHOTS: Final = "TOUCHSTREAM_TEST_SHOTS"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Window:
    """One window on the service at ``base``. ``strays``: requests that left for elsewhere; ``complaints``: what pages
    wrote to the console."""

    def __init__(
        self,
        browser: Browser,
        base: str,
        size: tuple[int, int] = LAPTOP,
        scheme: str = "light",
        shots: Path | None = None,
    ) -> None:
        self.base, self.strays, self.complaints = base, list[str](), list[str]()
        self._name = f"{'phone' if size == PHONE else 'laptop'}-{scheme}"
        self._shots = Path(os.environ[SHOTS]) if SHOTS in os.environ else shots
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if scheme == "dark" else "light"
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", self._asked)
        self.page.on("websocket", lambda socket: self._left(socket.url))
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str, until: str = ".page") -> Page:
        """Open a page, and wait for what is to be there."""
        self.page.goto(f"{self.base}{path}")
        self.page.wait_for_selector(until)
        return self.page

    def text(self, selector: str) -> str:
        """What is written there, on one line."""
        return re.sub(r"\s+", " ", self.page.inner_text(selector))

    def await_text(self, selector: str, pattern: str) -> None:
        """Wait until what is written there matches."""
        said = "document.querySelector(where)?.innerText.replace(/\\s+/g, ' ')"
        self.page.wait_for_function(f"([where, pattern]) => new RegExp(pattern).test({said})", arg=[selector, pattern])

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        if self._shots is not None:
            self._shots.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=self._shots / f"{name}-{self._name}.png", full_page=True)

    def overflows(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def close(self) -> None:
        """Close it."""
        self.page.context.close()

    def _asked(self, request: Request) -> None:
        self._left(request.url)

    def _left(self, url: str) -> None:
        host = self.base.partition("://")[2]
        if not url.startswith((self.base, f"ws://{host}", "data:", "blob:")):
            self.strays.append(url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
