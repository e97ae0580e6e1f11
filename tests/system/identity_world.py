"""A deployment of the stitch core on a real Valkey, short of Kafka, and what its processes wrote."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec
import redis

from operators.clusters import lives_in
from operators.evidence import Evidence, facts_of, join
from operators.partition import partition
from operators.reading import Reader
from operators.rules import Rules
from operators.stitching import Batch, Stitcher
from schemas import stitched
from schemas.commands import Command, Op
from schemas.config import Config, Identity, Keys, Topics
from schemas.stitched import Change, Event, shard_of
from schemas.topics import COMMANDS, topic_name
from state.identity import NO_CUSTOMER, IdentityStore
from state.tokens import Tokens, token_text
from state.vault import Vault
from tests.messages import START, TOPIC, Message

KEYS = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
TOKENS = Tokens(bytes.fromhex(KEYS.index))
NOW = START + 60_000
UNION = Identity(rules="union")


class World:
    """A deployment on the session's Valkey and what its processes wrote."""

    def __init__(self, client: redis.Redis, **sections: Any) -> None:
        self.redis = client
        sections.setdefault("identity", UNION)
        self.config = Config(keys=KEYS, prefix=f"t{secrets.token_hex(4)}", topics=Topics(shards=4), **sections)
        self.now = NOW
        self.log: list[Any] = []
        self.keys: dict[str, bytes] = {}
        self.dead: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []

    def process(self, *partitions: int) -> Stitcher:
        """A process that has taken the partitions over."""
        stitcher = Stitcher(self.config, IdentityStore(self.redis, self.config.prefix), lambda: self.now)
        stitcher.positions.take([(TOPIC, each) for each in partitions or (0,)])
        return stitcher

    def publish(self, batch: Batch) -> None:
        """What the shell does with a batch, short of Kafka."""
        for out in batch.outgoing:
            kind = out.topic.removeprefix(f"{self.config.prefix}.")
            if out.value is None:
                assert kind == "data-keys"
                self.keys.pop((out.key or b"").decode(), None)
            elif kind == "stitched":
                record = stitched.decode(out.value)
                assert isinstance(record, Event | Change)
                assert out.key == record.customer.encode()
                assert out.partition == shard_of(record.customer, 4)
                self.log.append(record)
            elif kind == "data-keys":
                self.keys[(out.key or b"").decode()] = out.value
            elif kind == "audit":
                self.audit.append(json.loads(out.value))
            else:
                assert kind == "dead-letters"
                self.dead.append(json.loads(out.value))

    def run(self, stitcher: Stitcher, *messages: Message, **options: Any) -> Batch:
        """Stitch a batch and publish it."""
        batch = stitcher.stitch(messages, options.get("committed", {}), options.get("ends", {}))
        self.publish(batch)
        stitcher.published(batch)
        return batch

    def events(self) -> list[Event]:
        return [record for record in self.log if isinstance(record, Event)]

    def changes(self) -> list[Change]:
        return [record for record in self.log if isinstance(record, Change)]

    def stored(self) -> tuple[dict[bytes, str], list[Any]]:
        """The partition as it stands in Redis, and its clusters; both indexes must agree."""
        store = IdentityStore(self.redis, self.config.prefix)
        tag = f"{{{self.config.prefix}.i}}"
        names = [key[len(tag) :] for key in self.redis.scan_iter(f"{tag}*", count=1_000)]
        tokens = [name for name in names if name != b"sources" and name[:1] != b"@"]
        places = store.places(tokens)
        clusters = store.clusters([name[1:] for name in names if name[:1] == b"@"])
        assert set(places.values()) == set(clusters), "no cluster without identifiers, none missing"
        found = {
            token: customer
            for token, place in places.items()
            if (customer := clusters[place].cluster.partition().get(token)) is not None
        }
        for held in clusters.values():
            known = {each: found[each] for each in held.cluster.ids if each in found}
            assert held.cluster.partition() == known
            for token in held.cluster.ids:
                if lives_in(held.cluster, token):
                    place = store.place(held.id, known.get(token, NO_CUSTOMER))
                    assert self.redis.get(store.identifier_key(token)) == place
        return found, [held.cluster for held in clusters.values()]

    def open(self, record: Event) -> dict[str, Any]:
        """The personal fields of a touchpoint."""
        assert record.kid is not None
        assert record.sealed is not None
        key = Vault(KEYS.master).data_key(self.keys[record.kid], record.customer, record.kid)
        opened: dict[str, Any] = json.loads(key.open(record.sealed))
        return opened


def token(text: str) -> bytes:
    ns, _, value = text.partition(":")
    return TOKENS.identifier(ns, value)


def command(world: World, op: Op, *named: str, time: int = START + 3_600_000, offset: int = 0) -> Message:
    """What an operator says, as it stands on the topic of commands; an hour after the first event unless told."""
    ids = [token_text(token(each)) for each in named]
    said = Command(id=str(uuid4()), op=op, ids=ids, time=time, by="ops", reason="ticket 7")
    return Message(offset, msgspec.json.encode(said), source=topic_name(world.config, COMMANDS))


def evidence_of(messages: Sequence[Message], identity: Identity) -> tuple[Evidence, Rules]:
    """The evidence of all input, whatever was stored."""
    reader = Reader(Config(keys=KEYS, identity=identity), TOKENS)
    evidence: Evidence = {}
    for each in messages:
        touch = reader.read(each, "t/0")
        join(evidence, facts_of(touch.person.sighting(touch.time, touch.time), reader.rules))
    return evidence, reader.rules


def pure(messages: Sequence[Message], identity: Identity = UNION) -> dict[bytes, str]:
    """The partition as the pure function sees it, over all input."""
    return partition(*evidence_of(messages, identity)).customers


def folded(changes: list[Change]) -> dict[str, str]:
    """Who holds each identifier, from the changes alone: what engage and everybody downstream see. Changes may be told
    again, also after later ones, so each counts once; of what moved the copy of who got it."""
    owner: dict[str, str] = {}
    known: set[str] = set()
    for change in changes:
        if change.id in known:
            continue
        known.add(change.id)
        if change.kind == "merged" and change.new:
            owner = {token: change.new if holder == change.old else holder for token, holder in owner.items()}
        elif change.kind in ("erased", "expired"):
            owner = {token: holder for token, holder in owner.items() if holder != change.customer}
        elif change.kind != "refused":
            owner |= dict.fromkeys(change.ids, change.new or change.customer)
    return owner


def snapshot(world: World) -> dict[bytes, bytes]:
    return {key: world.redis.dump(key) for key in world.redis.scan_iter(f"{{{world.config.prefix}.i}}*")}  # type: ignore[misc]


def restore(world: World, held: dict[bytes, bytes]) -> None:
    for key in world.redis.scan_iter(f"{{{world.config.prefix}.i}}*"):
        world.redis.delete(key)
    for key, value in held.items():
        world.redis.restore(key, 0, value)
