"""What all pages have around them: the bar with its links, how fresh the figures are, a place for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import nicegui.elements.echart  # noqa: F401  registers ECharts, which pages draw with
from nicegui import ui

from flows.web.access import Who
from flows.web.screens import parts
from flows.web.screens.parts import Html

ASSETS: Final = Path(__file__).parent / "assets"
#: Pages in the bar: path and name.
PAGES: Final = {"/": "Overview", "/plays": "Plays", "/churn": "Churn", "/quality": "Quality", "/customers": "Customer"}
#: Before anything is painted, so that nothing flashes.
_HEAD: Final = f"""
<style>{(ASSETS / "style.css").read_text()}</style>
<meta name="theme-color" content="#f6f7f9" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="#0c0e12" media="(prefers-color-scheme: dark)">
<script>document.documentElement.dataset.theme = localStorage.theme ?? "system";</script>
"""
_MARK: Final = Html(
    '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" '
    'aria-hidden="true"><path d="M2 11h3l2.5-6 4.5 11 2.5-7 1 2H18"/></svg>'
)
_HALF: Final = Html(
    '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.8" aria-hidden="true">'
    '<circle cx="10" cy="10" r="7"/><path d="M10 3a7 7 0 0 1 0 14z" fill="currentColor"/></svg>'
)


class Live(ui.element, component="assets/live.js"):
    """A page of ours in the browser; what is pushed on ``page`` comes into its ``layout``. Without a name nothing is
    pushed."""

    def __init__(self, page: str, layout: str) -> None:
        super().__init__()
        self._props["page"] = page
        self._props["layout"] = layout
        self.classes("screen")


def page(path: str, title: str, body: Html, who: Who, *, live: str) -> None:
    """Put a page together: ``path`` is where in the bar it is, ``live`` the name it is pushed under."""
    page = parts.tag("div", parts.tag("h1", title), body, id="figures", tabindex="-1", class_="page")
    _begin(title)
    Live(live, parts.join([_bar(path, who, pill=True), page]))


@contextmanager
def still(path: str, title: str, who: Who) -> Iterator[None]:
    """A page of NiceGUI's own elements, made inside."""
    _begin(title)
    with Live("", _bar(path, who, pill=False)), ui.element("div").props("id=figures tabindex=-1").classes("page"):
        yield


def _sign_out(who: Who) -> Html:
    sent_along = Html(f'<input type="hidden" name="csrf" value="{who.csrf}">')
    button = parts.tag("button", "Sign out", class_="switch", type="submit", title=f"{who.name}, {who.role}")
    return parts.tag("form", sent_along, button, method="post", action="/logout")


def _begin(title: str) -> None:
    ui.add_head_html(_HEAD)
    ui.page_title(f"{title} - touchstream")
    ui.context.client.content.style("padding: 0; display: block")


def _bar(path: str, who: Who, *, pill: bool) -> Html:
    links = [parts.tag("a", name, href=at, aria_current="page" if at == path else None) for at, name in PAGES.items()]
    fresh = parts.tag(
        "div", parts.tag("i", ""), parts.tag("b", "Connecting"), parts.tag("time", ""), parts.tag("small", ""),
        class_="pill", data_pill="", data_state="warn",
    )  # fmt: skip
    inside = parts.tag(
        "div",
        parts.tag("a", _MARK, "touchstream", href="/", class_="brand"),
        parts.tag("nav", *links, aria_label="Pages"),
        fresh if pill else "",
        parts.tag("button", _HALF, class_="switch", type="button", data_theme_switch=""),
        _sign_out(who) if who.csrf else "",
    )
    banner = parts.tag("div", "", class_="banner", role="status", data_banner="", hidden="")
    skip = parts.tag("a", "Skip to the figures", href="#figures", class_="skip")
    return parts.tag("header", skip, inside, banner, class_="bar", role="banner")
