"""Churn models in a running deployment: what is in force, what learns beside it, and the words of operators about it.

What learns stands in the learn flow's state; versions stand in Redis and on the compacted topic ``models`` under their
hash. An operator's word is a record without a key on ``churn.examples``: the learn flow obeys it where it stands among
the examples, and writes what follows to every shard's log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import redis

from flows.identity_commands import now
from flows.plays_control import LOOK, publish
from flows.reading import read
from operators import quality
from operators.churn import Content, Model, content_hash
from operators.contest import SERVED, Standing, standing_of
from operators.learning import progress_of
from operators.shard import state_of
from operators.training import FLOW, activations, suffix
from schemas import stitched
from schemas.config import Config
from schemas.errors import TouchstreamError
from schemas.stitched import Control
from schemas.topics import MODELS, topic_name
from state.contents import ContentStore
from state.shards import Output, ShardStore

_contents = msgspec.json.Decoder(Content)


class Version(msgspec.Struct, frozen=True):
    """A published model."""

    hash: str
    content: Content


def standings(config: Config, client: redis.Redis) -> dict[str, Standing]:
    """What the learn flow has committed, by model key. Raises `redis.RedisError`."""
    store = ShardStore(client, config.prefix, FLOW)
    keys = progress_of(store.read([0])[0].state).keys
    packed = store.load({0: [suffix(key) for key in keys]}).get(0, [])
    return {key: standing_of(raw) for key, raw in zip(keys, packed, strict=True) if raw is not None}


def in_force(config: Config, client: redis.Redis) -> dict[str, dict[str, int]]:
    """By model key the versions in force, and in how many shards each is. Raises `redis.RedisError`."""
    found: dict[str, Counter[str]] = {}
    for stored in ShardStore(client, config.prefix).read(range(config.topics.shards)):
        for key, version in state_of(stored.state).models.items():
            found.setdefault(key, Counter())[version] += 1
    return {key: dict(versions) for key, versions in found.items()}


def version(config: Config, client: redis.Redis, hash: str) -> Version:
    """A version that was published. Raises `MissingContent`, `redis.RedisError`."""
    return Version(hash, _contents.decode(ContentStore(client, config.prefix, MODELS).get(hash)))


def versions(config: Config) -> Iterator[Version]:
    """All that were ever published, the oldest first. Raises `TouchstreamError`."""
    for messages in read(config, topic_name(config, MODELS), start=0, follow=False):
        for message in messages:
            raw = message.value() or b""
            yield Version(content_hash(raw), _contents.decode(raw))


def promote(config: Config, client: redis.Redis, key: str, name: str) -> None:
    """Let a challenger take the champion's place. Raises `TouchstreamError`, `redis.RedisError`."""
    known = _known(config, client, key)
    if name == known.champion:
        raise TouchstreamError(f"{name} is the champion of {key} already")
    if name not in known.contenders:
        raise TouchstreamError(f"{key} has no contender {name!r}; there are: {', '.join(known.contenders)}")
    _say(config, Control(now(config, client), "promote", key, name))


def rollback(config: Config, client: redis.Redis, hash: str) -> str:
    """Go back to a version and stay there; the key that it is of. Every shard is told at once, the learn flow needs
    not run. Raises `MissingContent`, `TouchstreamError`, `redis.RedisError`."""
    raw = ContentStore(client, config.prefix, MODELS).get(hash)
    key, at = Model.from_bytes(raw).key, now(config, client)  # engage would stop at what it cannot serve
    _known(config, client, key)
    _say(config, Control(at, "hold", key, hash), activations(config, 0, key, hash, at))
    return key


def release(config: Config, client: redis.Redis, key: str) -> None:
    """Publish again what is learned. Raises `TouchstreamError`, `redis.RedisError`."""
    _known(config, client, key)
    _say(config, Control(now(config, client), "release", key))


def await_obeyed(
    config: Config, client: redis.Redis, key: str, obeyed: Callable[[Standing], bool], seconds: float
) -> bool:
    """Wait until the learn flow has come to an operator's word, at most ``seconds``; whether it has. Raises
    `redis.RedisError`."""
    deadline = time.monotonic() + seconds
    while not (done := obeyed(standings(config, client)[key])) and time.monotonic() < deadline:
        time.sleep(LOOK)
    return done


def rows(config: Config, client: redis.Redis) -> list[dict[str, Any]]:
    """Of each key who contends for it and how good each was lately; what was served is among them."""
    serving, found = in_force(config, client), []
    for key, known in standings(config, client).items():
        base = {"key": key, "learned": known.learned, "held": known.held or None, "in_force": serving.get(key, {})}
        for name, each in known.contenders.items():
            champion, duel = name == known.champion, each.duel
            compared = None
            if not champion and duel.blocks > 1:
                low, high = duel.interval()
                compared = {"difference": duel.mean, "low": low, "high": high}
            row = {**base, "by": name, "champion": champion, "restarts": each.restarts, "compared": compared}
            found.append({**row, "measures": quality.measures(each.quality)})
        found.append({**base, "by": SERVED, "champion": False, "measures": quality.measures(known.served)})
    return found


def _known(config: Config, client: redis.Redis, key: str) -> Standing:
    known = standings(config, client)
    if key not in known:
        raise TouchstreamError(f"nothing was learned of {key!r} yet; there are: {', '.join(known) or 'no models'}")
    return known[key]


def _say(config: Config, control: Control, beside: Sequence[Output] = ()) -> None:
    word = Output(0, topic_name(config, "churn.examples"), 0, None, stitched.encode(control))
    publish(config, "models", [word, *beside])
