"""The frame of the benchmarks, and the parts of them that need no servers."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import machine, run
from benchmarks.latency import quantiles
from benchmarks.peers import job
from benchmarks.throughput import hottest


def test_sizes_take_the_place_of_the_scales() -> None:
    sizes = {"events": 10, "rates": [1, 2], "plays": "starter"}
    assert run.sized(sizes, ["events=5_000", "rates=7", "plays=none"]) == {
        "events": 5_000,
        "rates": [7],
        "plays": "none",
    }
    assert sizes["events"] == 10
    for wrong in ("event=5", "events"):
        with pytest.raises(ValueError, match="NAME=VALUE with one of events, rates, plays"):
            run.sized(sizes, [wrong])


def test_what_others_did_to_a_measurement_is_told() -> None:
    with machine.watched() as found:
        assert set(found) == {"calibration_s"}  # before anything is measured
    assert found["calibration_s"] > 0 < found["calibration_after_s"]
    assert 0 <= found["steal"] <= 1


def test_folded_stacks_are_reduced_to_where_the_time_went() -> None:
    assert hottest("a;b;c 6\na;c 2\na 2\n") == [(0.8, "c"), (0.2, "a")]


def test_quantiles_are_of_what_was_measured() -> None:
    assert quantiles(list(range(1, 1_001))) == {
        "p50_ms": 501, "p90_ms": 901, "p99_ms": 991, "p99.9_ms": 1_000, "max_ms": 1_000,
    }  # fmt: skip
    assert quantiles([]) == {}


def test_the_job_is_the_same_for_one_seed_and_has_all_that_it_is_about() -> None:
    records = list(job.records(20_000, 2_000, 1))
    assert records == list(job.records(20_000, 2_000, 1)) != list(job.records(20_000, 2_000, 2))
    touches = [job.decode(each.value) for each in records]
    assert [each.key.decode() for each in records] == [job.device_of(each) for each in touches]
    ids = Counter([each.id for each in touches])
    owners: dict[str, set[str]] = {}
    for touch in touches:
        if customer := job.login(touch):
            owners.setdefault(job.device_of(touch), set()).add(customer)
    assert max(ids.values()) == 2  # some come twice
    assert any(len(each) > 1 for each in owners.values())  # some devices change hands
    oracle = job.Reference()
    triggers = [each for record in records for each in oracle.take(record.value)]
    assert {each.play for each in triggers} == {job.LIKELY, job.BIG_ORDER}
    assert len({(each.play, each.touchpoint) for each in triggers}) == len(triggers)


def test_a_device_belongs_to_whoever_signed_in_last() -> None:
    oracle = job.Reference()
    device, head = '{"ns":"device","value":"d"}', '{"id":"%s","time":%d,"type":'
    order = head + f'"Order Completed","identifiers":[{device}],"data":{{"revenue":400}}}}'
    login = head + f'"Signed In","identifiers":[{device},{{"ns":"member","value":"%s"}}],"data":{{}}}}'
    taken = [login % ("1", 1, "ann"), order % ("2", 2), login % ("3", 3, "bob"), order % ("4", 4), order % ("4", 4)]
    taken += [order % ("5", 5), order % ("6", 4 + job.COOL_DOWN[job.BIG_ORDER])]
    said = [(each.customer, each.touchpoint) for value in taken for each in oracle.take(value.encode())]
    # The second of bob's comes within the cool-down, and one comes twice.
    assert said == [("ann", "2"), ("bob", "4"), ("bob", "6")]
