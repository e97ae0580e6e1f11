"""A month of the demo's shop under the starter set, through flows as processes, half a day at a time.

The shop has been there for some time, and its books are imported first: customers are missed, have spent a lot, have
points that expire, so that a month shows whatever the starter set has to say. It has more trouble than most shops.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from click.testing import CliRunner
from confluent_kafka import Producer

from flows import admin, plays_control
from flows.cli import main
from flows.delivery import Delivery, Receiver
from flows.demo import options
from flows.demo.machinery import erase
from flows.retailer import KafkaSink, Rates, Retailer, Summary
from operators.kafka import client_properties
from schemas.config import Churn, Config, Metrics
from schemas.topics import topic_name
from tests.system.pipeline import Pipeline, await_
from tests.system.reading import Read, read_topic

SEED, CUSTOMERS, DAYS = 4, 160, 30
#: Touchpoints at a time, half a day's: a timer is at most so late, whatever else the machine has to do.
STEP: Final = 250
#: What is less than a day old may start something.
SPEED: Final = 86_400.0
TROUBLED = Rates(
    product=0.12, ticket=0.7, hazard=0.012, lapse=0.08, offices=0.25, members=0.7, email=0.9, sms=0.9, wechat=0.9,
    consent=0.005, abandon=0.5, impulse=0.35,
)  # fmt: skip
#: So many members at one device are no household.
CROWD = 12


class Month(NamedTuple):
    """The deployment after the month, its flows drained. ``written``: what the shop says it wrote; ``others``: how many
    touchpoints came beside; ``before``: what a marketing system had received when ``erased`` was."""

    config: Config
    folder: Path
    retailer: Retailer
    written: Summary
    others: int
    before: list[Delivery]
    erased: str

    def outputs(self, name: str) -> list[Read]:
        """What a topic holds."""
        return read_topic(self.config, topic_name(self.config, name))

    def command(self, *arguments: str) -> str:
        """What a command prints."""
        result = CliRunner().invoke(main, [*arguments, "-c", str(self.folder / "touchstream.yaml")])
        assert result.exit_code == 0, result.output
        return result.stdout


@contextmanager
def a_month(kafka: str, redis_url: str, folder: Path) -> Iterator[Month]:
    """Let it pass. Topics and keys go afterwards."""
    asked = options.Options(speed=SPEED, kafka=kafka, redis=redis_url)
    config = msgspec.structs.replace(
        options.deployment(asked, kafka, redis_url),
        # Examples mature, and models are learned from them, within the month.
        churn=Churn(horizon_days=14, grid_days=2, high=0.7, publish_examples=100, publish_seconds=1),
        metrics=Metrics(port=0),
    )
    admin.create(config)
    retailer = Retailer(SEED, CUSTOMERS, TROUBLED, days=DAYS, history=options.HISTORY)
    try:
        with Pipeline(folder, config, ("stitch", "engage", "learn", "kpis")) as pipeline:
            plays_control.apply(config, options.plays(asked))
            for flow in pipeline.flows:
                flow.start()
            _crowd(pipeline, range(CROWD // 2), retailer.start_ms)
            written = _live(pipeline, retailer)
            _crowd(pipeline, range(CROWD // 2, CROWD), retailer.end_ms)
            await_(lambda: pipeline.happened(written.written - written.broken + 2 * CROWD), "all to happen")
            before = received(config, "before")
            month = Month(config, folder, retailer, written, 2 * CROWD, before, _most(before))
            _erase(month)
            pipeline.rest(written.written + month.others)
        yield month
    finally:
        erase(config)


def _live(pipeline: Pipeline, retailer: Retailer) -> Summary:
    """History, and then step by step what happens."""
    config, summary = pipeline.config, Summary()
    sink = KafkaSink(config.kafka.bootstrap, topic_name(config, config.topics.sources[0]))
    for chunk in retailer.chunks(STEP):
        sink.write(chunk)
        summary.count(chunk)
        if chunk.at > retailer.start_ms:
            assert sink.close() == 0
            await_(lambda: pipeline.happened(summary.written - summary.broken + CROWD), "half a day to happen")
    return summary


def _crowd(pipeline: Pipeline, numbers: Iterable[int], at: int) -> None:
    """Members who log in on one device, one after the other, and spend what only big spenders do."""
    producer = Producer(client_properties(pipeline.config))
    topic = topic_name(pipeline.config, pipeline.config.topics.sources[0])
    for number in numbers:
        member = {"ns": "member", "value": f"crowd-{number}", "kind": "login"}
        order = {"order_id": f"crowd-{number}", "revenue": 2500}
        for event in (
            _event(f"in-{number}", "Signed In", at, {}, [{"ns": "device", "value": "hall"}, member]),
            _event(f"order-{number}", "Order Completed", at, order, [member]),
        ):
            producer.produce(topic, event, b"hall")
    assert producer.flush(60) == 0


def _event(id: str, kind: str, at: int, data: dict[str, Any], who: list[dict[str, str]]) -> bytes:
    event = {"id": id, "source": "hall", "type": kind, "time": at, "at": at, "data": data, "identifiers": who}
    return json.dumps(event).encode()


def received(config: Config, group: str, skipped: Counter[str] | None = None) -> list[Delivery]:
    """What a group receives that has the master key."""
    found: list[Delivery] = []
    counts = skipped if skipped is not None else Counter[str]()
    with Receiver(
        client_properties(config), group=f"{config.prefix}.{group}", master=config.keys.master, prefix=config.prefix,
        log_clock=True, skipped=lambda trigger, why: counts.update([why]),
    ) as receiver:  # fmt: skip
        receiver.run(found.append, follow=False)
    return found


def _most(deliveries: list[Delivery]) -> str:
    """Which member was sent most; the customer id."""
    known = [each.trigger.subject for each in deliveries if each.customer_number]
    return Counter(known).most_common(1)[0][0]


def _erase(month: Month) -> None:
    """Erase a member."""
    number = next(
        each.customer_number for each in month.before if each.trigger.subject == month.erased and each.customer_number
    )
    month.command("identity", "erase", f"member:{number}", "--yes", "--reason", "r")
