"""What befalls time."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid5

import msgspec

from schemas import stitched
from schemas.config import Config
from schemas.topics import STITCHED, topic_name
from state.tokens import Tokens, token_text
from tests.messages import touchpoint
from tests.system.feed import CHANNELS, START_MS
from tests.system.oracle import CUSTOMERS
from tests.system.pipeline import Flow, await_
from tests.system.reading import read_topic
from tests.system.replay import differences
from tests.system.scenarios.stage import Stage

_MINUTE, _DAY = 60_000, 86_400_000
#: A minute of the log passes in this time (seconds), as under the load of the feeder.
_PACE = 1 / 60
#: How far a clock is stepped (ms), and how far from the broker's a record may be stamped.
STEPS, TOLERATED = (3_600_000, -3_600_000), 30_000
_SKEWED = Path(__file__).parent.parent / "skewed"


class Shopper(NamedTuple):
    """Somebody who fills a cart, and orders in time, or does not."""

    name: str
    at: int
    orders: bool

    def acts(self) -> Iterator[tuple[int, bytes]]:
        """What is to be sent at what time (ms)."""
        consent = [{"channel": channel, "granted": True} for channel in CHANNELS]
        cart = {"cart_id": f"cart-{self.name}", "value": 20.0}
        order = {"order_id": f"order-{self.name}", "revenue": 9.5}
        yield self._said("signs", 0, "Signed Up", consent=consent)
        yield self._said("fills", 1, "Product Added", data=cart)
        if self.orders:
            yield self._said("orders", 16, "Order Completed", data=order)

    def _said(self, what: str, minutes: int, kind: str, **fields: Any) -> tuple[int, bytes]:
        at = self.at + minutes * _MINUTE
        who = f"!member:{self.name}"
        event = json.loads(touchpoint(0, who, time=at, type=kind, at=at, **fields))
        return at, json.dumps({"data": {}, **event, "id": f"{what}-{self.name}"}).encode()


def backlog(stage: Stage) -> dict[str, Any]:
    """People shop for a day; then others do just the same while nothing is stitched, and all of that comes at once.
    No reminder of a cart overtakes the order, and the same is decided on as on the first day, in other names.

    The first day all goes through one partition: what lies in another is not known to be late by a clock that runs an
    hour a second."""
    pipeline, number = stage.pipeline, 60 * stage.count
    _shop(stage, "day-one", START_MS, number, partitions=1)
    pipeline.settle(stage.feeder.sent)
    for flow in pipeline.of("stitch"):
        flow.drain()
    _shop(stage, "day-two", START_MS + 10 * _DAY, number, partitions=pipeline.config.topics.source_partitions)
    first, second = pipeline.of("stitch")
    # It stands still once: what it has read is in Redis, and nothing of it is in the log yet.
    first.start("stitch.after_redis:1:stop")
    await_(lambda: first.stopped, "a batch on its way")
    stage.load(1)
    first.signal(signal.SIGCONT)
    second.start()
    pipeline.settle(stage.feeder.sent)
    names = [f"{day}-{n}" for day in ("day-one", "day-two") for n in range(number)]
    decided = _decided(pipeline.config, names)
    found = {name for name, play in decided if play == "cart_abandoned"}
    wanted = {name for name in names if int(name.rpartition("-")[2]) % 2}
    faults = [f"{name} was reminded of a cart after the order" for name in sorted(found - wanted)]
    faults += [f"{name} was not reminded of a cart" for name in sorted(wanted - found)]
    first_day, second_day = [
        Counter((name.rpartition("-")[2], play) for name, play in decided if name.startswith(day))
        for day in ("day-one", "day-two")
    ]
    faults += differences("decisions of the second day", first_day, second_day)
    return {"reminded": len(found), "ordered": number, "decided": first_day.total(), "faults": faults}


def _shop(stage: Stage, day: str, start: int, number: int, *, partitions: int) -> None:
    """``number`` people over a day, every other of whom orders; then in each partition somebody two days later."""
    shoppers = [Shopper(f"{day}-{n}", start + n * _DAY // number, n % 2 == 0) for n in range(number)]
    acts = sorted((at, n, said) for n, each in enumerate(shoppers) for at, said in each.acts())
    started, paced = time.monotonic(), partitions == 1
    for at, n, said in acts:
        if paced:
            stage.load(max(0.0, started + (at - start) / _MINUTE * _PACE - time.monotonic()))
        stage.feeder.put(n % partitions, said)
    for partition in range(stage.pipeline.config.topics.source_partitions):
        late = Shopper(f"{day}-late-{partition}", start + 2 * _DAY, True)
        stage.feeder.put(partition, next(said for _, said in late.acts()))
    stage.feeder.flush()


def _decided(config: Config, names: Iterable[str]) -> set[tuple[str, str]]:
    """Who was decided on for which play, whatever came of it: that goes by when it was, and by what his id draws."""
    tokens = Tokens(bytes.fromhex(config.keys.index))
    whose = {str(uuid5(CUSTOMERS, token_text(tokens.identifier("member", name)))): name for name in names}
    decisions = [json.loads(read.value or b"{}") for read in read_topic(config, topic_name(config, "decisions"))]
    return {(whose[each["customer"]], each["play"]) for each in decisions if each["customer"] in whose}


def by_the_wall(config: Config) -> Config:
    """Records are stamped with the clocks of the processes that write them."""
    return msgspec.structs.replace(config, clock="process")


def stepped(stage: Stage) -> dict[str, Any]:
    """The clock of a writer is stepped by an hour, forth and back: it stops before it stamps anything with it, also if
    it starts with a wrong clock, until that is set right."""
    said: dict[str, str] = {}
    for name in ("stitch", "engage"):
        victim = stage.pipeline.of(name)[0]
        clock = stage.pipeline.folder / f"{name}.clock"
        victim.drain()
        victim.environment |= {"TOUCHSTREAM_TEST_CLOCK": str(clock), "PYTHONPATH": _path(victim)}
        victim.start()
        for step in STEPS:
            stage.commits([victim])
            clock.write_text(str(step))
            said[f"{name} {step}"] = stage.stops(victim)
            victim.start()
            said[f"{name} {step} again"] = stage.stops(victim)
            clock.write_text("0")
            victim.start()
    stage.commits()
    faults = [f"{who} ended on: {text}" for who, text in said.items() if "clock" not in text]
    stage.feeder.finish()  # a topic that is written to has no end to be read to
    return {"said": said, "faults": faults + _check_stamps(stage.pipeline.config)}


def _path(flow: Flow) -> str:
    return f"{_SKEWED}:{flow.environment.get('PYTHONPATH', '')}"


def _check_stamps(config: Config) -> list[str]:
    """Records that say they were written at another time than the broker took them."""
    faults = []
    for read in read_topic(config, topic_name(config, STITCHED)):
        record = stitched.decode(read.value or b"")
        if record.at and abs(record.at - read.ts) > TOLERATED:
            faults.append(f"stitched/{read.partition}/{read.offset} is stamped {record.at - read.ts:+} ms off")
    return faults
