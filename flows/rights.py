"""The least rights of each process and of each kind of user, as data: what `touchstream acls` prints.

Kafka: reading and writing include being told of a topic, a group or a transactional id (Describe). Redis: the commands
are those that the process sends, those that the driver sends for it, and those that its scripts call.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import join
from typing import Final, NamedTuple

from flows.web.known import READ
from schemas.config import Config
from schemas.topics import (
    ALERTS,
    ALIASES,
    AUDIT,
    COMMANDS,
    DATA_KEYS,
    DEAD_LETTERS,
    KPIS,
    MODELS,
    OUTPUTS,
    PARTIALS,
    PLAYS,
    STITCHED,
    inputs,
    topic_name,
)


class Grant(NamedTuple):
    """``operations`` on resources of a kind (topic, group, transactional-id); ``prefixed``: all that begin so."""

    kind: str
    names: tuple[str, ...]
    operations: tuple[str, ...]
    prefixed: bool = False


class Role(NamedTuple):
    """One user. ``keys`` are patterns of Redis, those with %R~ may be read only; none: needs no Redis."""

    name: str
    what: str
    kafka: tuple[Grant, ...]
    keys: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


#: What redis-py sends by itself.
_DRIVER: Final = ("ping", "hello", "auth", "select", "client|setinfo")
#: Scripts, and what metrics show of the server.
_FLOW: Final = ("eval", "evalsha", "info")
#: state/scripts/own.lua and commit.lua, and what `state.shards` reads.
_SHARD: Final = (
    "get", "mget", "hget", "hmget", "hset", "hsetnx", "hincrby", "set", "mset", "del", "zadd", "zrem", "zrange",
    "zcard", "zremrangebyscore", "zremrangebyrank", "pexpire",
)  # fmt: skip
#: state/scripts/identity.lua, and what `state.identity` and `state.sources` read.
_IDENTITY: Final = ("mget", "hgetall", "hget", "hmget", "hset", "exists", "getrange", "set", "del")
_READING: Final = ("get", "mget", "hget", "hmget", "hgetall", "zrange", "scan")


def roles(config: Config) -> dict[str, Role]:
    """Every user of a deployment, by name."""
    return {each.name: each for each in (*_flows(config), *_people(config))}


def user(config: Config, role: Role) -> str:
    """The name under which a role signs in: ts-engage."""
    return f"{config.prefix}-{role.name}"


def kafka_lines(config: Config, role: Role) -> Iterator[str]:
    """Calls of Kafka's own tool."""
    for grant in role.kafka:
        words = ["kafka-acls.sh", "--bootstrap-server", config.kafka.bootstrap, "--command-config", "admin.properties"]
        words += ["--add", "--allow-principal", f"User:{user(config, role)}"]
        words += [word for operation in grant.operations for word in ("--operation", operation)]
        words += [word for name in grant.names for word in (f"--{grant.kind}", name)]
        words += ["--resource-pattern-type", "prefixed"] if grant.prefixed else []
        yield join(words)


def redis_line(config: Config, role: Role) -> str:
    """One command of Redis that sets the rights of a user and leaves passwords as they are; empty: needs none."""
    if not role.keys:
        return ""
    rights = ["resetkeys", "resetchannels", "-@all", *role.keys]
    allowed = [f"+{command}" for command in dict.fromkeys((*_DRIVER, *role.commands))]
    return " ".join(["ACL SETUSER", user(config, role), "on", *rights, *allowed])


def _flows(config: Config) -> Iterator[Role]:
    prefix = config.prefix
    yield Role(
        "stitch",
        "process of the flow stitch",
        (
            Grant("topic", tuple(inputs(config)), ("Read",)),
            *_flow(config, "stitch"),
            _writes(config, STITCHED, DEAD_LETTERS, DATA_KEYS, AUDIT),
        ),
        (f"~{{{prefix}.i}}*",),
        (*_FLOW, *_IDENTITY),
    )
    contents = (f"%R~{{{prefix}.{kind}}}*" for kind in (MODELS, PLAYS))
    yield Role(
        "engage",
        "process of the flow engage",
        (
            _reads(config, STITCHED),
            *_flow(config, "engage"),
            _writes(config, STITCHED, ALIASES, DATA_KEYS, COMMANDS, PARTIALS, *OUTPUTS),
        ),
        (f"~{{{prefix}.[0-9]*", f"%R~{{{prefix}.i}}sources", *contents),
        (*_FLOW, *_SHARD, "hgetall", "scan"),
    )
    yield Role(
        "learn",
        "process of the flow learn",
        (
            _reads(config, "churn.examples", "outcomes"),
            *_flow(config, "learn", "rewards"),
            _writes(config, STITCHED, MODELS, ALERTS),
        ),
        (f"~{{{prefix}.learn.*", f"~{{{prefix}.rewards.*", f"~{{{prefix}.{MODELS}}}*"),
        (*_FLOW, *_SHARD),
    )
    yield Role(
        "kpis",
        "process of the flow kpis",
        (_reads(config, PARTIALS), *_flow(config, "kpis"), _writes(config, KPIS, ALERTS)),
        (f"~{{{prefix}.kpis.*",),
        (*_FLOW, *_SHARD),
    )

    yield Role(
        "dashboard",
        "process of the web service, and tokens",
        (
            _reads(config, *READ, STITCHED, "outcomes", AUDIT),
            # The name under which topics are read; librdkafka asks for its coordinator, though it joins no group.
            Grant("group", (f"{prefix}.reader",), ("Describe",)),
            _writes(config, COMMANDS, STITCHED, AUDIT),
            Grant("transactional-id", (f"{prefix}.plays.",), ("Write",), True),
        ),
        (f"%R~{{{prefix}.*", f"~{{{prefix}.access}}*"),
        (*_READING, "exists", "hset", "set", "del"),
    )


def _people(config: Config) -> Iterator[Role]:
    prefix, everything = config.prefix, (f"{config.prefix}.",)
    looking = (Grant("topic", everything, ("Read",), True), Grant("group", everything, ("Describe",), True))
    yield Role(
        "setup", "topics create and check",
        (Grant("topic", everything, ("Create", "Describe", "DescribeConfigs"), True),),
    )  # fmt: skip
    yield Role("source", "ingest, and who else writes touchpoints", (_writes(config, *config.topics.sources),))
    yield Role(
        "receiver", "triggers consume, and who else sends what triggers say",
        (_reads(config, "triggers", DATA_KEYS), Grant("group", (f"{prefix}.consume",), ("Read",), True),
         # The name under which data keys are read; librdkafka asks for its coordinator, though it joins no group.
         Grant("group", (f"{prefix}.reader",), ("Describe",))),
    )  # fmt: skip
    yield Role(
        "reader",
        "status, tail, why, report, backtest, dead-letters list, identity show, stats, export, plays and models list",
        looking, (f"%R~{{{prefix}.*",), _READING,
    )  # fmt: skip
    yield Role(
        "operator", "what a reader does, and identity, plays, models and dead-letters replay",
        (
            *looking,
            _writes(config, COMMANDS, PLAYS, STITCHED, "churn.examples", *config.topics.sources),
            Grant("transactional-id", (f"{prefix}.plays.", f"{prefix}.models.", f"{prefix}.replay."), ("Write",), True),
        ),
        (f"%R~{{{prefix}.*", f"~{{{prefix}.{PLAYS}}}*"), (*_READING, "set"),
    )  # fmt: skip
    yield Role(
        "restorer", "rebuild", looking, (f"~{{{prefix}.*",), (*_READING, *_IDENTITY, "eval", "evalsha", "hsetnx"),
    )  # fmt: skip


def _flow(config: Config, *names: str) -> tuple[Grant, ...]:
    """The consumer groups of a flow, and its transactions, those of its dead predecessors among them."""
    groups = tuple(f"{config.prefix}.{name}" for name in names)
    return (
        Grant("group", groups, ("Read",)),
        Grant("transactional-id", tuple(f"{group}." for group in groups), ("Write",), True),
    )


def _reads(config: Config, *names: str) -> Grant:
    return Grant("topic", tuple(topic_name(config, name) for name in names), ("Read",))


def _writes(config: Config, *names: str) -> Grant:
    return Grant("topic", tuple(topic_name(config, name) for name in names), ("Write",))
