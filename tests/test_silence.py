"""Who is anonymous and silent: engage asks stitch to forget it, and forgets it when stitch says so."""

from __future__ import annotations

import msgspec
import pytest

from schemas.commands import Command, decode
from schemas.config import Config, Identity
from schemas.stitched import Change
from state.profile import Profile
from tests.engage_helpers import (
    DAY,
    MINUTE,
    SECOND,
    A,
    B,
    T,
    World,
    config,
    created,
    replayed,
    tick,
    token,
    viewed,
)

DAYS = 30


def forgetful() -> Config:
    """A deployment that forgets after 30 days."""
    return msgspec.structs.replace(config(), identity=Identity(anonymous_days=DAYS))


def visitor(world: World, *, ids: tuple[str, ...] = ("device:a",), at: int = T) -> World:
    return world.feed(msgspec.structs.replace(created(A, at), ids=[*ids], keys=[f"{A}.11"]), viewed(A, "tea", at)).run()


def asked(world: World) -> list[Command]:
    """The commands that engage has given, as stitch reads them."""
    return [decode(each.value) for each in world.everything() if each.topic == "ts.commands"]


def expired(time: int, at: int, version: int = 20) -> Change:
    return Change(at, token(f"expired {version}"), "expired", A, version, time, ["device:a"], keys=[f"{A}.11"])


def test_who_is_silent_is_asked_for_once_and_by_all_it_is_known_by() -> None:
    world = visitor(World(forgetful()), ids=("device:a", "cookie:b"))
    world.feed(tick(T + DAYS * DAY)).run()
    assert asked(world) == []
    world.feed(tick(T + DAYS * DAY + SECOND), tick(T + DAYS * DAY + MINUTE)).run()
    (command,) = asked(world)
    assert (command.op, command.ids) == ("expire", ["device:a", "cookie:b"])
    assert command.time == T + SECOND


def test_every_touchpoint_puts_it_off() -> None:
    world = visitor(World(forgetful()))
    later = T + 20 * DAY
    world.feed(viewed(A, "cup", later), tick(T + DAYS * DAY), tick(later + DAYS * DAY)).run()
    assert asked(world) == []
    world.feed(tick(later + DAYS * DAY + SECOND)).run()
    assert [command.time for command in asked(world)] == [later + SECOND]


@pytest.mark.parametrize("known", ["member:1", "phone:2", "something:new"])
def test_who_is_known_is_never_forgotten(known: str) -> None:
    world = visitor(World(forgetful()), ids=("device:a", known))
    world.feed(tick(T + 10 * DAYS * DAY)).run()
    assert asked(world) == []
    late = visitor(World(forgetful()))
    late.feed(Change(T + DAY, token("l"), "linked", A, 12, T + DAY, [known]), tick(T + 10 * DAYS * DAY)).run()
    assert asked(late) == []


def test_nobody_is_forgotten_unless_configured() -> None:
    world = visitor(World())
    assert not [timer for timer in world.profile(A).timers if timer.kind == "silence"]


def test_what_is_not_answered_is_asked_again() -> None:
    world = visitor(World(forgetful()))
    world.feed(*[tick(T + n * DAYS * DAY + SECOND) for n in (1, 2, 3)]).run()
    assert [(command.time - T) // DAY for command in asked(world)] == [0, DAYS, 2 * DAYS]


def test_who_is_known_by_changes_alone_expires_as_well() -> None:
    """As after a rebuild: the touchpoints were applied to who was forgotten afterwards."""
    world = World(forgetful()).feed(msgspec.structs.replace(created(A, T), ids=["device:a"])).run()
    world.feed(tick(T + DAYS * DAY + SECOND)).run()
    assert [command.time for command in asked(world)] == [T + SECOND]


def test_who_has_expired_is_forgotten_whole() -> None:
    world = visitor(World(forgetful()))
    assert world.counts["customers"] == 1
    world.feed(expired(T + SECOND, T + 31 * DAY)).run()
    assert world.counts["customers"] == 0
    assert (world.entities.get(f"c:{A}"), world.examples(A), world.parts(A), world.timers[0]) == (None, [], [], {})
    kinds = [each.kind for each in world.written("ts.identity.changes")]
    assert kinds == ["created", "expired"]
    assert replayed(world, [1, 2]).everything() == world.everything()


def test_who_comes_back_is_somebody_new_and_news_of_the_former_end_are_ignored() -> None:
    world = visitor(World(forgetful()))
    end = expired(T + SECOND, T + 31 * DAY)
    world.feed(end).run()
    back = T + 40 * DAY
    again = msgspec.structs.replace(created(A, back, version=30), id="again", keys=[f"{A}.22"])
    world.feed(again, viewed(A, "cup", back), msgspec.structs.replace(end, at=back)).run()
    profile = world.profile(A)
    assert (profile.keys, profile.touched, world.counts["customers"]) == (["22"], back, 1)
    assert [each.kind for each in world.written("ts.identity.changes")] == ["created", "expired", "created"]


def test_what_follows_in_the_same_batch_finds_nobody() -> None:
    world = visitor(World(forgetful()))
    world.feed(expired(T + SECOND, T + 31 * DAY), viewed(A, "cup", T + 31 * DAY), tick(T + 31 * DAY)).run()
    profile = world.profile(A)
    assert (profile.ids, profile.keys, len(profile.seen)) == ([], [], 10)
    assert world.counts["customers"] == 1


def test_the_end_of_nobody_and_of_who_has_become_another_is_not_told() -> None:
    world = World(forgetful()).feed(expired(T, T)).run()
    assert (world.counts["customers"], world.entities.get(f"c:{A}")) == (0, None)
    merged = visitor(World(forgetful())).feed(created(B, T))
    merged.merge(A, B, 10, T + MINUTE).run()
    merged.feed(expired(T + 31 * DAY, T + 31 * DAY)).run()
    assert merged.profile(A).alias == B
    assert isinstance(merged.profile(B), Profile)
    told = [*world.written("ts.identity.changes"), *merged.written("ts.identity.changes")]
    assert "expired" not in {each.kind for each in told}
