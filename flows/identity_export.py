"""Everything a deployment holds about one person, as JSON: the right of access."""

from __future__ import annotations

from typing import Any

import msgspec
import redis

from flows.identity_lookup import Lookup
from flows.identity_show import Shown, show
from flows.reading import read
from operators.clusters import heir
from schemas import stitched
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.stitched import Event, shard_of
from schemas.topics import STITCHED, topic_name
from state.identity import Cluster
from state.profile import OpenExample, Part, Profile, unpack_examples, unpack_parts
from state.shards import ShardStore
from state.vault import DataKey, SealError, Vault


class Export(msgspec.Struct, kw_only=True):
    """``identity``: identifiers as hashes, and why they are one person's. ``contacts``: the values that triggers
    carry, by namespace. ``profile``, ``open_examples`` (learning not yet done) and ``parts`` (of which merges can be
    undone) as stored. ``touchpoints``: those still in the log, with their personal fields, if asked for."""

    customer: str
    identity: Shown
    contacts: dict[str, str]
    profile: dict[str, Any]
    open_examples: list[OpenExample]
    parts: list[dict[str, Any]]
    touchpoints: list[dict[str, Any]] | None = None


def export(config: Config, client: redis.Redis, identifier: str, *, history: bool) -> Export:
    """What is held about whom ``identifier`` (or customer id) means. ``history``: read the log for touchpoints, too.
    Raises `TouchstreamError`."""
    lookup = Lookup(config, client)
    _, held = lookup.seen(identifier)
    shown = show(config, client, identifier)
    profile = lookup.own(shown.customer)
    keys = Keys(config, held.cluster, profile.customer)
    examples, parts = _beside(config, client, profile)
    return Export(
        customer=profile.customer,
        identity=shown,
        contacts={ns: keys.open(known.kid, known.sealed) for ns, known in profile.contacts.items()},
        profile=_spelt(profile),
        open_examples=examples,
        parts=[{"ids": part.ids, "until": part.until, "profile": _spelt(part.profile)} for part in parts],
        touchpoints=list(_touchpoints(config, keys)) if history else None,
    )


class Keys:
    """The data keys of a customer and of those who were merged into it."""

    def __init__(self, config: Config, cluster: Cluster, customer: str) -> None:
        vault = Vault(config.keys.master)
        self.customers = {name for name in cluster.keys if heir(name, cluster.keys) == customer} | {customer}
        self._keys: dict[str, DataKey] = {}
        for name in self.customers & cluster.keys.keys():
            key = cluster.keys[name]
            self._keys[key.kid] = vault.data_key(key.wrapped, name, key.kid)

    def open(self, kid: str, sealed: str) -> str:
        """A sealed value in the clear; says so where the key is not this customer's."""
        try:
            return self._keys[kid].open(sealed).decode() if kid in self._keys else "(sealed under another's key)"
        except SealError as error:
            raise TouchstreamError(str(error)) from error


def _beside(config: Config, client: redis.Redis, profile: Profile) -> tuple[list[OpenExample], list[Part]]:
    shard = shard_of(profile.customer, config.topics.shards)
    suffixes = ["x:" + profile.customer, "u:" + profile.customer]
    examples, parts = ShardStore(client, config.prefix).load({shard: suffixes})[shard]
    return unpack_examples(examples) if examples else [], unpack_parts(parts) if parts else []


def _spelt(profile: Profile) -> dict[str, Any]:
    """A profile with the names of its fields, short of what waits and of the sealed contacts."""
    hidden = ("parked", "contacts", "seen")
    return {name: _named(value) for name, value in msgspec.structs.asdict(profile).items() if name not in hidden}


def _named(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return {name: _named(each) for name, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list) else value


def _touchpoints(config: Config, keys: Keys) -> Any:
    """Those in the log, of any name the customer has had, with what was sealed."""
    for batch in read(config, topic_name(config, STITCHED), start=0, follow=False):
        for message in batch:
            raw = message.value() or b""
            record = stitched.decode(raw)
            if isinstance(record, Event) and record.customer in keys.customers and not record.hops:
                said = msgspec.json.decode(raw)
                if record.kid and record.sealed:
                    opened = keys.open(record.kid, said.pop("sealed"))
                    said["personal"] = msgspec.json.decode(opened) if opened.startswith("{") else opened
                yield said
