"""Signals of products: told to every shard, and there worked off, step by step, for the customers who are interested.

A step takes a page of the shard's index of interest and leaves a `Step` behind in the shard's own log, so that other
records pass between and a replay does the same. The index only finds customers; the truth is on their profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from operators import fold, products
from operators.chance import portion
from operators.deciding import Decider
from operators.playbook import NO_PLAYS, PlayBook
from operators.plays import DAY
from operators.shard import Shard
from schemas import stitched
from schemas.config import Config
from schemas.stitched import Occasion, Signal, Step
from schemas.topics import STITCHED, topic_name
from state.products import Product
from state.profile import Profile
from state.shards import Interest

#: The kind of the timer that ends what a product has woken, and how long that holds at most (ms): longer than any night
#: that a message may have to wait for.
SIGNAL, KEPT = "signal", 3 * DAY


class Signals:
    """Tells shards of products and works off what they are told. ``schedule`` moves a customer's earliest timer,
    ``advance`` the clock of a shard."""

    def __init__(
        self,
        config: Config,
        books: Mapping[str, PlayBook],
        decider: Decider,
        schedule: Callable[[Shard, Profile], None],
        advance: Callable[[Shard, int], None],
    ) -> None:
        self._books = books
        self._decider = decider
        self._schedule = schedule
        self._advance = advance
        self._shards = config.topics.shards
        self._limit = config.limits.customers_per_step
        self._stitched = topic_name(config, STITCHED)

    # -- the product's shard -----------------------------------------------------------------------------

    def tell(self, shard: Shard, product: Profile) -> None:
        """Tell every shard what has become of a product."""
        fold.set_timer(product, SIGNAL, "", shard.state.at + KEPT if product.signalled else None)
        sku = product.customer.removeprefix("product:")
        signal = Signal(shard.state.at, sku, product.price, product.stock, product.signalled)
        for number in range(self._shards):
            self._send(shard, number, signal)

    def end(self, shard: Shard, product: Profile) -> None:
        """What a product has woken is over."""
        product.signalled = {}
        self.tell(shard, product)

    # -- every shard -------------------------------------------------------------------------------------

    def apply(self, shard: Shard, record: Signal | Step) -> None:
        """Apply a record with everything in memory; else `begin`, `page` and `work`, each after what it needs is."""
        step = self.begin(shard, record)
        if step is not None:
            self.work(shard, step, self.page(shard, step))

    def begin(self, shard: Shard, record: Signal | Step) -> Step | None:
        """Advance the clock; the step to do now, if there is one. What is known of the product has been loaded."""
        self._advance(shard, record.at)
        return self._hear(shard, record) if isinstance(record, Signal) else record

    def _hear(self, shard: Shard, signal: Signal) -> Step | None:
        """Take note of a signal; the first step for the plays that it wakes, if it wakes any."""
        step = self.first_step(shard, signal)
        product = Product(signal.price, signal.stock, signal.plays) if signal.plays else None
        shard.set_product(signal.product, product)
        return step

    def first_step(self, shard: Shard, signal: Signal) -> Step | None:
        """What a signal leads to, if it wakes plays."""
        known = shard.products.get(signal.product)
        before = known.plays if known is not None else {}
        plays = {name: occasion for name, occasion in signal.plays.items() if before.get(name) != occasion}
        left = self._shares(shard, signal, plays) if plays else {}
        return Step(signal.at, signal.product, plays, left=left) if plays else None

    def _shares(self, shard: Shard, signal: Signal, plays: Mapping[str, Occasion]) -> dict[str, int]:
        """How many customers of this shard each play may tell that tells only so many a unit."""
        book = self._book(shard)
        per_unit = {name: book.plays[name].watch for name in plays if name in book.plays}
        return {
            name: portion(
                signal.stock * watch.per_unit, shard.number, self._shards, f"{name} {signal.product} {plays[name].time}"
            )
            for name, watch in per_unit.items()
            if watch is not None and watch.per_unit
        }

    def page(self, shard: Shard, step: Step) -> list[tuple[int, str]]:
        """The customers of a step, as (time of interest, customer): what was noted since the index was committed is
        newer."""
        stored, noted = shard.interested.get(step.product, {}), shard.interest.get(step.product, {})
        known = {**stored, **{each: max(time, stored.get(each, time)) for each, time in noted.items()}}
        return products.page(known, self.forgotten(shard), step.after, self._limit)

    def work(self, shard: Shard, step: Step, page: Sequence[tuple[int, str]]) -> None:
        """Decide for the customers of a step, whose profiles have been loaded, and go on behind them."""
        plays, left = self._running(shard, step), dict(step.left)
        for _, customer in page:
            if not plays:
                return
            profile = shard.profiles.get(customer)
            # Whoever waits for a hand-over may learn from it that no message is wanted.
            if profile is not None and not (profile.alias or profile.erased or profile.parks):
                self._tell(shard, step.product, plays, profile, left)
                if left:
                    plays = {name: occasion for name, occasion in plays.items() if left.get(name, 1) > 0}
        if len(page) == self._limit and plays:
            self._send(shard, shard.number, Step(shard.state.at, step.product, plays, page[-1], left))

    def _running(self, shard: Shard, step: Step) -> dict[str, Occasion]:
        """The plays of a step that still hold and may tell more customers."""
        product, book = shard.products.get(step.product), self._book(shard)
        return {
            name: occasion
            for name, occasion in step.plays.items()
            if product is not None
            and product.plays.get(name) == occasion
            and name in book.plays
            and book.plays[name].watch is not None
            and step.left.get(name, 1) > 0
        }

    def _tell(self, shard: Shard, sku: str, plays: Collection[str], profile: Profile, left: dict[str, int]) -> None:
        """One customer: decide for the plays that it is interested as, and count who was told."""
        book, product, at = self._book(shard), shard.products[sku], shard.state.at
        assert product is not None
        candidates = [
            products.candidate(play, sku, product, profile, at)
            for play in map(book.plays.__getitem__, plays)
            if play.watch is not None and products.interested(profile, play.watch, sku, at)
        ]
        if not candidates:
            return
        for name, outcome in self._decider.decide(shard, shard.profile(profile.customer), candidates, book):
            if name in left and outcome in ("emitted", "shadow", "held"):
                left[name] -= 1
        self._schedule(shard, profile)

    def awaited(self, shard: Shard, customers: Sequence[str]) -> list[str]:
        """The products that messages which wait for release speak of."""
        watching = {play.name for play in self._book(shard).watching}
        held = [each for customer in customers if customer in shard.profiles for each in shard.profiles[customer].held]
        return list(dict.fromkeys([each.key for each in held if each.play in watching]))

    # -- the index of interest ---------------------------------------------------------------------------

    def index(self, shard: Shard, profile: Profile) -> None:
        """Index all interest of a customer who was handed some."""
        for name in {play.watch.interest: None for play in self._book(shard).watching if play.watch is not None}:
            for sku, known in profile.progress.get(name, {}).items():
                if known.times:
                    shard.note(sku, profile.customer, known.times[-1])

    def noted(self, shard: Shard) -> Interest | None:
        """What a commit adds to the index."""
        if not shard.interest:
            return None
        return Interest(shard.interest, self.forgotten(shard), self._book(shard).interest)

    def forgotten(self, shard: Shard) -> int:
        """Up to when (ms) the index has forgotten: it keeps what the plays in force ask for, and whatever was forgotten
        under others does not come back."""
        book, state = self._book(shard), shard.state
        return max(state.forgotten, products.forgotten(book, state.at)) if book.interest else state.forgotten

    def _book(self, shard: Shard) -> PlayBook:
        return self._books.get(shard.state.plays, NO_PLAYS)

    def _send(self, shard: Shard, number: int, record: Signal | Step) -> None:
        shard.emit(self._stitched, number, f"product:{record.product}", stitched.encode(record))
