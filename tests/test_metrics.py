"""Metrics: the table says what is exposed; lag rises also where nothing moves; what is counted is what happened."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows import metrics_table
from operators import metrics, observing
from operators.lag import HUNG, Lag
from operators.metrics import METRICS, Sampled
from operators.positions import Lane
from operators.stitching import AHEAD_MS, LATE_MS, Batch, Stitcher
from schemas.config import Config
from schemas.stitched import Change, Record
from state.connection import connect
from state.identity_memory import MemoryIdentity
from state.profile import unpack
from tests.conftest import new_config
from tests.engage_helpers import DAY, A, B, C, T, World, created, event, signed_up, tick, token
from tests.messages import START, TOPIC, Message, message

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
ONE = ("t", 0)


def exposed() -> dict[str, str]:
    """Type of every metric that a process serves, by name."""
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", generate_latest().decode(), re.MULTILINE)
    return {name: kind for name, kind in kinds if not name.endswith("_created")}


def listed() -> dict[str, str]:
    """Type of every metric in the table, by name."""
    return dict(re.findall(r"^\| `((?:touchstream|process|python)_\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))


def test_the_table_names_what_is_exposed_and_nothing_else() -> None:
    assert listed() == exposed()


def test_the_page_is_made_from_the_definitions() -> None:
    assert PAGE.read_text() == metrics_table.page(), "python -m flows.metrics_table > docs/metrics.md"


def test_names_and_labels_follow_the_conventions() -> None:
    for row in METRICS:
        assert row.name.endswith("_total") == (row.type == "counter"), row.name
        assert row.meaning.endswith("."), row.name
        described = metrics.LABELS.keys() | {"version", "bytewax", "python"}
        assert set(row.labels) <= described, row.name


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


# -- what is looked up when it is scraped ------------------------------------------------------------------------------


class Source:
    def __init__(self, amount: float) -> None:
        self.amount = amount

    def samples(self) -> list[metrics.Sample]:
        return [(("here",), self.amount)]


def test_a_source_is_asked_at_every_scrape_until_it_is_gone() -> None:
    sampled = Sampled("gauge", "touchstream_test", "For this test.", "topic")
    METRICS.pop()
    try:
        source = Source(1.0)
        sampled.source(source.samples)
        assert value("touchstream_test", topic="here") == 1.0
        source.amount = 2.0
        assert value("touchstream_test", topic="here") == 2.0
        del source
        gc.collect()
        assert value("touchstream_test", topic="here") == 0.0
    finally:
        REGISTRY.unregister(sampled)


def test_who_reads_to_the_end_is_not_behind() -> None:
    lag = Lag()
    lag.start([ONE], 100.0)
    lag.begin(ONE, 40.0, 100.0)
    lag.come_round(101.0)
    assert lag.seconds(ONE, 7, 101.0) == 61.0
    lag.note({ONE: 0}, 102.0)
    assert lag.seconds(ONE, 0, 102.0) == 0.0
    lag.come_round(103.0)
    assert lag.seconds(ONE, 3, 103.5) == 1.5, "what is behind now has come since it was read to the end"


def test_lag_goes_on_rising_when_the_loop_is_stuck() -> None:
    lag = Lag()
    lag.start([ONE], 100.0)
    lag.come_round(110.0)
    lag.note({ONE: 0}, 110.0)
    assert lag.seconds(ONE, 0, 110.0 + HUNG - 0.1) == 0.0
    assert lag.seconds(ONE, 0, 170.0) == 60.0, "it has read all there is, and done nothing with it for a minute"
    assert lag.seconds(ONE, None, 180.0) == 70.0, "and who is being taken over is not read at all"


def test_what_was_not_read_yet_is_as_old_as_nobody_knows() -> None:
    lag = Lag()
    lag.start([ONE], 100.0)
    lag.come_round(103.0)
    assert lag.seconds(ONE, 5, 103.0) == 3.0
    assert lag.seconds(ONE, 5, 103.0, 7_200.0) == 7_200.0
    assert lag.seconds(ONE, 0, 103.0, 7_200.0) == 0.0
    lag.begin(ONE, 40.0, 103.0)
    assert lag.seconds(ONE, 5, 103.0, 7_200.0) == 63.0


def test_the_clock_of_who_wrote_a_record_makes_no_negative_lag() -> None:
    lag = Lag()
    lag.start([ONE], 100.0)
    lag.begin(ONE, 500.0, 101.0)
    assert lag.seconds(ONE, 1, 101.0) == 0.0
    lag.start([], 102.0)
    assert lag.seconds(ONE, 1, 900.0) == 0.0, "nobody's business any more"


def told(lag: Lag, stable: int, end: int, now: float) -> float:
    lag.told(f'{{"topics": {{"t": {{"partitions": {{"0": {{"ls_offset": {stable}, "hi_offset": {end}}}}}}}}}}}', now)
    return lag.stable_age(now).get("t", 0.0)


def test_the_last_stable_offset_ages_while_a_transaction_holds_it() -> None:
    lag = Lag()
    lag.start([ONE], 100.0)
    assert told(lag, 10, 10, 100.0) == 0.0
    assert told(lag, 10, 12, 105.0) == 0.0
    assert told(lag, 10, 20, 110.0) == 5.0
    assert lag.stable_age(111.0) == {"t": 6.0}
    assert told(lag, 15, 30, 115.0) == 0.0, "it has moved"
    assert told(lag, 30, 30, 130.0) == 0.0
    assert lag.stable_age(190.0) == {"t": 0.0}, "nothing waits behind it"
    assert told(lag, -1001, 99, 131.0) == 0.0, "not known"


# -- what is counted ---------------------------------------------------------------------------------------------------


def test_a_batch_of_stitch_is_counted_by_topic() -> None:
    def counts() -> list[float]:
        return [
            value("touchstream_records_consumed_total", flow="stitch", topic="shop.tills"),
            value("touchstream_source_records_total", topic="shop.tills"),
            *(
                value("touchstream_source_defects_total", topic="shop.tills", dimension=each)
                for each in ("completeness", "validity", "consistency", "timeliness", "uniqueness")
            ),
            value("touchstream_dead_letters_total", reason="not_json"),
            value("touchstream_records_total", flow="stitch", result="stitched"),
        ]

    before = counts()
    batch = Batch(junk=2)
    batch.lanes["shop.tills", 0] = Lane(
        "shop.tills/0", 5, 0, 0, consumed=10, dead=2, erased=1, suppressed=5, late=3, incomplete=4, inconsistent=1
    )
    batch.lanes["shop.tills", 1] = Lane("shop.tills/1", 0, 0, 0, consumed=1)
    batch.faults["not_json"] = 2
    observing.stitched(batch)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [16, 11, 4, 2, 1, 3, 0, 2, 8]


def lane_of(*messages: Message, k: int = 0) -> Lane:
    """What a batch of stitch says of the one partition it read, a minute after `START`."""
    config = new_config("", "redis://localhost")
    stitcher = Stitcher(config, MemoryIdentity(), lambda: START + 60_000)
    return stitcher.stitch(messages, {(TOPIC, 0): k}, {}).lanes[TOPIC, 0]


def defects(lane: Lane) -> tuple[int, int, int]:
    return lane.incomplete, lane.inconsistent, lane.late


def test_what_a_touchpoint_lacks_is_counted_once_for_its_source() -> None:
    sound = message(0, "device:d1", channel="web")
    assert defects(lane_of(sound)) == (0, 0, 0)
    assert defects(lane_of(message(0, "device:d1"))) == (1, 0, 0), "no channel"
    assert defects(lane_of(message(0, "device:d1", "device:null", channel="web"))) == (1, 0, 0), (
        "an unusable identifier"
    )
    assert defects(lane_of(message(0, "device:d1", "device:null"))) == (1, 0, 0), "both, of one touchpoint"
    assert defects(lane_of(message(0, "member:m1", "member:m2", channel="web"))) == (0, 1, 0), "two people"
    stock = message(0, type="Stock Changed", data={"sku": "tea", "stock": 1})
    assert defects(lane_of(stock)) == (0, 0, 0), "products have no channel"
    assert defects(lane_of(message(0, "device:d1"), message(1, "device:d1"), k=1)) == (1, 0, 0), "what is below K was"


def test_touchpoints_that_are_late_or_of_the_future_are_counted() -> None:
    def timed(time: int) -> tuple[int, int, int]:
        return defects(lane_of(message(0, "device:d1", channel="web", time=time)))

    # Against the broker's time of the record, so that a backlog makes nothing late.
    assert [timed(START - LATE_MS), timed(START - LATE_MS - 1)] == [(0, 0, 0), (0, 0, 1)]
    now = START + 60_000
    assert [timed(now + AHEAD_MS), timed(now + AHEAD_MS + 1)] == [(0, 0, 0), (0, 1, 0)]


def test_a_batch_of_engage_is_counted_by_what_it_led_to() -> None:
    def counts() -> list[float]:
        return [
            value("touchstream_triggers_total", play="welcome"),
            value("touchstream_decisions_total", play="welcome", code="emitted"),
            value("touchstream_decisions_total", play="welcome", code="duplicate"),
            value("touchstream_records_total", flow="engage", result="applied"),
            value("touchstream_trigger_latency_seconds_count", since="append"),
            value("touchstream_trigger_latency_seconds_count", since="event"),
            value("touchstream_source_defects_total", topic="ts.touchpoints", dimension="uniqueness"),
        ]

    shard = World().shards[0]
    shard.counters |= {"decision/welcome/emitted": 2, "decision/welcome/duplicate": 1, "applied": 5, "customers": 1}
    shard.started += [(1_000, 500), (1_500, 900)]
    shard.repeated["ts.touchpoints"] = 3
    before = counts()
    sums = [value("touchstream_trigger_latency_seconds_sum", since=each) for each in ("append", "event")]
    observing.engaged([shard], 2_000)
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [2, 2, 1, 5, 2, 2, 3]
    after = [value("touchstream_trigger_latency_seconds_sum", since=each) for each in ("append", "event")]
    assert [now - then for now, then in zip(after, sums, strict=True)] == pytest.approx([1.5, 2.6])
    assert 'result="customers"' not in generate_latest().decode()


def test_a_duplicate_is_counted_for_the_topic_it_came_by() -> None:
    world, twice = World(), signed_up(A)
    shard = world.shards[0]
    world.engage.apply(shard, twice, b'{"src":"ts.touchpoints.tills/3/17"}')
    world.engage.apply(shard, twice, b'{"src":"ts.touchpoints.tills/3/17"}')
    assert shard.repeated == {"ts.touchpoints.tills": 1}


def test_customers_are_counted_without_those_merged_away_and_erased() -> None:
    def known() -> int:
        profiles = [unpack(packed) for key, packed in world.entities.items() if key.startswith("c:")]
        return sum(not (each.alias or each.erased or each.customer.startswith("product:")) for each in profiles)

    def apply(*records: Record) -> int:
        world.feed(*records).run()
        assert world.counts["customers"] == known()
        return world.counts["customers"]

    world = World()
    product = event("product:tea", "Stock Changed", {"sku": "tea", "stock": 3}, T)
    assert apply(created(A), signed_up(A), signed_up(B), signed_up(C), product) == 3
    world.merge(B, A, 7)
    assert apply() == 2
    world.merge(B, A, 7)
    assert apply(signed_up(B, T + 1)) == 2, "told again, and touched under the old name"
    for customer in (A, B):
        world.feed(Change(T, token("split"), "split", customer, 9, T, created(B).ids, old=A, new=B))
    assert apply(tick(T + DAY)) == 3
    erased = Change(T + DAY, token("erased"), "erased", C, 11, T + DAY)
    assert apply(erased, erased, signed_up(C, T + 2 * DAY)) == 2
    world.merge(B, A, 12)
    assert apply(Change(T + DAY, token("again"), "erased", B, 13, T + DAY)) == 1


def test_round_trips_to_redis_are_timed_and_failures_counted(redis_server: str) -> None:
    seen: list[tuple[str, bool]] = []
    config: Config = new_config("", redis_server)

    def observe(operation: str, seconds: float, failed: bool) -> None:
        assert seconds > 0
        seen.append((operation, failed))

    with connect(config, observe) as client:
        client.set(config.prefix, "1")
        pipe: Any = client.pipeline(transaction=False)
        pipe.mget([config.prefix])
        pipe.zcard("{none}")
        assert pipe.execute() == [[b"1"], 0]
        with pytest.raises(redis.ResponseError):
            client.zcard(config.prefix)
        assert client.register_script("return 1")() == 1
        client.delete(config.prefix)
    operations = [operation for operation, _ in seen]
    assert operations[:4] == ["SET", "MGET", "ZCARD", "EVALSHA"]
    assert [operation for operation, failed in seen if failed] == ["ZCARD"], "a script not yet loaded is no failure"


def test_the_observer_of_a_flow_counts_by_operation() -> None:
    observe = metrics.redis_observer("sample")
    observe("MGET", 0.003, False)
    observe("MGET", 0.1, True)
    assert value("touchstream_redis_seconds_count", flow="sample", operation="mget") == 2
    assert value("touchstream_redis_errors_total", flow="sample", operation="mget") == 1


def test_what_is_served_is_well_formed() -> None:
    families = list(text_string_to_metric_families(generate_latest().decode()))
    assert {row.name.removesuffix("_total") for row in METRICS} <= {
        family.name.removesuffix("_total") for family in families
    }
