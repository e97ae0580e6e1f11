"""CDNOW's 69,659 real purchases through ingest, real Kafka, real Valkey and the flows: the account closes exactly."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
import redis
import yaml

from benchmarks.cdnow import Purchase, convert, purchases
from flows.status import status
from operators.birth import customer_id
from schemas.config import Config
from schemas.stitched import shard_of
from schemas.topics import topic_name
from state.profile import Profile, unpack
from state.shards import ShardStore
from state.tokens import Tokens, token_text
from tests import datasets
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import read_topic

pytestmark = [pytest.mark.flows, pytest.mark.long("cdnow")]

ROWS, CUSTOMERS = 69_659, 23_570


def test_the_cdnow_run_closes_exactly(deployment: Config, tmp_path: Path) -> None:
    lines = datasets.cdnow().read_text().splitlines(keepends=True)
    _ingest(deployment, lines, tmp_path)
    with Pipeline(tmp_path / "flows", deployment, ["stitch", "engage"]) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        await_(lambda: _engaged(deployment) == ROWS, "all purchases to be applied", 300)
        pipeline.rest(ROWS)

    account = status(deployment).account
    assert (account.consumed, account.applied) == (ROWS, ROWS)
    assert (account.duplicates, account.erased, account.dead_letters, account.under_way) == (0, 0, 0, 0)
    profiles = _profiles(deployment, list(purchases(lines)))
    assert len(profiles) == CUSTOMERS
    _compare(profiles, list(purchases(lines)))
    # History starts no plays.
    assert read_topic(deployment, topic_name(deployment, "triggers")) == []
    decisions = [
        msgspec.json.decode(each.value or b"") for each in read_topic(deployment, topic_name(deployment, "decisions"))
    ]
    assert {each["code"] for each in decisions} <= {"too_old"}


def _ingest(config: Config, lines: list[str], folder: Path) -> None:
    """As the README tells it: the converter's file through ``touchstream ingest``."""
    file, settings = folder / "cdnow.ndjson", folder / "touchstream.yaml"
    with io.BytesIO() as converted:
        converted.writelines(line + b"\n" for line in convert(lines))
        file.write_bytes(converted.getvalue())
    settings.write_text(yaml.safe_dump(msgspec.to_builtins(config)))
    command = [sys.executable, "-m", "flows.cli", "ingest", "-c", str(settings), str(file), "--at", "event-time"]
    subprocess.run(command, check=True, timeout=120)


def _engaged(config: Config) -> int:
    with redis.Redis.from_url(config.redis.url) as client:
        return ShardStore(client, config.prefix).counts(range(config.topics.shards)).get("applied", 0)


def _profiles(config: Config, rows: list[Purchase]) -> dict[str, Profile]:
    """The profile of every customer of the file, found by the id that its identifier must lead to."""
    tokens = Tokens(bytes.fromhex(config.keys.index))
    found = {}
    with redis.Redis.from_url(config.redis.url) as client:
        store = ShardStore(client, config.prefix)
        for customer in {row.customer for row in rows}:
            own_id = customer_id(token_text(tokens.identifier("member", customer)))
            shard = shard_of(own_id, config.topics.shards)
            [packed] = store.load({shard: ["c:" + own_id]})[shard]
            assert packed is not None, f"customer {customer} has no profile"
            found[customer] = unpack(packed)
    return found


def _compare(profiles: dict[str, Profile], rows: list[Purchase]) -> None:
    """Purchases, units and spend, in all and per customer."""
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        sums = expected[row.customer]
        sums[0] += 1
        sums[1] += row.units
        sums[2] += int(row.dollars * 100)
    actual = {
        customer: [profile.behaviour.orders, profile.units, profile.behaviour.spent]
        for customer, profile in profiles.items()
    }
    assert actual == dict(expected)
    assert [sum(column) for column in zip(*actual.values(), strict=True)] == [
        len(rows),
        sum(row.units for row in rows),
        sum(int(row.dollars * 100) for row in rows),
    ]
