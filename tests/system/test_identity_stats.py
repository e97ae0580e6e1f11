"""`identity stats` on what the stitch core stored, against the pure function over the same input."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
import redis
from click.testing import CliRunner

from flows.cli import main
from flows.identity_show import short
from flows.identity_stats import Sizes, Stats, sizes, stats, unification_rate
from flows.settings_help import example
from operators.explain import met
from operators.partition import partition
from schemas.config import Identity
from schemas.policy import Namespace
from state import outlines
from state.tokens import namespace
from tests.messages import START, Message, message
from tests.system.identity_world import World, command, evidence_of, token

HOUR = 3_600_000


def look(world: World, top: int = 10) -> Stats:
    return stats(world.config, world.redis, top=top, progress=lambda done: None)


def test_a_family_device(client: redis.Redis) -> None:
    world = World(client, identity=Identity())
    world.run(
        world.process(),
        message(0, "device:tablet"),
        message(1, "device:tablet", "!member:ann", "email:ann@mail.cn", time=START + HOUR),
        message(2, "device:tablet", "!member:bob", time=START + 9 * HOUR),
        message(3, "device:other", time=START),
    )
    found = look(world)
    assert (found.prefix, found.identifiers, found.customers, found.clusters) == (world.config.prefix, 5, 3, 2)
    assert found.unification_rate == 0.4
    assert (found.identifiers_per_customer, found.identifiers_per_cluster) == (Sizes(2, 2, 2, 2), Sizes(1, 4, 4, 4))
    assert found.namespaces == {"member": 2, "device": 2, "email": 1}
    assert (found.pending, found.nobody, found.hubs, found.top_hubs, found.erased) == (0, 0, 0, [], 0)


def crowd(seed: int, count: int = 150) -> list[Message]:
    """People with devices and cards, a kiosk that most of them use, and a till that some do."""
    random = Random(seed)
    some = []
    for n in range(count):
        who = [f"device:d{random.randrange(40)}", f"!member:m{random.randrange(40)}", f"card:c{n % 9}",
               f"email:m{random.randrange(60)}@mail.cn"]  # fmt: skip
        who = random.sample(who, random.randint(1, 3))
        who += ["device:kiosk"] * (random.random() < 0.3) + ["phone:+8613812345678"] * (random.random() < 0.1)
        some.append(message(n, *who, time=START + n))
    return some


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rules", ["retail", "union"])
def test_the_counts_are_those_of_the_pure_function(
    client: redis.Redis, seed: int, rules: Literal["retail", "union"]
) -> None:
    shared = {"card": Namespace(shared="ambiguous", limit=3), "device": Namespace(hub={"member": 5})}
    world = World(client, identity=Identity(rules=rules, namespaces=shared))
    messages = crowd(seed)
    process = world.process()
    for start in range(0, len(messages), 40):
        world.run(process, *messages[start : start + 40])
    evidence, policy = evidence_of(messages, world.config.identity)
    now, found = partition(evidence, policy), look(world, 100)
    people = Counter(now.customers[each] for each in now.customers.keys() - now.nobody)
    assert now.hubs
    assert (found.identifiers, found.nobody, found.hubs) == (len(now.customers), len(now.nobody), len(now.hubs))
    assert (found.customers, found.identifiers_per_customer) == (len(people), sizes(Counter(people.values())))
    assert found.unification_rate == unification_rate(people.total(), len(people))
    assert found.namespaces == Counter(map(namespace, now.customers))
    assert {hub.identifier: hub.met for hub in found.top_hubs} == {short(hub): met(evidence, hub) for hub in now.hubs}
    assert found.clusters == len(world.stored()[1])


def test_a_kiosk_is_named_with_whom_it_met(client: redis.Redis) -> None:
    world = World(client, identity=Identity())
    process = world.process()
    world.run(process, *[message(n, "device:kiosk", f"!member:{n}", time=START + n) for n in range(1, 13)])
    world.run(process, *[message(n, "device:kiosk", f"!member:{n}", time=START + n) for n in range(13, 16)])
    world.run(process, *[message(n, "device:desk", f"!member:{n}", time=START + n) for n in range(16, 28)])
    found = look(world)
    assert (found.identifiers, found.customers, found.nobody, found.hubs) == (29, 27, 2, 2)
    kiosk, desk = (short(token(f"device:{name}")) for name in ("kiosk", "desk"))
    assert [(hub.identifier, hub.met) for hub in found.top_hubs] == [(kiosk, 15), (desk, 12)]
    assert [hub.identifier for hub in look(world, 1).top_hubs] == [kiosk]
    assert look(world, 0).top_hubs == []


def test_what_never_connects_is_nobodys_but_no_hub(client: redis.Redis) -> None:
    world = World(client, identity=Identity())
    world.run(world.process(), message(0, "household:h1"), message(1, "member:1"))
    found = look(world)
    assert (found.identifiers, found.customers, found.nobody, found.hubs) == (2, 1, 1, 0)


def test_changes_that_nobody_published_are_pending(client: redis.Redis) -> None:
    world = World(client)
    process = world.process()
    batch = process.stitch([message(0, "device:a"), message(1, "device:b")], {}, {})
    assert look(world).pending == 2
    process.published(batch)
    assert look(world).pending == 0


def test_the_erased_count_again_once_they_are_seen_again(client: redis.Redis) -> None:
    world = World(client)
    process = world.process()
    world.run(process, message(0, "device:a", "device:c"), message(1, "device:b"))
    world.run(process, command(world, "erase", "device:a"))
    found = look(world)
    assert (found.erased, found.identifiers, found.customers, found.clusters) == (2, 1, 1, 1)
    world.run(process, message(2, "device:c", time=START + 2 * HOUR))
    found = look(world)
    assert (found.erased, found.identifiers, found.customers, found.clusters) == (2, 2, 2, 2)
    assert found.namespaces == {"device": 2}


def test_all_batches_count_and_other_deployments_do_not(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "BATCH", 3)
    world, other = World(client), World(client)
    other.run(other.process(), message(0, "device:other"))
    assert look(world).clusters == 0
    world.run(world.process(), *[message(n, f"device:{n}") for n in range(100, 110)])
    told: list[int] = []
    found = stats(world.config, client, top=0, progress=told.append)
    assert (found.clusters, found.customers, told) == (10, 10, [3, 6, 9, 10])


def test_nothing_yet(client: redis.Redis) -> None:
    found = look(World(client))
    assert (found.identifiers, found.customers, found.clusters, found.unification_rate) == (0, 0, 0, 0.0)
    assert found.identifiers_per_customer == Sizes(0, 0, 0, 0)


def call(world: World, folder: Path, url: str, *options: str) -> Any:
    file = folder / "touchstream.yaml"
    file.write_text(example())
    env = {"TOUCHSTREAM_PREFIX": world.config.prefix, "TOUCHSTREAM_REDIS__URL": url}
    return CliRunner().invoke(main, ["identity", "stats", "-c", str(file), *options], env=env)


def test_the_command(client: redis.Redis, redis_server: str, tmp_path: Path) -> None:
    world = World(client)
    world.run(world.process(), message(0, "device:a", "member:secret-1"))
    assert call(world, tmp_path, redis_server).stdout.startswith(
        "identifiers    2 in 1 clusters\ncustomers      1, of 2"
    )
    result = call(world, tmp_path, redis_server, "--json")
    assert (result.exit_code, json.loads(result.stdout)["unification_rate"]) == (0, 0.5)
    assert "secret" not in result.stdout


def test_a_server_that_does_not_answer_is_named(client: redis.Redis, tmp_path: Path) -> None:
    result = call(World(client), tmp_path, "redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr
