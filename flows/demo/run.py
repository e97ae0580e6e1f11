"""The demo from start to account: servers, topics, flows, retailer; watch; drain; settle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol, Self

from flows import admin, plays_control
from flows.demo import options as demo_options
from flows.demo.account import Account, settle
from flows.demo.feed import Feed, Sampler
from flows.demo.figures import Emitted, Figures
from flows.demo.machinery import Flows, Interrupts, Shop, end, erase, servers
from flows.demo.options import Options
from flows.demo.screens import Screens
from flows.status import ENGAGE, STITCH, status
from schemas.config import Config
from schemas.errors import TouchstreamError

#: How long one look for new triggers waits (seconds).
WAIT: Final = 0.05
#: How long the flows may take to own their partitions; and how long nothing may move before a wait is given up.
READY_SECONDS, STILL_SECONDS = 60.0, 30.0
#: Asking for the groups' offsets is a handful of requests.
READY_EVERY: Final = 0.2
#: Nothing moved for so long although touchpoints are written (this many at least): the embedded broker has
#: forgotten its clients, as it does when it could not run for ten seconds. The flows then start again.
STALL_SECONDS, STALL_TOUCHPOINTS = 20.0, 100


class Display(Protocol):
    """Shows a run while it is entered."""

    def show(self, emitted: Iterable[Emitted] = ()) -> None:
        """Show what the figures say now; ``emitted`` are the new triggers."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *error: object) -> None:
        """Give the terminal back."""


class Run:
    """One run in ``folder``, told to ``figures`` and shown by ``display``."""

    def __init__(self, options: Options, folder: Path, figures: Figures, display: Display) -> None:
        self._options = options
        self._folder = folder
        self._figures = figures
        self._display = display

    def to_the_end(self) -> Account:
        """Everything, until the flows have drained. Raises `TouchstreamError` when something could not be done."""
        with Interrupts() as interrupts, ExitStack() as stack:
            bootstrap, url = stack.enter_context(servers(self._options, self._folder, self._phase))
            config = demo_options.deployment(self._options, bootstrap, url)
            path = demo_options.write(config, self._folder)
            if self._options.kafka or self._options.redis:
                stack.callback(erase, config)
            self._phase("creating topics")
            admin.create(config)
            plays_control.apply(config, demo_options.plays(self._options))
            self._flows = stack.enter_context(Flows(path, self._folder))
            self._screens = stack.enter_context(Screens(path, self._folder))
            self._feed = Feed(config, self._figures)
            stack.callback(self._feed.close)
            self._sampler = Sampler(config, self._figures, self._flows.metrics)
            stack.callback(self._sampler.close)
            self._until_ready(config)
            shop = stack.enter_context(Shop(self._options, config, self._folder))
            interrupts.gentle()
            self._watch(shop, interrupts)
            return self._finish(shop, config)

    def _phase(self, phase: str) -> None:
        self._figures.phase = phase
        self._display.show()

    def _look(self) -> None:
        """One turn: new records, figures when it is time, the flows' health, the display."""
        emitted = self._feed.poll(WAIT)
        self._sampler.sample()
        self._flows.watch()
        self._figures.restarts = self._flows.restarts
        self._screens.watch(wanted=bool(self._figures.triggers))
        self._figures.url = self._screens.url
        self._display.show(emitted)

    def _until_ready(self, config: Config) -> None:
        """Wait until stitch and engage own all partitions: what comes earlier would only wait, and be measured."""
        self._phase("starting the flows")
        deadline, asked = time.monotonic() + READY_SECONDS, 0.0
        while True:
            self._look()
            if time.monotonic() - asked >= READY_EVERY:
                if _ready(config):
                    return
                asked = time.monotonic()
            if time.monotonic() > deadline:
                raise TouchstreamError(
                    f"the flows do not own their partitions after {READY_SECONDS:.0f} s. The end of their log:\n"
                    f"{end(self._flows.log)}"
                )

    def _watch(self, shop: Shop, interrupts: Interrupts) -> None:
        """Let it run until it is asked to stop, or the retailer has ended."""
        self._figures.running_since = time.monotonic()
        self._moved = (time.monotonic(), 0)
        self._phase("running")
        seconds = self._options.seconds
        while not interrupts.wanted and shop.works():
            if seconds is not None and self._figures.running_seconds >= seconds:
                break
            self._look()
            self._unstick()

    def _unstick(self) -> bool:
        """Start the flows again when they stand still; shown as restarts. Whether it was done."""
        now, finished = time.monotonic(), self._figures.finished
        if finished != self._moved[1]:
            self._moved = (now, finished)
        still = now - self._moved[0]
        stalled = still > STALL_SECONDS and still * self._options.rate >= STALL_TOUCHPOINTS
        if stalled:
            self._moved = (now, finished)
            self._flows.restart()
        return stalled

    def _finish(self, shop: Shop, config: Config) -> Account:
        """Stop the source, let everything arrive, drain, settle."""
        self._phase("draining")
        figures = self._figures
        figures.written = written = shop.stop()
        self._until(lambda: figures.finished >= written["written"], STILL_SECONDS)
        seconds = figures.running_seconds
        self._flows.stop()
        self._sampler.sample(now=True)
        self._until(lambda: figures.triggers.total() >= figures.decided_triggers, STILL_SECONDS / 4, watch=False)
        account = settle(status(config), figures, seconds)
        self._phase("stopping the servers")
        return account

    def _until(self, done: Callable[[], bool], still_seconds: float, *, watch: bool = True) -> None:
        """Look until ``done``, or until nothing has moved for ``still_seconds``: the account says what lacks."""
        moved_at, before = time.monotonic(), -1
        while not done() and time.monotonic() - moved_at < still_seconds:
            if watch:
                self._look()
                moved_at = time.monotonic() if self._unstick() else moved_at
            else:
                self._display.show(self._feed.poll(WAIT))
            now = self._figures.finished + self._figures.triggers.total()
            if now != before:
                moved_at, before = time.monotonic(), now


def _ready(config: Config) -> bool:
    """Whether stitch and engage have said where they start, for every partition."""
    return all(
        row.next is not None
        for flow in status(config).flows
        if flow.flow in (STITCH, ENGAGE)
        for row in flow.partitions
    )
