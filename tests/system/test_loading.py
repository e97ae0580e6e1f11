"""What a batch of engage needs comes from Redis in a fixed number of round trips, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from flows import playfile
from operators import loading
from operators.engage import Engage
from operators.loading import Entry, Loader
from operators.playbook import PlayBook
from operators.shard import Shard, ShardState
from schemas.config import Config
from schemas.stitched import Change, Gist, Occasion, Signal, Step, Tick
from state.connection import connect
from state.contents import ContentStore
from state.products import Product
from state.profile import Held, OpenExample, Part, Profile, pack
from state.shards import Commit, Interest, ShardStore
from tests.conftest import new_config
from tests.system.test_signals import PLAY

pytestmark = pytest.mark.system

BOOK = PlayBook(playfile.parse(json.dumps({"plays": {"cheaper": PLAY}}).encode(), "plays.yaml"))
NOW, SKUS = 1_000_000, [f"sku{number}" for number in range(20)]
DROPPED = {"cheaper": Occasion(NOW, "t", 10_000)}


class _World:
    """A shard in Redis: of each product two customers who are interested, and one with a timer, who has merged."""

    def __init__(self, url: str) -> None:
        self.trips = list[str]()
        self.config: Config = new_config("", url)
        self.client = connect(self.config, lambda operation, seconds, failed: self.trips.append(operation))
        self.store = ShardStore(self.client, self.config.prefix)
        books = {BOOK.version: BOOK}
        self.engage = Engage(self.config, {}, books)
        models = ContentStore(self.client, self.config.prefix, "models")
        self.loader = Loader(self.config, self.store, self.engage, {}, books, models)
        self.store.take([0], "me", "mine")
        self.store.commit([self._commit()], "me", 0)
        self.shard = Shard(0, 1, 1, ShardState(plays=BOOK.version), 0)
        self.shard.timers.fill([(NOW - 1, "gone")], 1)
        self.trips.clear()

    def _commit(self) -> Commit:
        entities: dict[str, bytes | None] = {}
        for sku in SKUS:
            entities["p:" + sku] = pack(Product(8_000, 5, DROPPED if sku != SKUS[0] else {}))
            entities |= {f"c:{sku}{who}": pack(Profile(f"{sku}{who}")) for who in "ab"}
            entities[f"c:{sku}t"] = pack(Profile(f"{sku}t", parted=NOW, held=[_held(sku)]))
            entities[f"u:{sku}t"] = pack([Part([], NOW, Profile(f"{sku}t"))])
        interest = Interest({sku: {f"{sku}a": NOW, f"{sku}b": NOW - 1} for sku in SKUS}, 0, NOW)
        timers: dict[str, int | None] = {f"{sku}t": NOW + number for number, sku in enumerate(SKUS)}
        return Commit(0, None, 1, b"", entities, timers, {}, [], interest)


def _held(sku: str) -> Held:
    """A message about a product, until its customer's timer fires."""
    return Held(sku, sku, NOW, NOW, "quiet_hours", "cheaper", f"{sku}-held", str(NOW), "t", NOW)


@pytest.fixture
def world(redis_server: str) -> Iterator[_World]:
    world = _World(redis_server)
    with world.client:
        yield world
        world.client.delete(*world.client.scan_iter(f"{{{world.config.prefix}*"))


def test_a_batch_of_steps_and_ticks_takes_as_many_round_trips_as_one_of_each(world: _World) -> None:
    shard, loader = world.shard, world.loader
    signal, steps = Signal(NOW, SKUS[0], 8_000, 5, DROPPED), [Step(NOW, sku, DROPPED) for sku in SKUS[1:]]
    records = [signal, *steps, *[Tick(NOW, NOW + at) for at in range(9)]]
    loader.load({0: shard}, {0: [Entry(number, record, b"") for number, record in enumerate(records)]})
    assert world.trips == ["MGET", "ZRANGE", "ZRANGE", "MGET", "MGET"]
    assert loader.missed == 0, "whoever was not named by a record was not missed"
    for sku, step in zip(SKUS, [world.engage.signals.begin(shard, signal), *steps], strict=True):
        assert step is not None
        loader.interest(shard, sku)
        page = world.engage.signals.page(shard, step)
        assert [customer for _, customer in page] == [sku + "a", sku + "b"]
        loader.told(shard, [customer for _, customer in page])
    due = shard.timers.due(NOW + 8, 500)
    assert due == [f"{sku}t" for sku in SKUS[:9]]
    loader.woken(shard, due)
    assert len(world.trips) == 5, "all of it was there"
    assert set(shard.profiles) == {*due, *[sku + who for sku in SKUS for who in "ab"]}
    assert {f"{sku}-held" for sku in SKUS[:9]} < set(shard.products)
    assert set(shard.parts) == set(due) == {name for name, known in shard.examples.items() if known == []}


def test_what_could_not_be_seen_before_is_fetched_when_it_is_asked_for(world: _World) -> None:
    shard, loader = world.shard, world.loader
    loader.load({0: shard}, {0: [Entry(0, Signal(NOW, SKUS[1], 8_000, 5, DROPPED), b"")]})
    assert not shard.interested, "a product that has woken nothing new interests nobody"
    world.engage.signals.begin(shard, Signal(NOW, SKUS[1], 11_000, 5, {}))
    step = world.engage.signals.begin(shard, Signal(NOW, SKUS[1], 8_000, 5, DROPPED))
    assert step is not None
    loader.interest(shard, SKUS[1])
    loader.told(shard, [customer for _, customer in world.engage.signals.page(shard, step)])
    assert set(shard.profiles) == {SKUS[1] + "a", SKUS[1] + "b"}
    assert world.trips == ["MGET", "ZRANGE", "MGET"]


def test_one_whose_profile_was_changed_in_memory_is_not_read_again(world: _World) -> None:
    shard, customer = world.shard, SKUS[0] + "a"
    shard.profile(customer).units = 7
    world.loader.load({0: shard}, {0: [Entry(0, Step(NOW, SKUS[0], DROPPED), b"")]})
    assert shard.profiles[customer].units == 7
    shard.forget(customer)
    world.loader.told(shard, [customer])
    assert customer not in shard.profiles


def test_who_is_not_there_is_asked_for_once(world: _World) -> None:
    shard, loader = world.shard, world.loader
    world.client.delete(world.store.key(0, f"c:{SKUS[1]}a"), world.store.key(0, f"u:{SKUS[1]}t"))
    world.trips.clear()
    loader.load({0: shard}, {0: [Entry(0, Step(NOW, SKUS[1], DROPPED), b""), Entry(1, Tick(NOW, NOW + 1), b"")]})
    before = len(world.trips)
    loader.told(shard, [f"{SKUS[1]}a", f"{SKUS[1]}b"])
    loader.woken(shard, [f"{SKUS[1]}t"])
    assert len(world.trips) == before
    shard.settle(0)
    assert shard.unread([f"{SKUS[1]}a"]) == [f"{SKUS[1]}a"], "the next batch may find what others have written"


def test_the_index_is_read_anew_after_a_commit(world: _World) -> None:
    shard, loader, step = world.shard, world.loader, Step(NOW, SKUS[2], DROPPED)
    loader.load({0: shard}, {0: [Entry(0, step, b"")]})
    shard.settle(1_000_000)
    interest = Interest({SKUS[2]: {"new": NOW + 1}}, 0, NOW)
    world.store.commit([Commit(0, 1, 2, b"", {}, {}, {}, [], interest)], "me", 0)
    loader.load({0: shard}, {0: [Entry(0, step, b"")]})
    assert next(customer for _, customer in world.engage.signals.page(shard, step)) == "new"


def test_what_is_read_ahead_is_bounded(world: _World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "STEPS_AHEAD", 5)
    monkeypatch.setattr(loading, "CUSTOMERS_AHEAD", 7)
    entries = [Entry(number, Step(NOW, sku, DROPPED), b"") for number, sku in enumerate(SKUS)]
    world.loader.load({0: world.shard}, {0: entries})
    assert set(world.shard.interested) == set(SKUS[:5])
    assert set(world.shard.profiles) == {sku + who for sku in SKUS[:4] for who in "ab"} - {SKUS[3] + "b"}


def test_examples_of_who_may_have_to_part_with_some_are_there(world: _World) -> None:
    shard, example = world.shard, OpenExample(NOW, [1.0], "v", 0.5, "churn", "a")
    left = Change(NOW, "id", "moved", "b", 2, NOW)
    known = {f"c:{each.customer}": pack(each) for each in (Profile("a", leaving=[(0, left)]), Profile("b"))}
    entities: dict[str, bytes | None] = {**known, "x:a": pack([example]), "x:b": pack([example])}
    world.store.commit([Commit(0, 1, 2, b"", entities, {}, {}, [])], "me", 0)
    seen = [Gist(NOW, each, "", NOW, NOW, "Product Viewed", "web") for each in "ab"]
    world.loader.load({0: shard}, {0: [Entry(number, record, b"") for number, record in enumerate(seen)]})
    assert shard.examples == {"a": [example]}, "nobody else's are read for a touchpoint"
