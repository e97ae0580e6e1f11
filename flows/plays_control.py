"""Plays in a running deployment: put in force, paused and looked at, through control records in every shard's log.

Live and replay switch at the same point of the log, and all shards are written to in one transaction. What is put in
force stands in Redis and on the compacted topic ``plays`` under its hash, as long as the log may name it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import redis
from confluent_kafka import KafkaException

from flows.identity_commands import now
from operators.playbook import PlayBook
from operators.shard import state_of
from operators.transactions import Aborted, Transactions
from schemas import stitched
from schemas.config import Config, Section
from schemas.errors import TouchstreamError
from schemas.plays import PlayFile
from schemas.stitched import Control
from schemas.topics import PLAYS, STITCHED, topic_name
from state.connection import connect
from state.contents import ContentStore
from state.shards import Output, ShardStore

#: How often the shards are looked at (seconds).
LOOK = 0.05
_file = msgspec.json.Decoder(PlayFile)


class InForce(msgspec.Struct):
    """What holds in a deployment: shards by the version of their plays ("" before any), and by the play that is paused
    in them."""

    shards: int
    versions: dict[str, int]
    paused: dict[str, int]

    @property
    def version(self) -> str:
        """That of most shards; while a change is on its way some may have another."""
        return max(self.versions, key=lambda version: (self.versions[version], version))


def apply(config: Config, file: PlayFile) -> str:
    """Put plays in force; their version. Raises `ConfigError`, `TouchstreamError`, `redis.RedisError`."""
    book = PlayBook(file)
    client = connect(config)
    ContentStore(client, config.prefix, PLAYS).put(book.version, book.content)
    kept = Output(0, topic_name(config, PLAYS), -1, book.version.encode(), book.content)
    _write(config, [Control(now(config, client), "plays", "", book.version)], [kept])
    return book.version


def pause(config: Config, names: Sequence[str]) -> None:
    """Stop these plays at once, or all (`EVERY`). Raises as `apply` does."""
    at = now(config, connect(config))
    _write(config, [Control(at, "pause", name) for name in names])


def resume(config: Config, names: Sequence[str]) -> None:
    """Let these plays, or all (`EVERY`), speak again. Raises as `apply` does."""
    at = now(config, connect(config))
    _write(config, [Control(at, "resume", name) for name in names])


def await_reached(config: Config, client: redis.Redis, reached: Callable[[InForce], int], seconds: float) -> int:
    """Wait until engage has come to what ``reached`` counts in every shard, at most ``seconds``; in how many it has.
    Raises `redis.RedisError`."""
    deadline = time.monotonic() + seconds
    while (shards := reached(in_force(config, client))) < config.topics.shards and time.monotonic() < deadline:
        time.sleep(LOOK)
    return shards


def in_force(config: Config, client: redis.Redis) -> InForce:
    """What engage goes by, as it has committed it. Raises `redis.RedisError`."""
    stored = ShardStore(client, config.prefix).read(range(config.topics.shards))
    states = [state_of(each.state) for each in stored]
    paused = Counter(name for state in states for name in state.paused)
    return InForce(len(states), dict(Counter(state.plays for state in states)), dict(paused))


def content(config: Config, client: redis.Redis, version: str) -> PlayFile:
    """The plays of a version that was put in force. Raises `MissingContent`, `redis.RedisError`."""
    return _file.decode(ContentStore(client, config.prefix, PLAYS).get(version))


def differences(old: PlayFile, new: PlayFile) -> list[tuple[str, str]]:
    """What ``new`` would change, as ("added" | "removed" | "changed", what)."""
    found = [("changed", "limits")] if old.limits != new.limits else []
    found += _between("windows.", old.windows, new.windows)
    found += _between("segments.", old.segments, new.segments)
    return found + _between("", old.plays, new.plays)


def _between(path: str, old: Mapping[str, Section], new: Mapping[str, Section]) -> list[tuple[str, str]]:
    found = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            found.append(("added" if before is None else "removed", path + name))
        else:
            found += [("changed", f"{path}{name}.{field}") for field in _changed(before, after)]
    return found


def _changed(before: Section, after: Section) -> list[str]:
    return [field for field in before.__struct_fields__ if getattr(before, field) != getattr(after, field)]


def _write(config: Config, controls: Sequence[Control], kept: Sequence[Output] = ()) -> None:
    """Control records to every shard, all or none."""
    topic = topic_name(config, STITCHED)
    records = [stitched.encode(control) for control in controls]
    outputs = [Output(0, topic, shard, None, raw) for raw in records for shard in range(config.topics.shards)]
    publish(config, "plays", [*kept, *outputs])


def publish(config: Config, name: str, outputs: Sequence[Output]) -> None:
    """Write records, all or none, as the command ``name``. Raises `TouchstreamError`."""
    try:
        Transactions(config, name).publish([*outputs], [], None)
    except Aborted as error:
        raise TouchstreamError(f"Kafka did not take it in time: {error}; nothing was changed, try again") from None
    except KafkaException as error:
        raise TouchstreamError(f"Kafka did not take it: {error.args[0].str()}; nothing was changed") from None
