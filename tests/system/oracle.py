"""The oracle: reads topics and Redis when a deployment has come to rest, and says whether the promises held.

* every input record is in ``stitched`` once, or a dead letter with its original bytes once; the account closes
* the partition of identifiers in Redis is, where the policy is union, plain union-find over all input, each customer
  named after its oldest identifier, and every id that was ever used resolves to the customer that holds its
  identifiers now; under another policy it is the pure function of all input, and each profile knows just the
  identifiers it holds
* whoever folds ``identity.changes`` alone comes to the same customers and aliases (`tests.system.changes`), and no
  customer's orders are lost or counted twice on the way
* a single-threaded replay of ``stitched`` gives the outputs and the state, by content (`tests.system.replay`)
* caps, quiet hours, holdouts and consent hold, judged from triggers and input alone (`tests.system.promises`)
"""

from __future__ import annotations

import gc
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import Any
from uuid import UUID, uuid5

import msgspec
import redis

from operators.clusters import lives_in
from operators.evidence import Evidence, facts_of, join
from operators.junk import Junk
from operators.kafka import group_id
from operators.normalise import normalise
from operators.partition import partition
from operators.reading import NOBODY, Reader
from operators.succession import MAX_HOPS
from operators.transactions import CLOUD_EVENT
from schemas import stitched
from schemas.config import Config
from schemas.outputs import DeadLetter
from schemas.plays import PlayFile
from schemas.stitched import Change, Event
from schemas.topics import DEAD_LETTERS, STITCHED, topic_name
from state.identity import Cluster
from state.profile import Profile
from state.tokens import Tokens
from state.vault import DeadLetterBox
from tests.messages import Message
from tests.system.changes import check_changes
from tests.system.feed import EXPECT
from tests.system.pipeline import PLAYS
from tests.system.promises import check_promises, check_segments
from tests.system.reading import Read, Topic, committed, scan
from tests.system.replay import Replay, differences

CUSTOMERS = UUID("5f3b6c1e-8d0a-5b7e-9c44-2f6d1a7e0b93")


@dataclass
class Verdict:
    """``faults`` is empty when all promises held; ``figures`` says what was judged."""

    faults: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def judge(config: Config, client: redis.Redis, plays: PlayFile = PLAYS) -> Verdict:
    """Judge a deployment that has been drained, in which ``plays`` were in force."""
    gc.disable()  # of millions of touchpoints there is much to look through, and nothing to be found
    try:
        return _judge(config, client, plays)
    finally:
        gc.enable()


def _judge(config: Config, client: redis.Redis, plays: PlayFile) -> Verdict:
    inputs = Inputs(config)
    replay = Replay(config, client, Topic(config, topic_name(config, STITCHED)))
    people = Union(config, inputs.good())
    if config.identity.rules != "union":
        people.divide(config, inputs.good())
    verdict = Verdict()
    verdict.faults += _check_positions(inputs, replay)
    verdict.faults += _check_dead(config, inputs.bad)
    verdict.faults += _check_account(config, replay, inputs)
    verdict.faults += _check_partition(people, config, client, replay)
    verdict.faults += _check_aliases(people, replay)
    verdict.faults += _check_orders(config, inputs, replay)
    named = {record.customer for record in _events(replay) if record.ids}
    faults, kinds = check_changes(config, client, people.customer, named)
    verdict.faults += faults
    verdict.faults += replay.check()
    triggers = [json.loads(value or b"{}") for _, value in replay.outputs(topic_name(config, "triggers")).elements()]
    verdict.faults += _check_headers(config)
    verdict.faults += check_segments(config, [each for shard in replay.shards for each in shard.profiles.values()])
    returned = {each.customer for shard in replay.shards for each in shard.profiles.values() if each.lives}
    verdict.figures = {**_figures(inputs, replay, people, triggers), "changes": kinds}
    del replay  # what follows judges from what went in and what came out alone, and of millions both are large
    verdict.faults += check_promises(
        config, inputs.good(), people.token_of, people.customer, triggers, people.divided, returned, plays
    )
    return verdict


class Inputs:
    """All that was sent. ``count``: of how many records; ``bad``: those that are none to be stitched."""

    def __init__(self, config: Config) -> None:
        self._topics = [Topic(config, topic_name(config, name)) for name in config.topics.sources]
        self.count, self.bad = 0, list[Read]()
        for read in self._all():
            self.count += 1
            if not _is_good(read):
                self.bad.append(read)

    def good(self) -> Iterator[Read]:
        """The touchpoints, read from the topic each time: there may be millions."""
        return filter(_is_good, self._all())

    def _all(self) -> Iterator[Read]:
        return chain.from_iterable(self._topics)


def _is_good(read: Read) -> bool:
    return (EXPECT, b"good") in read.headers


def _check_headers(config: Config) -> list[str]:
    """Triggers say that they are CloudEvents."""
    published = Topic(config, topic_name(config, "triggers"))
    return [f"trigger {read.key!r} has headers {read.headers}" for read in published if read.headers != CLOUD_EVENT]


class Union:
    """Who is who by plain union-find over all good input. Tokens are texts."""

    def __init__(self, config: Config, good: Iterable[Read]) -> None:
        self._key = bytes.fromhex(config.keys.index)
        self._country = config.identity.default_country
        self._junk = Junk(config.identity.blocked)
        self._parent: dict[str, str] = {}
        self.first: dict[str, int] = {}
        for read in good:
            event = json.loads(read.value or b"{}")
            if event["type"] not in ("Stock Changed", "Price Changed"):
                self._see(list(self.tokens(event)), event["time"])
        members: defaultdict[str, list[str]] = defaultdict(list)
        for token in self._parent:
            members[self._root(token)].append(token)
        self.groups = [frozenset(group) for group in members.values()]
        #: Customers who are only some of what is connected.
        self.divided: set[str] = set()
        self.customer = {
            token: str(uuid5(CUSTOMERS, min(group, key=self._age))) for group in self.groups for token in group
        }

    def divide(self, config: Config, good: Iterable[Read]) -> None:
        """What is connected is not always one person: let the pure function, over all input, say who is who."""
        reader = Reader(config, Tokens(self._key))
        evidence: Evidence = {}
        for read in good:
            touch = reader.read(Message(read.offset, read.value, read.partition, read.ts), "")
            if touch.person is not NOBODY:
                join(
                    evidence,
                    facts_of(touch.person.sighting(touch.time, touch.time), reader.rules),
                )
        self.customer = {_text(token): name for token, name in partition(evidence, reader.rules).customers.items()}
        members: defaultdict[str, list[str]] = defaultdict(list)
        for token, customer in self.customer.items():
            members[customer].append(token)
        groups = [frozenset(group) for group in members.values()]
        self.divided = {self.customer[next(iter(group))] for group in groups if group not in self.groups}
        self.groups = groups

    def tokens(self, event: dict[str, Any]) -> Iterator[str]:
        """The tokens of an event's usable identifiers."""
        for each in event["identifiers"]:
            ns = each["ns"].strip().lower()
            value = normalise(ns, each["value"], self._country)
            if value is not None and not self._junk(ns, value):
                digest = blake2b(f"{ns}:{value}".encode(), key=self._key, digest_size=16).digest()
                yield f"{ns}:{urlsafe_b64encode(digest).decode().rstrip('=')}"

    def token_of(self, event: dict[str, Any]) -> str:
        """One token of an event; ``product:SKU`` for a product's."""
        return next(self.tokens(event), f"product:{event['data'].get('sku')}")

    def _see(self, tokens: list[str], time: int) -> None:
        for token in tokens:
            self._parent.setdefault(token, token)
            self.first[token] = min(time, self.first.get(token, time))
            self._parent[self._root(token)] = self._root(tokens[0])

    def _root(self, token: str) -> str:
        while self._parent[token] != token:
            token = self._parent[token]
        return token

    def _age(self, token: str) -> tuple[int, bytes]:
        ns, _, text = token.rpartition(":")
        return self.first[token], ns.encode() + b":" + _unbase64(text)


def _check_positions(inputs: Inputs, replay: Replay) -> list[str]:
    """(a) Every valid input once in ``stitched``."""
    actual = Counter(record.src for record in _events(replay) if not record.hops)
    expected = Counter(f"{read.topic}/{read.partition}/{read.offset}" for read in inputs.good())
    return differences("touchpoints in stitched", expected, actual)


def _check_dead(config: Config, bad: list[Read]) -> list[str]:
    """(a) Every invalid input once among the dead letters, with its original bytes."""
    box = DeadLetterBox(bytes.fromhex(config.keys.dead_letters))
    expected = Counter((read.topic, read.partition, read.offset, read.key, read.value) for read in bad)
    actual: Counter[Any] = Counter()
    for read in Topic(config, topic_name(config, DEAD_LETTERS)):
        original = box.open(msgspec.json.decode(read.value or b"", type=DeadLetter).sealed)
        actual[original.topic, original.partition, original.offset, original.key, original.value] += 1
    return differences("dead letters", expected, actual)


def _check_account(config: Config, replay: Replay, inputs: Inputs) -> list[str]:
    """Consumed = applied + duplicates + erased + dead, each as the deployment itself counted it."""
    counted: Counter[str] = Counter()
    for name in config.topics.sources:
        topic = topic_name(config, name)
        for each in committed(config, group_id(config, "stitch"), topic, config.topics.source_partitions).values():
            if each.metadata and each.metadata.startswith("{"):
                counted.update(json.loads(each.metadata))
    total = sum((Counter(shard.counters) for shard in replay.shards), Counter())
    done = total["applied"] + total["duplicates"] + total["erased"]
    faults = []
    consumed, dead = inputs.count, len(inputs.bad)
    for name, value in (("consumed", consumed), ("dead", dead)):
        if counted[name] != value:
            faults.append(f"account: {name} is {counted[name]}, expected {value}")
    if done != consumed - dead:
        faults.append(f"account: {done} applied, duplicates and erased, expected {consumed - dead}")
    if total["park_timeouts"]:
        faults.append(f"{total['park_timeouts']} merged customers went on without their hand-over")
    return faults


def _check_partition(people: Union, config: Config, client: redis.Redis, replay: Replay) -> list[str]:
    """(b) The partition and its names, that each identifier's place says the same as its cluster, and that whatever is
    pending has been told: it stays so where another process wrote in between, until somebody is seen there again."""
    held = scan(client, f"{{{config.prefix}.i}}")
    told = {change.id for change in _changes(replay)}
    places: dict[bytes, tuple[bytes, str]] = {}
    actual: dict[bytes, tuple[bytes, str]] = {}
    for key, value in held.items():
        if key.startswith(b"@"):
            cluster = msgspec.msgpack.decode(value[12:], type=Cluster)
            owners = cluster.partition().items()
            actual.update((token, (key[1:], customer)) for token, customer in owners if lives_in(cluster, token))
            if any(change.id not in told for change in cluster.pending):
                places[key] = (key, "changes that are still pending")
        else:
            places[key] = (value[:8], str(UUID(bytes=value[8:24])))
    faults = differences("places of identifiers", Counter(actual.items()), Counter(places.items()))
    found = Counter((_text(token), customer) for token, (_, customer) in actual.items())
    return faults + differences("identity", Counter(people.customer.items()), found)


def _check_aliases(people: Union, replay: Replay) -> list[str]:
    """Every customer id in the log leads to who holds its identifiers now, and that profile knows them all."""
    profiles = {customer: each for shard in replay.shards for customer, each in shard.profiles.items()}
    astray = Counter(
        f"{record.customer} of {record.ids[0]}"
        for record in _events(replay)
        if record.ids
        and _current(profiles, record.customer) != people.customer[record.ids[0]]
        # An identifier that has moved since leaves its touchpoints behind.
        and people.customer[record.ids[0]] not in people.divided
    )
    faults = differences("customers that do not resolve to the current one", Counter(), astray)
    for group in people.groups:
        profile = profiles.get(people.customer[next(iter(group))])
        if profile is None or profile.alias or frozenset(profile.ids) != group:
            known = profile and (profile.customer, profile.alias, profile.ids)
            faults.append(f"profile of {sorted(group)} knows {known}")
    return faults


def _check_orders(config: Config, inputs: Inputs, replay: Replay) -> list[str]:
    """No state is lost or doubled in merges: the orders that all profiles know are those that were applied. These are
    all that were sent; one sent twice counts twice only if its customers were two at the time."""
    known = sum(each.behaviour.orders for shard in replay.shards for each in shard.profiles.values())
    scores = (json.loads(value or b"{}") for _, value in replay.outputs(topic_name(config, "scores")).elements())
    applied = sum(score.get("at_purchase", False) for score in scores)
    events = (json.loads(read.value or b"{}") for read in inputs.good())
    sent = [event["id"] for event in events if event["type"] == "Order Completed"]
    if known == applied and len(set(sent)) <= applied <= len(sent):
        return []
    return [f"profiles know {known} orders, {applied} were applied, {len(set(sent))} to {len(sent)} sent"]


def _current(profiles: dict[str, Profile], customer: str) -> str:
    for _ in range(10 * MAX_HOPS):
        profile = profiles.get(customer)
        if profile is None or not profile.alias:
            return customer
        customer = profile.alias
    return "a circle"


def _events(replay: Replay) -> Iterator[Event]:
    for read in replay.log:
        record = stitched.decode(read.value or b"")
        if isinstance(record, Event):
            yield record


def _changes(replay: Replay) -> Iterator[Change]:
    for read in replay.log:
        record = stitched.decode(read.value or b"")
        if isinstance(record, Change):
            yield record


def _figures(inputs: Inputs, replay: Replay, people: Union, triggers: list[dict[str, Any]]) -> dict[str, Any]:
    total: Counter[str] = sum((Counter(shard.counters) for shard in replay.shards), Counter())
    kept = ("applied", "duplicates", "erased", "forwarded", "absorbed", "identity_merged", "activations")
    return {
        "consumed": inputs.count,
        "dead": len(inputs.bad),
        **{name: total[name] for name in kept},
        "customers": len(people.groups),
        "records": replay.records,
        "triggers": dict(Counter(each["data"]["play"] for each in triggers)),
    }


def _text(token: bytes) -> str:
    return f"{token[:-17].decode()}:{urlsafe_b64encode(token[-16:]).decode().rstrip('=')}"


def _unbase64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
