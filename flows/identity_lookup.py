"""Whom an operator means: by an identifier as people write it, or by a customer id, old or new."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import redis

from flows.tail import clock
from operators.reading import Reader
from operators.succession import MAX_HOPS
from schemas.config import Config
from schemas.errors import NoCustomer, TouchstreamError
from schemas.stitched import shard_of
from state.identity import Held, IdentityStore
from state.profile import Profile, unpack
from state.shards import ShardStore
from state.tokens import Tokens, read_token


class Meant(NamedTuple):
    """An identifier: its token, how the operator wrote it, and its cluster, None if it was never seen; the customer's
    profile, where that had to be read."""

    token: bytes
    text: str
    held: Held | None
    profile: Profile | None = None


class Lookup:
    """Finds people in one deployment. Raises `NoCustomer` for what identifies nobody. To be shared by threads."""

    def __init__(self, config: Config, client: redis.Redis) -> None:
        self._config = config
        self._reader = Reader(config, Tokens(bytes.fromhex(config.keys.index)))
        self._identity = IdentityStore(client, config.prefix)
        self._shards = ShardStore(client, config.prefix)
        self.rules = self._reader.rules

    def meant(self, text: str) -> Meant:
        """The identifier ``namespace:value``; for a customer id one of that customer's."""
        return self._of_customer(text) if _is_id(text) else self._of_value(text)

    def seen(self, text: str) -> tuple[Meant, Held]:
        """As `meant`, of one that has been seen."""
        found = self.meant(text)
        if found.held is None:
            raise NoCustomer(f"{text!r} has never been seen in this deployment (prefix {self._config.prefix})")
        return found, found.held

    def own(self, customer: str) -> Profile:
        """What is remembered under this very id, which identity gives somebody now. Nothing while it still leads to
        whom it was split from: that is another's, and the flows have not caught up."""
        profile = self._remembered(customer)
        return profile if profile is not None and not profile.alias else Profile(customer)

    def profile(self, customer: str) -> Profile | None:
        """What is remembered of a customer, whatever its name is now; None if nothing is."""
        for _ in range(MAX_HOPS):
            profile = self._remembered(customer)
            if profile is None or not profile.alias:
                return profile
            customer = profile.alias
        raise TouchstreamError(f"{customer}: more than {MAX_HOPS} aliases; the flows have not caught up")

    def _remembered(self, customer: str) -> Profile | None:
        shard = shard_of(customer, self._config.topics.shards)
        (packed,) = self._shards.load({shard: ["c:" + customer]})[shard]
        return unpack(packed) if packed is not None else None

    def _of_value(self, text: str) -> Meant:
        name, _, value = text.partition(":")
        known = self._reader.identifier(name, value)
        if known is None:
            raise NoCustomer(f"{text!r} identifies nobody: junk, blocked, or not namespace:value")
        return Meant(known.token, f"{known.ns}:{value} (asked for)", self._held(known.token))

    def _of_customer(self, text: str) -> Meant:
        profile = self.profile(text)
        if profile is None:
            raise NoCustomer(f"no customer {text!r} in this deployment (prefix {self._config.prefix})")
        if profile.erased:
            raise NoCustomer(f"customer {text!r} was erased (up to {clock(profile.erased)})", erased=True)
        for token in map(read_token, profile.ids):
            held = self._held(token)
            if held is not None and held.cluster.partition().get(token) == profile.customer:
                return Meant(token, "(asked for)", held, profile)
        raise NoCustomer(f"customer {text!r} has no identifier any more; the flows may not have caught up")

    def _held(self, token: bytes) -> Held | None:
        place = self._identity.places([token]).get(token)
        return self._identity.clusters([place]).get(place) if place else None


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
