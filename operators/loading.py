"""What a batch of engage needs of Redis, brought into memory before it is applied.

A round trip for each of: what its records name; whom its ticks wake and its products interest; what the profiles of all
these ask for in turn. That is looked up in the state before the batch. What an earlier record of the batch has moved is
missed, so whoever applies a record asks again, and then only what is missing is fetched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from operators.churn import Model
from operators.engage import Engage
from operators.failpoints import failpoint
from operators.playbook import PlayBook
from operators.shard import Shard
from schemas.config import Config
from schemas.stitched import Absorb, Change, Control, Gist, Record, Signal, Step, Tick, Visit
from state.contents import ContentStore
from state.products import unpack_product
from state.profile import unpack_examples, unpack_parts
from state.shards import ShardStore

#: So many steps of products are read for ahead, and so many customers whom they are about: what is read for a batch
#: is in memory at once, on either side.
STEPS_AHEAD, CUSTOMERS_AHEAD = 100, 10_000


class Entry(msgspec.Struct):
    """One record of a shard's log."""

    offset: int
    record: Record
    raw: bytes


#: The records of a batch by shard, in log order.
Batch = dict[int, list[Entry]]


class Books(dict[str, PlayBook]):
    """Plays by version, loaded when they are named: a journey goes on as it began."""

    def __init__(self, contents: ContentStore) -> None:
        super().__init__()
        self._contents = contents

    def __missing__(self, version: str) -> PlayBook:
        book = self[version] = PlayBook.from_bytes(self._contents.get(version))
        return book


class _Needs(msgspec.Struct):
    """What a batch names in one shard: key suffixes, watermarks of ticks, what is ``told`` of products, customers; of
    these those who are ``woken`` by a timer. ``records``: how many there are."""

    records: int
    wanted: dict[str, None] = {}
    ticks: list[int] = []
    told: list[Signal | Step] = []
    customers: list[str] = []
    woken: list[str] = []


class Loader:
    """Fills shards from Redis. ``models`` and ``books`` are filled with what is named; ``stored``: all models.

    All methods raise `redis.RedisError`. ``missed``: profiles that were not in memory, ``found``: other records.
    """

    def __init__(
        self,
        config: Config,
        store: ShardStore,
        engage: Engage,
        models: dict[str, Model],
        books: Mapping[str, PlayBook],
        stored: ContentStore,
    ) -> None:
        self._store = store
        self._engage = engage
        self._models = models
        self._books = books
        self._stored = stored
        self._timers_per_tick = config.limits.timers_per_tick
        self.found = self.missed = 0

    def load(self, shards: Mapping[int, Shard], batch: Batch) -> None:
        """All that the records of a batch will need, as far as that can be seen now."""
        needs = {number: self._look(shards[number], entries) for number, entries in batch.items()}
        self._count(needs.values())
        self._fetch(shards, {number: list(each.wanted) for number, each in needs.items()})
        busy = {number: each for number, each in needs.items() if each.ticks or each.told}
        if busy:
            self._look_further(shards, busy)
        self._fetch(shards, {
            number: [
                *_parts(shards[number], each.customers),
                *_examples(shards[number], _left_behind(shards[number], each.customers)),
                *self._products(shards[number], each.woken),
            ]
            for number, each in needs.items()
        })  # fmt: skip

    def _look_further(self, shards: Mapping[int, Shard], needs: Mapping[int, _Needs]) -> None:
        """Whom ticks will wake, and who is to be told of products."""
        self._fill_timers(shards, needs)
        steps = [
            (shards[number], step) for number, each in needs.items() for step in self._steps(shards[number], each)
        ][:STEPS_AHEAD]
        products: dict[int, list[str]] = {}
        for shard, step in steps:
            products.setdefault(shard.number, []).append(step.product)
        self._fetch_interest(shards, products)
        told = [(shard, customer) for shard, step in steps for _, customer in self._engage.signals.page(shard, step)]
        for shard, customer in told[:CUSTOMERS_AHEAD]:
            needs[shard.number].customers.append(customer)
        for number, each in needs.items():
            each.woken = self._due(shards[number], each)
            each.customers += each.woken
        self._fetch(shards, {
            number: _profiles(shards[number], each.customers) + _examples(shards[number], each.woken)
            for number, each in needs.items()
        })  # fmt: skip

    def woken(self, shard: Shard, customers: Sequence[str]) -> None:
        """What is not yet known of customers whose timers fire."""
        one = {shard.number: shard}
        self._fetch(one, {shard.number: [*_profiles(shard, customers), *_examples(shard, customers)]})
        self._fetch(one, {shard.number: [*_parts(shard, customers), *self._products(shard, customers)]})

    def interest(self, shard: Shard, product: str) -> None:
        """Who was interested in a product at the last commit, if that is not known yet."""
        self._fetch_interest({shard.number: shard}, {shard.number: [product]})

    def told(self, shard: Shard, customers: Sequence[str]) -> None:
        """What is not yet known of customers who are to be told of a product."""
        one = {shard.number: shard}
        self._fetch(one, {shard.number: _profiles(shard, customers)})
        self._fetch(one, {shard.number: _parts(shard, customers)})

    def content(self, what: str, digest: str) -> None:
        """The content of a model or of plays."""
        if what == "model" and digest not in self._models:
            self._models[digest] = Model.from_bytes(self._stored.get(digest))
        elif what == "plays":
            _ = self._books[digest]

    # -- what is asked for ---------------------------------------------------------------------------------

    def _look(self, shard: Shard, entries: Sequence[Entry]) -> _Needs:
        """What the records of a shard name."""
        profiles, needs = shard.profiles, _Needs(len(entries))
        wanted, customers = needs.wanted, needs.customers
        for entry in entries:
            record = entry.record
            if type(record) is Gist:
                customers.append(record.customer)
                if record.customer not in profiles:
                    wanted["c:" + record.customer] = None
            elif type(record) is Tick:
                needs.ticks.append(record.watermark)
            elif isinstance(record, Signal | Step):
                needs.told.append(record)
                wanted["p:" + record.product] = None
            elif isinstance(record, Change | Absorb):
                customers.append(record.customer)
                if record.customer not in profiles:
                    wanted["c:" + record.customer] = None
                wanted["x:" + record.customer] = None  # a merge may move them
                if isinstance(record, Absorb):
                    failpoint("engage.absorbing")
                elif record.old == record.customer:
                    failpoint("engage.handing_over")
            elif isinstance(record, Visit):
                customers += record.customers
                wanted.update(dict.fromkeys("c:" + each for each in record.customers if each not in profiles))
            elif isinstance(record, Control):
                self.content(record.what, record.hash)
        return needs

    def _due(self, shard: Shard, needs: _Needs) -> list[str]:
        """The customers whose timers the ticks of a batch will fire."""
        ticks = needs.ticks
        return shard.timers.due(max(ticks), len(ticks) * self._timers_per_tick) if ticks else []

    def _steps(self, shard: Shard, needs: _Needs) -> list[Step]:
        """The steps that a batch will do."""
        first = self._engage.signals.first_step
        found = [first(shard, each) if isinstance(each, Signal) else each for each in needs.told]
        return [each for each in found if each is not None]

    def _products(self, shard: Shard, customers: Sequence[str]) -> list[str]:
        """The products that messages of customers who are woken speak of."""
        if not customers:
            return []
        return ["p:" + each for each in self._engage.signals.awaited(shard, customers) if each not in shard.products]

    # -- asking --------------------------------------------------------------------------------------------

    def _fetch(self, shards: Mapping[int, Shard], wanted: Mapping[int, Sequence[str]]) -> None:
        """Load key suffixes into the memory of shards, in one round trip."""
        for number, values in self._store.load(wanted).items():
            shard = shards[number]
            for suffix, value in zip(wanted[number], values, strict=True):
                kind, name = suffix[:2], suffix[2:]
                if kind == "x:":
                    shard.examples[name] = unpack_examples(value) if value is not None else []
                elif kind == "p:":
                    shard.products[name] = unpack_product(value) if value is not None else None
                elif kind == "u:":
                    shard.parts[name] = unpack_parts(value) if value is not None else []
                elif value is not None:
                    shard.keep(name, value)
                else:
                    shard.absent.add(name)

    def _fetch_interest(self, shards: Mapping[int, Shard], products: Mapping[int, Sequence[str]]) -> None:
        wanted = {
            number: [each for each in dict.fromkeys(skus) if each not in shards[number].interested]
            for number, skus in products.items()
        }
        for number, found in self._store.interested(wanted).items():
            shards[number].interested.update(zip(wanted[number], found, strict=True))

    def _fill_timers(self, shards: Mapping[int, Shard], needs: Mapping[int, _Needs]) -> None:
        """Make sure that the indices hold every timer that the batch's ticks can fire."""
        limits = {
            # What the ticks can fire plus what the batch's records can cancel before: no more can be needed.
            number: len(each.ticks) * self._timers_per_tick + each.records
            for number, each in needs.items()
            if each.ticks and not shards[number].timers.covers(max(each.ticks))
        }
        for number, head in self._store.timers(limits).items():
            shards[number].timers.fill(head, limits[number])

    def _count(self, needs: Collection[_Needs]) -> None:
        missing = sum([suffix.startswith("c:") for each in needs for suffix in each.wanted])
        self.missed += missing
        self.found += max(0, sum([each.records for each in needs]) - missing)


def _profiles(shard: Shard, customers: Sequence[str]) -> list[str]:
    return ["c:" + each for each in dict.fromkeys(shard.unread(customers))]


def _examples(shard: Shard, customers: Sequence[str]) -> list[str]:
    return ["x:" + each for each in dict.fromkeys(customers) if each not in shard.examples]


def _left_behind(shard: Shard, customers: Sequence[str]) -> list[str]:
    """Those who have lost identifiers and may give away what goes with them when one of their records is applied."""
    profiles = shard.profiles
    return [each for each in customers if each in profiles and profiles[each].leaving]


def _parts(shard: Shard, customers: Sequence[str]) -> list[str]:
    """The parts of those customers whose profiles say that there are some."""
    profiles, parts = shard.profiles, shard.parts
    return [
        "u:" + each
        for each in dict.fromkeys(customers)
        if each in profiles and profiles[each].parted and each not in parts
    ]
