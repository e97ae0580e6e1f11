"""A log in memory for the tests of engage: shards, their stored state, and records that find their way back.

`World` does what the shell does around the pure core: it loads what a batch names, applies it in log order, keeps
everything packed between batches, and puts what is emitted to ``stitched`` into the log of the shard it is for.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from flows import playfile
from operators.churn import PRIOR, Model
from operators.engage import Engage
from operators.playbook import PlayBook
from operators.shard import Shard, ShardState
from schemas import stitched
from schemas.config import Churn, Config, Keys, Limits, Topics
from schemas.outputs import (
    Alert,
    Alias,
    Audit,
    Decision,
    Example,
    IdentityChange,
    Outcome,
    Partial,
    Score,
    SegmentChange,
    Trigger,
)
from schemas.plays import Cap, PlayFile
from schemas.stitched import Absorb, Change, Contact, Control, Event, Record, Signal, Step, Tick, Visit, shard_of
from schemas.touchpoint import Consent
from state.products import unpack_product
from state.profile import OpenExample, Part, Profile, pack, unpack, unpack_examples, unpack_parts
from state.shards import INTERESTED, Interest, Output

SHARDS = 4
SECOND, MINUTE, DAY = 1_000, 60_000, 86_400_000
#: 2025-10-09T08:53:20Z
T = 1_760_000_000_000

_state = msgspec.msgpack.Decoder(ShardState)
_KINDS: dict[str, type] = {
    "ts.decisions": Decision,
    "ts.triggers": Trigger,
    "ts.outcomes": Outcome,
    "ts.segments": SegmentChange,
    "ts.scores": Score,
    "ts.churn.examples": Example,
    "ts.identity.changes": IdentityChange,
    "ts.audit": Audit,
    "ts.aliases": Alias,
    "ts.alerts": Alert,
    "ts.kpi.partials": Partial,
}


def config(limits: Limits | None = None, churn: Churn | None = None) -> Config:
    """A deployment of four shards."""
    return Config(
        keys=Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32}),
        topics=Topics(shards=SHARDS),
        limits=limits or Limits(),
        churn=churn or Churn(),
    )


def token(text: str) -> str:
    """A token as stitch makes them: 16 characters."""
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=12).digest()).decode()


def living_in(shard: int, name: str = "customer") -> str:
    """A customer id of that shard."""
    return next(f"{name}-{n}" for n in range(1_000) if shard_of(f"{name}-{n}", SHARDS) == shard)


#: Four plays, one of each kind.
PLAYS = playfile.load(Path(__file__).parent / "data" / "plays.yaml")
BOOK = PlayBook(PLAYS)


def capped(messages: int, within: str = "7d") -> PlayFile:
    """Those plays with another frequency cap."""
    limits = msgspec.structs.replace(PLAYS.limits, caps=(Cap(messages=messages, within=within),))
    return msgspec.structs.replace(PLAYS, limits=limits)


def views_of(profile: Profile) -> list[tuple[str, int]]:
    """The product views that count for `repeat_view`, as (sku, time)."""
    counted = profile.progress.get("repeat_view", {})
    return sorted(((sku, time) for sku, each in counted.items() for time in each.times), key=lambda view: view[::-1])


#: Three customers of three shards.
A, B, C = living_in(0), living_in(1), living_in(2)


class World:
    """The shards of one deployment and their logs. ``cached``: bytes of memory for profiles that stay between
    batches; by default those of about two."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        plays: PlayFile | None = None,
        cached: int = 9_000,
        floor: int = 0,
        routing: bool = True,
    ) -> None:
        self.config = config or _CONFIG
        self.models: dict[str, Model] = {}
        self.books = {book.version: book for book in [PlayBook(plays) if plays else BOOK]}
        self.engage = Engage(self.config, self.models, self.books)
        (self.began_with,) = self.books
        states = [ShardState(plays=self.began_with) for _ in range(SHARDS)]
        self.shards = [Shard(number, 0, None, state, floor) for number, state in enumerate(states)]
        self.log: list[list[bytes]] = [[] for _ in range(SHARDS)]
        self.outputs: list[list[Output]] = [[] for _ in range(SHARDS)]
        self.counts: Counter[str] = Counter()
        self.entities: dict[str, bytes] = {}
        self.timers: list[dict[str, int]] = [{} for _ in range(SHARDS)]
        #: Who is interested in which product, by shard; and the customers of each step.
        self.index: list[dict[str, dict[str, int]]] = [{} for _ in range(SHARDS)]
        self.steps: list[list[str]] = []
        self._cached = cached
        self._routing = routing

    # -- in ------------------------------------------------------------------------------------------------

    def feed(self, *records: Record) -> World:
        """Append records: to their customer's shard, ticks and control records to every shard."""
        for record in records:
            raw = stitched.encode(record)
            if isinstance(record, Event | Change | Absorb):
                self.log[shard_of(record.customer, SHARDS)].append(raw)
            else:
                for log in self.log:
                    log.append(raw)
        return self

    def merge(self, old: str, new: str, version: int, at: int = T, times: int = 1) -> World:
        """One merge, as stitch publishes it: a copy for each side."""
        for _ in range(times):
            for customer in (old, new):
                change_id = token(f"{old}>{new}@{version}")
                self.feed(Change(at, change_id, "merged", customer, version, at, old=old, new=new))
        return self

    def run(self, batch: int = 1) -> World:
        """Process until all is quiet."""
        while any(self.step(number, batch) for number in range(SHARDS)):
            pass
        return self

    def step(self, number: int, batch: int = 1) -> bool:
        """Process the next batch of a shard; False if there is nothing left."""
        shard, raws = self.shards[number], self.log[number]
        start = shard.r
        records = [(stitched.decode(raw), raw) for raw in raws[start : start + batch]]
        if not records:
            return False
        self._load(shard, [record for record, _ in records])
        for offset, (record, raw) in enumerate(records, start):
            shard.r = offset
            if isinstance(record, Tick):
                self._tick(shard, record)
            elif isinstance(record, Signal | Step):
                self._work(shard, self.engage.signals.begin(shard, record))
            else:
                self.engage.apply(shard, record, raw)
        shard.r = start + len(records)
        self._commit(shard)
        return True

    # -- out -----------------------------------------------------------------------------------------------

    def profile(self, customer: str) -> Profile:
        """As stored; a new one if there is none."""
        stored = self.entities.get("c:" + customer)
        return Profile(customer) if stored is None else unpack(stored)

    def examples(self, customer: str) -> list[OpenExample]:
        """The open examples as stored."""
        stored = self.entities.get("x:" + customer)
        return [] if stored is None else unpack_examples(stored)

    def parts(self, customer: str) -> list[Part]:
        """The parts as stored."""
        stored = self.entities.get("u:" + customer)
        return [] if stored is None else unpack_parts(stored)

    def state(self, number: int) -> ShardState:
        """The state of a shard as stored."""
        return _state.decode(pack(self.shards[number].state))

    def written(self, topic: str) -> list[Any]:
        """Everything written to one topic, decoded, shard by shard."""
        kind = _KINDS[topic]
        return [msgspec.json.decode(each.value, type=kind) for each in self.everything() if each.topic == topic]

    def everything(self) -> list[Output]:
        """All outputs, shard by shard."""
        return [each for outputs in self.outputs for each in outputs]

    @property
    def triggers(self) -> list[Trigger]:
        return self.written("ts.triggers")

    @property
    def decisions(self) -> list[Decision]:
        return self.written("ts.decisions")

    def told(self) -> list[tuple[str, str]]:
        """Every decision as (play, code or ``emitted``)."""
        return [(each.play, each.code or each.outcome) for each in self.decisions]

    def parked(self) -> int:
        """Records that wait for a hand-over."""
        return sum(len(unpack(value).parked) for key, value in self.entities.items() if key.startswith("c:"))

    # -- the shell -----------------------------------------------------------------------------------------

    def _load(self, shard: Shard, records: list[Record]) -> None:
        for record in records:
            if isinstance(record, Event | Change | Absorb):
                self._fetch(shard, record.customer, examples=not isinstance(record, Event))
            elif isinstance(record, Visit):
                for customer in record.customers:
                    if shard_of(customer, SHARDS) == shard.number:
                        self._fetch(shard, customer, examples=False)
            elif isinstance(record, Signal | Step):
                self._fetch_product(shard, record.product)
        ticks = [record.watermark for record in records if isinstance(record, Tick)]
        if ticks and not shard.timers.covers(max(ticks)):
            limit = len(ticks) * self.config.limits.timers_per_tick + len(records)
            ordered = sorted((due, customer) for customer, due in self.timers[shard.number].items())
            shard.timers.fill(ordered[:limit], limit)

    def _fetch(self, shard: Shard, customer: str, *, examples: bool) -> None:
        if shard.unread([customer]) and (stored := self.entities.get("c:" + customer)) is not None:
            shard.keep(customer, stored)
        if examples and customer not in shard.examples:
            shard.examples[customer] = self.examples(customer)
        if customer in shard.profiles and shard.profiles[customer].parted and customer not in shard.parts:
            shard.parts[customer] = self.parts(customer)

    def _tick(self, shard: Shard, tick: Tick) -> None:
        customers = self.engage.tick(shard, tick)
        for customer in customers:
            self._fetch(shard, customer, examples=True)
        for sku in self.engage.signals.awaited(shard, customers):
            self._fetch_product(shard, sku)
        for customer in customers:
            self.engage.fire(shard, customer, tick.watermark)

    def _fetch_product(self, shard: Shard, sku: str) -> None:
        if sku not in shard.products and (stored := self.entities.get(f"p:{shard.number}:{sku}")) is not None:
            shard.products[sku] = unpack_product(stored)

    def _work(self, shard: Shard, step: Step | None) -> None:
        if step is not None:
            shard.interested[step.product] = dict(self.index[shard.number].get(step.product, {}))
            page = self.engage.signals.page(shard, step)
            for _, customer in page:
                self._fetch(shard, customer, examples=False)
            self.engage.signals.work(shard, step, page)
            self.steps.append([customer for _, customer in page])

    def _commit(self, shard: Shard) -> None:
        for key, value in shard.packed().items():
            name = f"p:{shard.number}:{key[2:]}" if key.startswith("p:") else key
            if value is None:
                self.entities.pop(name, None)
            else:
                self.entities[name] = value
        if (noted := self.engage.signals.noted(shard)) is not None:
            self._note(shard.number, noted)
        for customer, due in shard.timers.changed.items():
            self.timers[shard.number].pop(customer, None)
            if due is not None:
                self.timers[shard.number][customer] = due
        self.counts.update(shard.counters)
        self.outputs[shard.number] += shard.outbox
        if self._routing:
            for output in shard.outbox:
                if output.topic == "ts.stitched":
                    self.log[output.partition].append(output.value)
        shard.settle(self._cached)

    def _note(self, number: int, noted: Interest) -> None:
        """As the commit script does."""
        for sku, customers in noted.products.items():
            known = self.index[number].setdefault(sku, {})
            known |= {each: max(time, known.get(each, time)) for each, time in customers.items()}
            latest = sorted([(time, each) for each, time in known.items() if time > noted.forgotten])[-INTERESTED:]
            self.index[number][sku] = {each: time for time, each in latest}


def replayed(world: World, splits: Iterable[int]) -> World:
    """The same logs once more, in batches of the given sizes, then of one."""
    again = World(world.config, cached=1, routing=False)
    again.models.update(world.models)
    again.books.update(world.books)
    for shard in again.shards:
        shard.state.plays = world.began_with
    again.log = [list(log) for log in world.log]
    for size in splits:
        for number in range(SHARDS):
            again.step(number, size)
    return again.run()


# -- records -----------------------------------------------------------------------------------------------


def event(
    customer: str,
    type: str,
    data: dict[str, Any],
    time: int = T,
    *,
    eid: str | None = None,
    at: int | None = None,
    consent: dict[str, bool] | None = None,
) -> Event:
    """A touchpoint; its id follows from all it says unless given."""
    eid = eid or token(f"{customer} {type} {data} {time} {consent}")
    given = [Consent(channel, granted) for channel, granted in (consent or {}).items()]
    raw = msgspec.Raw(msgspec.json.encode(data))
    at = time if at is None else at
    return Event(at, customer, f"touchpoints/0/{eid}", at + 1, eid, time, type, "web", consent=given, data=raw)


def viewed(customer: str, sku: str, time: int, at: int | None = None) -> Event:
    return event(customer, "Product Viewed", {"product": {"sku": sku}}, time, at=at)


def carted(customer: str, cart: str, time: int, value: float | None = None, at: int | None = None) -> Event:
    return event(customer, "Product Added", {"cart_id": cart, "value": value}, time, at=at)


def ordered(
    customer: str, time: int, *skus: str, revenue: float = 10.0, cart: str | None = None, at: int | None = None
) -> Event:
    lines = [{"sku": sku, "quantity": 2} for sku in skus]
    data = {"order_id": f"o{time}", "revenue": revenue, "lines": lines, "cart_id": cart}
    return event(customer, "Order Completed", data, time, at=at)


def signed_up(customer: str, time: int = T, at: int | None = None) -> Event:
    return event(customer, "Signed Up", {"language": "zh", "country": "CN"}, time, at=at)


def consented(customer: str, time: int = T, at: int | None = None, **channels: bool) -> Event:
    return event(customer, "Consent Changed", {}, time, at=at, consent=channels)


def created(customer: str, time: int = T, *namespaces: str, version: int = 1) -> Change:
    """A customer comes into being with a sealed address for each namespace."""
    ids = [f"{namespace}:{token(customer + namespace)}" for namespace in (*namespaces, "device")]
    contacts = [Contact(namespace, "kid", f"sealed {customer} {namespace}", time) for namespace in namespaces]
    change_id = token(f"created {customer} {ids}")
    return Change(time, change_id, "created", customer, version, time, ids, contacts, touchpoint=token("first"))


def reachable(customer: str, time: int = T) -> list[Record]:
    """What makes a customer one whom every play may write to, by SMS."""
    return [created(customer, time, "phone"), consented(customer, time, sms=True)]


def tick(watermark: int, at: int | None = None) -> Tick:
    return Tick(watermark if at is None else at, watermark)


def activate(digest: str, at: int = T) -> Control:
    return Control(at, "model", "default", digest)


def constant_model(logit: float, name: str) -> Model:
    """A model that answers the same whatever the features."""
    return Model(name, PRIOR.features_version, logit, tuple((0.0, 0.0) for _ in PRIOR.terms))


_CONFIG = config()
