"""A live run, and the backtest of its log."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka import TopicPartition

from flows import history, playfile, plays_control
from flows.admin import admin_client
from flows.backtest import Options, backtest
from flows.backtest_report import Report
from flows.cli import main
from flows.contents import Contents
from flows.history import TopicHistory
from operators.churn import PRIOR, PRIOR_CONTENT, Model, content_hash
from operators.playbook import PlayBook
from operators.transactions import Transactions
from schemas import stitched, topics
from schemas.config import Config
from schemas.plays import PlayFile
from schemas.stitched import Control
from schemas.topics import MODELS, topic_name
from state.contents import ContentStore
from state.shards import Output
from tests.engage_helpers import PLAYS
from tests.system.pipeline import Feeder, Pipeline, chaotic
from tests.system.reading import read_topic

pytestmark = [pytest.mark.flows, pytest.mark.long("backtest")]

STARTER = PlayBook(playfile.load())
#: Plays that no score has a part in.
PLAIN = PlayFile(
    plays={name: play for name, play in PLAYS.plays.items() if name != "churn_warning"}, limits=PLAYS.limits
)


class Shop:
    """What live wrote under the starter set, and backtests of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.config = pipeline, pipeline.config
        self.folder = pipeline.folder
        self.outputs: list[Output] = []

    def backtest(self, book: PlayBook, against: PlayBook | None = None) -> Report:
        self.outputs = []
        models = Contents(self.config, MODELS, Model.from_bytes)
        books = Contents(self.config, topics.PLAYS, PlayBook.from_bytes)
        options = Options(models=models, books=books, take=self.outputs.append)
        return backtest(self.config, TopicHistory(self.config), book, against, options)

    def written(self, name: str) -> Counter[Any]:
        """What the backtest wrote."""
        topic = topic_name(self.config, name)
        return Counter((each.key, each.value) for each in self.outputs if each.topic == topic)

    def live(self, name: str) -> Counter[Any]:
        """What live wrote."""
        return Counter((read.key, read.value) for read in read_topic(self.config, topic_name(self.config, name)))

    def command(self, *arguments: str, plays: PlayFile) -> Any:
        """The answer of ``touchstream backtest --json``."""
        file = self.folder / "tried.yaml"
        file.write_text(yaml.safe_dump(msgspec.to_builtins(plays)))
        env = {"TOUCHSTREAM_CONFIG": str(self.folder / "touchstream.yaml")}
        given = ["backtest", *arguments, "--plays", str(file), "--json"]
        done = CliRunner().invoke(main, given, env=env)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


def activate(pipeline: Pipeline) -> None:
    """Let a model other than the prior score."""
    content = PRIOR_CONTENT.replace(b'"intercept":2.7', b'"intercept":2.6')
    digest = content_hash(content)
    assert digest != PRIOR.hash
    ContentStore(pipeline.redis, pipeline.config.prefix, MODELS).put(digest, content)
    raw, topic = stitched.encode(Control(0, "model", "default", digest)), topic_name(pipeline.config, "stitched")
    outputs = [Output(0, topic, shard, None, raw) for shard in range(pipeline.config.topics.shards)]
    Transactions(pipeline.config, "learn").publish(outputs, [], None)


@pytest.fixture
def shop(deployment: Config, tmp_path: Path) -> Iterator[Shop]:
    with Pipeline(tmp_path, chaotic(deployment), ("stitch", "stitch", "engage", "engage")) as pipeline:
        # The last before the first touchpoint counts.
        plays_control.apply(pipeline.config, STARTER.file)
        activate(pipeline)
        for flow in pipeline.flows:
            flow.start()
        feeder = Feeder(pipeline.config, 21, rate=400)
        feeder.start()
        while feeder.is_alive() and feeder.sent < 4_000:
            feeder.join(0.05)
        feeder.finish()
        pipeline.rest(feeder.sent)
        yield Shop(pipeline)


def test_a_backtest_of_a_live_log_is_live_and_under_other_plays_it_is_what_they_would_have_done(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = list(TopicHistory(shop.config).entries())
    kinds = Counter(type(record).__name__ for _, record, _ in entries)
    assert min(kinds["Tick"], kinds["Absorb"], sum(getattr(record, "hops", 0) for _, record, _ in entries)) > 0
    _in_order(shop, entries, monkeypatch)

    # The very plays that were in force: byte for byte what live wrote.
    same = shop.backtest(STARTER)
    assert same.time == "recorded"
    for name in ("triggers", "decisions", "scores", "identity.changes"):
        assert shop.written(name) == shop.live(name)
    assert sum(shop.live("triggers").values()) == same.plays.messages > 50
    told = shop.command("--topic", "stitched", plays=STARTER.file)
    assert told == json.loads(msgspec.json.encode(same))

    # Others: not a tick of the log counts, nor a profile that was handed over.
    other = shop.backtest(PlayBook(PLAIN))
    assert other.time == "virtual"
    assert other.touchpoints == same.touchpoints
    assert other.customers == same.customers
    assert other.plays.per_play["cart_abandoned"].messages > 0
    dump = shop.folder / "stitched.ndjson"
    env = {"TOUCHSTREAM_CONFIG": str(shop.folder / "touchstream.yaml")}
    dumped = CliRunner().invoke(main, ["tail", "stitched", "--from-start", "--end", "--json"], env=env)
    dump.write_text(dumped.stdout)
    found = shop.command("--input", str(dump), plays=PLAIN)
    expected = json.loads(msgspec.json.encode(other))
    assert found.pop("notes") == [
        "what was learned is not taken from a file: the built-in prior scores, bandits know nothing",
        "no model was activated: churn scores are those of the built-in prior",
    ]
    assert expected.pop("notes") == []
    assert found == expected

    # From the first pause on it is not as it was.
    plays_control.pause(shop.config, ["welcome"])
    assert shop.backtest(STARTER).time == "recorded", "nothing has happened since"
    virtual = shop.backtest(STARTER, STARTER)
    assert virtual.time == "virtual"
    assert virtual.difference is not None
    assert (virtual.difference.messages, virtual.difference.per_day) == (0, {})

    # Retention takes the beginning.
    gone = TopicPartition(topic_name(shop.config, "stitched"), 0, len(entries) // 20)
    client = admin_client(shop.config)  # named: the answers go with the client
    for future in client.delete_records([gone]).values():
        future.result()
    cut = shop.backtest(STARTER)
    assert cut.time == "virtual"
    assert cut.notes[0].startswith("the beginning of the log is gone")
    assert 0 < cut.touchpoints < same.touchpoints


def _in_order(shop: Shop, entries: list[history.Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the log, each partition in its order, together by their clocks, however little is read ahead."""
    logs: dict[int, list[bytes]] = {}
    for read in read_topic(shop.config, topic_name(shop.config, "stitched")):
        logs.setdefault(read.partition, []).append(read.value or b"")
    assert {number: [raw for shard, _, raw in entries if shard == number] for number in logs} == logs
    clocks: dict[int, int] = {}
    last = 0
    for number, record, _ in entries:
        if not isinstance(record, history.TIMELESS):
            clocks[number] = max(clocks.get(number, 0), record.at)
            assert clocks[number] >= last
            last = clocks[number]
    monkeypatch.setattr(history, "READ_AHEAD", 0)
    assert list(TopicHistory(shop.config).entries()) == entries
    monkeypatch.undo()
