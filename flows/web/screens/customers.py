"""The pages about one customer: found by whatever people know of him, shown masked, or in the clear for a purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException
from fastapi import Request
from nicegui import ui
from redis import RedisError

from flows.web.access import Refusal, Who, who
from flows.web.answers import Customer
from flows.web.api import TEXTS
from flows.web.feed import Feed
from flows.web.people import People
from flows.web.screens import customer as story
from flows.web.screens import frame, parts
from flows.why import Overdue
from schemas.errors import NoCustomer, TouchstreamError

T = TypeVar("T")
PATH: Final = "/customers"
#: How often (seconds) it is looked whether there is news of the customer; only then is he read anew.
LOOK: Final = 1.0


def install(people: People, feed: Feed) -> None:
    """Add the pages."""

    @ui.page(PATH, title="Customer - touchstream")
    def find(request: Request) -> None:
        with frame.still(PATH, "Customer", who(request)):
            ui.html("<h1>Customer</h1>", sanitize=False)
            _search(people, who(request))

    @ui.page(PATH + "/{id}", title="Customer - touchstream")
    async def one(request: Request, id: str) -> None:
        with frame.still(PATH, "Customer", who(request)):
            await Page(people, feed, who(request), id).open()


def _search(people: People, asks: Who) -> None:
    """Look somebody up. What is typed goes through the page's own channel, and into no URL."""

    async def look() -> None:
        text = str(field.value or "").strip()
        found = await _asked(people.customer, asks, text) if text else None
        if isinstance(found, Customer):
            ui.navigate.to(f"{PATH}/{found.customer}")
        elif found is not None:
            answer.set_text(found)

    with ui.element("form").classes("find").on("submit.prevent", look):
        field = ui.input("Identifier or customer id", placeholder="member:1001").props(
            'outlined dense autofocus autocomplete=off aria-describedby=hint input-class="mono"'
        )
        ui.button("Look up", color=None).props("type=submit unelevated no-caps")
    ui.html(
        "Such as <code>member:1001</code>, <code>phone:+8613800000000</code> or <code>email:zoe@example.com</code>.",
        sanitize=False,
    ).props("id=hint").classes("hint")
    answer = ui.label().props("role=alert").classes("answer")


class Page:
    """One customer on one screen."""

    def __init__(self, people: People, feed: Feed, asks: Who, id: str) -> None:
        self._people, self._feed, self._who, self._id = people, feed, asks, id
        self._news = 0

    async def open(self) -> None:
        """Put the page together."""
        if ":" in self._id:
            found: Customer | str = "Addresses do not belong into URLs: look people up below."
        else:
            found = await _asked(self._people.customer, self._who, self._id)
        if isinstance(found, str):
            ui.html("<h1>Customer</h1>", sanitize=False)
            _search(self._people, self._who)
            ui.label(found).props("role=alert").classes("answer")
            return
        ui.html("<h1>Customer</h1>", sanitize=False)
        self._head = ui.html(sanitize=False).classes("who")
        if self._who.may("agent"):
            self._purpose()
        self._body = ui.html(sanitize=False)
        with ui.element("section").classes("card decisions"):
            ui.html(parts.head("Decisions", "the latest; open one to see why, or why not"), sanitize=False)
            self._decisions = ui.element("div")
        self._show(found)
        self._timer = ui.timer(LOOK, self._follow)

    def _purpose(self) -> None:
        async def unmask() -> None:
            found = await _asked(self._people.customer, self._who, self._id, str(purpose.value or "").strip())
            if isinstance(found, str):
                answer.set_text(found)
                return
            self._timer.cancel()  # each further look would be one more on record
            self._show(found)

        with ui.element("form").classes("find").on("submit.prevent", unmask):
            purpose = ui.input("Purpose, which is recorded").props("outlined dense autocomplete=off minlength=3")
            ui.button("Show values", color=None).props("type=submit unelevated no-caps")
        answer = ui.label().props("role=alert").classes("answer")

    async def _follow(self) -> None:
        """Read the customer anew where there is news of him."""
        with self._feed.known() as known:
            news = max([known.news.get(name, 0) for name in self._names])
        if news != self._news:
            self._news = news
            found = await _asked(self._people.customer, self._who, self._id)
            if isinstance(found, Customer):
                self._show(found)

    def _show(self, customer: Customer) -> None:
        self._names = [customer.customer, *customer.merged]
        with self._feed.known() as known:
            scored = known.scores.get(customer.customer)
            self._news = max([known.news.get(name, 0) for name in self._names])
        self._head.set_content(story.head(customer))
        self._body.set_content(story.body(customer, scored))
        ids = [each.id for each in customer.decisions]
        if ids != getattr(self, "_listed", None):
            self._listed = ids
            self._decisions.clear()
            with self._decisions:
                self._list(customer)

    def _list(self, customer: Customer) -> None:
        if not customer.decisions:
            ui.html(parts.nothing("Nothing was decided yet."), sanitize=False)
        for each in customer.decisions:
            sent = each.code == "emitted"
            look = "good" if sent else ""
            said = [parts.when(each.at), parts.tag("b", parts.words(each.play)),
                    parts.badge("sent" if sent else parts.words(each.code), look)]  # fmt: skip
            with ui.element("details") as row:
                ui.html(parts.join(said), tag="summary", sanitize=False)
                inside = ui.html(parts.nothing("Reading the topics ..."), sanitize=False)
            row.on("toggle", self._explains(each.id, inside))

    def _explains(self, decision: str, inside: ui.html) -> Callable[[], Any]:
        async def explain() -> None:
            if not asked:
                asked.append(True)
                found = await _asked(self._why, decision)
                inside.set_content(parts.nothing(found) if isinstance(found, str) else story.why(found))

        asked: list[bool] = []
        return explain

    def _why(self, decision: str) -> Any:
        return self._people.why(self._who, self._id, play=None, decision=decision)


async def _asked(question: Callable[..., T], *given: Any) -> T | str:
    """What is answered, or why nothing is."""
    try:
        return await asyncio.to_thread(question, *given)
    except NoCustomer as error:
        return TEXTS["erased" if error.erased else "no_customer"].capitalize() + "."
    except Refusal as refusal:
        return TEXTS[refusal.code].capitalize() + "."
    except Overdue:
        return TEXTS["overdue"].capitalize() + "."
    except (RedisError, KafkaException, TouchstreamError):
        return TEXTS["unavailable"] + "."
