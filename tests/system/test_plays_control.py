"""Plays put in force, paused and removed in a running deployment, at one point of each log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from flows import plays_control
from flows.cli import main
from operators.playbook import PlayBook
from operators.shard import state_of
from schemas.config import Config, Metrics
from schemas.outputs import Decision
from schemas.topics import PLAYS, topic_name
from state.profile import Profile, unpack
from state.shards import ShardStore
from tests.system.pipeline import PLAYS as PLAYS_BEFORE
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import read_topic, scan
from tests.system.replay import Replay

pytestmark = pytest.mark.flows


def plays(*names: str) -> dict[str, Any]:
    """One play of each name, all woken by a change of tier."""
    play = {"when": {"event": {"event": "Tier Changed"}}, "channels": ["sms"], "cool_down": "1m"}
    return {"plays": dict.fromkeys(names, play), "limits": {"caps": []}}


class Shop:
    """A running deployment, its operator and one customer whose tier changes."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self.pipeline, self.config = pipeline, pipeline.config
        self._folder = folder
        self._producer = Producer({"bootstrap.servers": self.config.kafka.bootstrap})
        self._sent = 0

    def operator(self, *arguments: str) -> Result:
        """Run ``touchstream plays``."""
        return self.command("plays", *arguments)

    def command(self, *arguments: str) -> Result:
        """Run ``touchstream``."""
        file = str(self._folder / "touchstream.yaml")
        return CliRunner().invoke(main, list(arguments), env={"TOUCHSTREAM_CONFIG": file})

    def file(self, tree: object) -> str:
        """A file of plays."""
        path = self._folder / "plays.yaml"
        path.write_text(yaml.safe_dump(tree))
        return str(path)

    def decide(self) -> list[tuple[str, str]]:
        """Change the tier once more; what the plays decide, as (play, code or outcome)."""
        before = len(self.decisions())
        self.send("Tier Changed", {"tier": f"tier {self._sent + 1}"})
        await_(lambda: len(self.decisions()) > before, "a decision")
        return [(each.play, each.code or each.outcome) for each in self.decisions()[before:]]

    def send(self, type: str, data: dict[str, Any], member: str = "1001", *others: dict[str, str]) -> None:
        """A touchpoint of a member, now; it may carry ``others`` identifiers."""
        self._sent += 1
        body: dict[str, Any] = {"id": f"t{self._sent}", "source": "loyalty", "type": type, "data": data}
        body |= {"identifiers": [{"ns": "member", "value": member}, *others], "time": time.time_ns() // 1_000_000}
        self._producer.produce(topic_name(self.config, "touchpoints"), json.dumps(body))
        self._producer.flush(30)

    def decisions(self) -> list[Decision]:
        found = read_topic(self.config, topic_name(self.config, "decisions"))
        return [msgspec.json.decode(read.value or b"", type=Decision) for read in found]

    def reached(self, version: str) -> None:
        """Wait until every shard has come to this."""
        wanted = {version: self.config.topics.shards}
        await_(
            lambda: plays_control.in_force(self.config, self.pipeline.redis).versions == wanted, f"version {version}"
        )


@pytest.fixture
def shop(deployment: Config, tmp_path: Path) -> Iterator[Shop]:
    config = msgspec.structs.replace(deployment, metrics=Metrics(port=0))
    with Pipeline(tmp_path, config, ("stitch", "engage")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        shop = Shop(pipeline, tmp_path)
        shop.reached(PlayBook(PLAYS_BEFORE).version)
        yield shop


def test_plays_change_without_a_restart_and_a_bad_file_changes_nothing(shop: Shop) -> None:
    applied = shop.operator("apply", shop.file(plays("one")))
    assert applied.exit_code == 0, applied.output
    assert applied.output.splitlines()[0] == "changed  limits"
    assert "added    one" in applied.output
    assert "removed  welcome" in applied.output
    first = applied.output.splitlines()[-2].split()[-1]
    assert applied.output.splitlines()[-1] == "in force in 4 of 4 shards"
    assert shop.decide() == [("one", "no_consent")]

    bad = plays("one", "two")
    bad["plays"]["two"]["who"] = "profile.nothing == 1"
    refused = shop.operator("apply", shop.file(bad))
    assert refused.exit_code == 2
    assert "plays.two.who: character 1: profile.nothing is not known here" in refused.output
    assert shop.operator("diff", shop.file(plays("one", "two"))).output == "added    two\n"
    assert [json.loads(line)["name"] for line in shop.operator("list", "--json").stdout.splitlines()] == ["one"]
    assert shop.decide() == [("one", "no_consent")]

    second = shop.operator("apply", shop.file(plays("two"))).output.splitlines()[-2].split()[-1]
    assert shop.decide() == [("two", "no_consent")]
    assert yaml.safe_load(shop.operator("show").output)["plays"].keys() == {"two"}

    assert shop.operator("pause", "one").exit_code == 2
    assert shop.operator("pause").exit_code == 2
    assert shop.operator("pause", "two").exit_code == 0
    assert shop.decide() == [("two", "paused")]
    assert "(paused)" in shop.operator("list").output
    assert shop.operator("resume", "--all").output == "in force in 4 of 4 shards\n"
    assert shop.decide() == [("two", "no_consent")]

    for flow in shop.pipeline.flows:
        assert flow.drain() == 0
    kept = {read.key: read.value for read in read_topic(shop.config, topic_name(shop.config, PLAYS))}
    assert {first.encode(), second.encode()} <= kept.keys()
    replay = Replay(shop.config, shop.pipeline.redis, read_topic(shop.config, topic_name(shop.config, "stitched")))
    assert replay.check() == []
    late = shop.operator("pause", "--all", "--wait", "0")
    assert (late.exit_code, late.stdout) == (0, "in force in 0 of 4 shards\n")
    assert "touchstream status" in late.stderr


def test_customers_who_are_known_already_are_visited_when_plays_are_put_in_force(shop: Shop) -> None:
    people = [f"2{n:03}" for n in range(40)]
    for person in people:
        shop.send("Signed Up", {"birthday": "1990-02-28"}, person)
    store = ShardStore(shop.pipeline.redis, shop.config.prefix)

    def profiles() -> list[Profile]:
        keys = [scan(shop.pipeline.redis, store.key(shard, "c:")) for shard in range(shop.config.topics.shards)]
        return [unpack(value) for found in keys for value in found.values()]

    def visited() -> bool:
        states = [state_of(each.state) for each in store.read(range(shop.config.topics.shards))]
        return all(state.applied == state.visited for state in states)

    await_(lambda: len(profiles()) == len(people), "everybody")
    tree = plays("one")
    tree["plays"]["birthday"] = {"when": {"yearly": {"day": "birthday"}}, "channels": ["sms"], "cool_down": "1d"}
    shop.operator("apply", shop.file(tree))
    await_(visited, "a visit to everybody")
    for flow in shop.pipeline.flows:
        assert flow.drain() == 0
    assert all([timer.kind for timer in each.timers] == ["yearly"] for each in profiles())
    replay = Replay(shop.config, shop.pipeline.redis, read_topic(shop.config, topic_name(shop.config, "stitched")))
    assert replay.check() == []


def test_why_says_what_was_decided_on_and_why_a_play_was_silent(shop: Shop) -> None:
    tree = plays("gone", "one")
    who = {"skips": ["consent"], "who": "profile.tier == 'tier 2' and profile.orders == 0"}
    tree["plays"]["one"] = tree["plays"]["one"] | who
    tree["plays"]["never"] = {"when": {"score": {"rises_to": "high"}}, "channels": ["sms"], "cool_down": "1d"}
    shop.operator("apply", shop.file(tree))
    assert shop.decide() == [("gone", "no_consent"), ("one", "filter")]
    decision = next(each for each in shop.decisions() if each.play == "one")

    listed = shop.command("why", "member:1001", "--json")
    assert listed.exit_code == 0, listed.output
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(row["play"], row["code"]) for row in rows] == [("one", "filter"), ("gone", "no_consent")]
    assert rows[0]["id"] == decision.id

    told = json.loads(shop.command("why", decision.id, "--json").stdout)
    assert told["decision"]["grounds"]["who"] == {"profile.tier": "tier 1", "profile.orders": 0}
    assert told["happened"]["type"] == "Tier Changed"
    assert told["happened"]["customer"] == decision.customer
    assert [each["step"] for each in told["checks"]] == ["mode", "consent", "filter"]
    assert told["checks"][2]["text"].startswith("does not hold: profile.tier == 'tier 2' (with ")
    text = shop.command("why", decision.customer, "--play", "one").stdout
    assert text.startswith("one: stopped by filter\n")
    assert "STOP filter         does not hold: profile.tier == 'tier 2' (with" in text

    silent = shop.command("why", "member:1001", "--play", "never").stdout
    assert "never has decided nothing" in silent
    assert "wakes when the churn score rises to high; it was never computed" in silent
    assert "STOP consent        sms/marketing: nothing known" in silent
    tree["plays"] = {"gained": {"when": {"event": {"event": "Tier Changed", "by": "event.tier"}}, "once": True}}
    tree["plays"]["gained"] |= {"channels": ["sms"], "cool_down": "1m", "skips": ["consent", "cool_down"]}
    shop.operator("apply", shop.file(tree))

    def gained() -> list[Decision]:
        return [each for each in shop.decisions() if each.play == "gained"]

    for _ in range(2):
        shop.send("Tier Changed", {"tier": "gold"}, "1002", {"ns": "phone", "value": "+8613800000000"})
    await_(lambda: len(gained()) == 2, "two decisions")
    sent, again = gained()
    assert (sent.outcome, again.code, sent.id) == ("emitted", "duplicate", again.id)
    # Why it was sent, not why it was not sent once more.
    assert shop.command("why", sent.id).stdout.startswith("gained: emitted on sms\n")
    for arguments, code, text in [
        (("member:1001", "--play", "nothing"), 1, "no play 'nothing' is in force; there are: gained"),
        (("member:7",), 1, "has never been seen"),
        (("00000000-0000-0000-0000-000000000000",), 1, "is neither a customer nor a decision that is still kept"),
        (("00000000-0000-0000-0000-000000000000", "--play", "one"), 2, "is no customer"),
    ]:
        answer = shop.command("why", *arguments)
        assert (answer.exit_code, text in answer.output) == (code, True), answer.output
