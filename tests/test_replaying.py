"""Replays of a log in memory: as it was written, and in virtual time under other plays."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.history import in_order
from operators.playbook import PlayBook
from operators.replaying import Replay
from schemas import stitched
from schemas.outputs import Decision
from schemas.plays import PlayFile
from schemas.stitched import Absorb, Control, Record, Visit
from state.shards import Output
from tests.engage_helpers import (
    DAY,
    MINUTE,
    PLAYS,
    SHARDS,
    A,
    B,
    C,
    T,
    World,
    capped,
    carted,
    config,
    living_in,
    ordered,
    reachable,
    signed_up,
    tick,
    viewed,
)

D = living_in(3)
#: Its own log, and what was counted in between two records of it: other plays have other ticks.
APART = ("ts.stitched", "ts.kpi.partials")
#: One message a week, where `PLAYS` allow three.
STRICT = capped(1)


class Logs:
    """The logs of some shards, read in turn."""

    def __init__(self, logs: Sequence[Sequence[bytes]]) -> None:
        self._left = [deque(log) for log in logs]

    def next(self, number: int) -> bytes | None:
        return self._left[number].popleft() if self._left[number] else None


def replayed(logs: Sequence[Sequence[bytes]], plays: PlayFile, *, virtual: bool = True) -> tuple[Replay, list[Output]]:
    """A replay of the logs to their end, and what it wrote."""
    book, outputs = PlayBook(plays), list[Output]()
    replay = Replay(config(), {}, {book.version: book}, outputs.append, plays=book.version if virtual else None)
    for shard in replay.shards:
        shard.state.plays = book.version  # as `World` begins
    for entry in in_order(Logs(logs), SHARDS):
        replay.feed(*entry)
    replay.finish()
    return replay, outputs


def decisions(outputs: Sequence[Output]) -> list[Decision]:
    return [msgspec.json.decode(each.value, type=Decision) for each in outputs if each.topic == "ts.decisions"]


def told(outputs: Sequence[Output]) -> list[tuple[str, str, int]]:
    return [(each.play, each.code or each.outcome, each.at) for each in decisions(outputs)]


def written(outputs: Sequence[Output]) -> Counter[Any]:
    """What went to others, whatever its order."""
    return Counter((each.topic, each.key, each.value) for each in outputs if each.topic not in APART)


# -- as it was written -------------------------------------------------------------------------------------


def test_a_log_replayed_as_it_is_gives_what_was_written() -> None:
    world = World().feed(*reachable(A), carted(A, "cart", T + 1), *reachable(B, T + 2)).run()
    world.feed(tick(T + 31 * MINUTE), viewed(A, "tea", T + 32 * MINUTE)).merge(A, B, 5, T + 33 * MINUTE).run()
    world.feed(carted(A, "other", T + 34 * MINUTE)).run().feed(tick(T + 2 * DAY)).run()
    assert world.told() == [("cart_abandoned", "emitted"), ("cart_abandoned", "emitted")]
    replay, outputs = replayed(world.log, PLAYS, virtual=False)
    # What engage wrote to its own log is in the log, and is not put there again.
    assert Counter(each[1:] for each in outputs) == Counter(each[1:] for each in world.everything())
    assert replay.counts() == world.counts


# -- virtual time --------------------------------------------------------------------------------------------


def test_a_timer_fires_when_it_is_due_though_no_tick_says_so() -> None:
    world = World().feed(*reachable(A), carted(A, "cart", T), viewed(A, "tea", T + DAY)).run()
    outputs = replayed(world.log, PLAYS, virtual=False)[1]
    assert Counter(each[1:] for each in outputs) == Counter(each[1:] for each in world.everything())
    assert world.told() == []
    _, outputs = replayed(world.log, PLAYS)
    assert told(outputs) == [("cart_abandoned", "emitted", T + 30 * MINUTE)]


def test_ticks_of_the_log_move_nothing() -> None:
    world = World().feed(*reachable(A), carted(A, "cart", T), tick(T + 30 * MINUTE - 1), tick(T + 40 * MINUTE))
    assert told(replayed(world.log, PLAYS)[1]) == [], "the log ends before it is due"


def test_what_ends_a_wait_in_time_is_not_overtaken() -> None:
    world = World().feed(*reachable(A), carted(A, "cart", T), ordered(A, T + 30 * MINUTE - 1, cart="cart"))
    world.feed(viewed(A, "tea", T + DAY))
    assert [play for play, _, _ in told(replayed(world.log, PLAYS)[1])] == []


def test_what_is_due_when_the_log_ends_still_happens_in_every_shard() -> None:
    world = World().feed(*reachable(A), carted(A, "cart", T), viewed(B, "tea", T + 30 * MINUTE))
    assert told(replayed(world.log, PLAYS)[1]) == [("cart_abandoned", "emitted", T + 30 * MINUTE)]
    world = World().feed(*reachable(A), carted(A, "cart", T), viewed(B, "tea", T + 30 * MINUTE - 1))
    assert told(replayed(world.log, PLAYS)[1]) == []


def test_what_the_log_says_of_plays_is_not_followed() -> None:
    other = PlayBook(STRICT).version
    world = World().feed(Control(T, "plays", "", other), Control(T, "pause", "*"), Visit(0, [A], 1))
    world.feed(*reachable(A), signed_up(A, T + 1))
    replay, outputs = replayed(world.log, PLAYS)
    assert told(outputs) == [("welcome", "emitted", T + 1)]
    assert {shard.state.plays for shard in replay.shards} == {PlayBook(PLAYS).version}


def test_a_hand_over_is_that_of_these_plays_and_comes_before_what_waits_for_it() -> None:
    """Live ran without caps that matter: what it handed over says that two messages were sent. Under the stricter set
    there was one, and after the merge it counts."""
    world = World().feed(*reachable(A), *reachable(B, T + 1), signed_up(A, T + 2), carted(A, "cart", T + 3)).run()
    world.feed(tick(T + 40 * MINUTE)).merge(A, B, 5, T + 41 * MINUTE).run()
    world.feed(signed_up(A, T + 42 * MINUTE), viewed(A, "tea", T + 43 * MINUTE)).run()
    assert [code for _, code in world.told()] == ["emitted", "emitted", "duplicate"]
    kinds = Counter(type(stitched.decode(raw)) for log in world.log for raw in log)
    assert (kinds[Absorb], sum(stitched.decode(raw).hops > 0 for raw in world.log[1] if b'"hops"' in raw)) == (1, 2)
    replay, outputs = replayed(world.log, STRICT)
    assert told(outputs) == [
        ("welcome", "emitted", T + 2),
        ("cart_abandoned", "frequency_cap", T + 3 + 30 * MINUTE),
        ("welcome", "duplicate", T + 42 * MINUTE),
    ]
    profile = replay.profile(B)
    assert profile is not None
    assert (profile.absorbed != [], profile.parks, len(profile.sent)) == (True, [], 1)
    assert replay.counts()["applied"] == world.counts["applied"], "nothing is applied twice"


def test_a_hand_over_waits_for_what_was_written_together_with_its_cause() -> None:
    """B has been C for a while and comes back: the copy of the merge that says so is in a later shard than A's."""
    world = World().feed(*reachable(A), *reachable(B), *reachable(C)).merge(B, C, 1, T + 1).run()
    world.feed(carted(A, "cart", T + 2)).merge(A, B, 5, T + 3).run()
    world.feed(viewed(D, "tea", T + DAY)).run()
    replay, outputs = replayed(world.log, PLAYS)
    assert [each.customer for each in decisions(outputs)] == [B]
    assert replay.counts()["park_timeouts"] == 0


ACTIONS = st.tuples(
    st.sampled_from(["view", "cart", "order", "sign up", "merge"]), st.sampled_from([A, B, C, D]), st.integers(0, 2)
)
#: What happens at which minute; at the end everyone looks at something. What happens at one moment in two shards has no
#: order, in live neither.
HAPPENINGS = st.lists(st.tuples(st.integers(1, 300), ACTIONS), max_size=40, unique_by=lambda each: each[0]).map(
    lambda drawn: dict(drawn) | {400 + n: ("view", customer, 9) for n, customer in enumerate((A, B, C, D))}
)
MERGES = {A: B, B: C, C: D}


def at_minutes(world: World, happenings: Mapping[int, Any], ticks: int) -> World:
    """Let it all happen to the minute, with a tick every so many minutes before the rest."""
    world.feed(*[record for customer in (A, B, C, D) for record in reachable(customer)]).run()
    for minute in range(1, max(happenings) + 1):
        if minute % ticks == 0:
            world.feed(tick(T + minute * MINUTE)).run()
        if minute in happenings:
            what, customer, key = happenings[minute]
            _happen(world, what, customer, key, T + minute * MINUTE)
            world.run()
    return world


def _happen(world: World, what: str, customer: str, key: int, at: int) -> None:
    if what == "merge":
        if customer in MERGES:
            world.merge(customer, MERGES[customer], at // MINUTE, at)
        return
    record: Record = {
        "view": lambda: viewed(customer, f"sku{key}", at),
        "cart": lambda: carted(customer, f"cart{key}", at, at % 97),
        "order": lambda: ordered(customer, at, f"sku{key}", cart=f"cart{key}"),
        "sign up": lambda: signed_up(customer, at),
    }[what]()
    world.feed(record)


@settings(max_examples=60)
@given(HAPPENINGS, st.sampled_from([7, 90]))
def test_under_other_plays_a_log_gives_what_live_would_have_written(happenings: Any, ticks: int) -> None:
    """Recorded under one set of plays, with ticks now and then, and replayed under another: as if that one had been
    in force, with a tick at every moment at which something is due."""
    log = at_minutes(World(plays=PLAYS), happenings, ticks).log
    live = at_minutes(World(plays=STRICT), happenings, 1)
    _, outputs = replayed(log, STRICT)
    assert written(outputs) == written(live.everything())
