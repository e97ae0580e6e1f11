"""Whether a candidate may be sent: each stop, their order, and what a decision takes."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import governance
from operators.deciding import decision_id
from operators.governance import KEPT_DECISIONS, Circumstances, Verdict
from operators.playbook import PlayBook
from operators.plays import KEPT_SENT, Candidate
from operators.texts import rfc3339
from schemas.touchpoint import MAX_TIME, MIN_TIME
from state.profile import Contact, Decided, Profile, Sent
from tests.engage_helpers import BOOK, DAY, PLAYS, A, B, T, capped

BY_SMS = Verdict(None, "sms", "phone", channels=("sms",))
PHONE = Contact("kid", "sealed", T)


def candidate(key: str = "tea", occurrence: str = "1") -> Candidate:
    return Candidate(BOOK.plays["repeat_view"], key, occurrence, "touchpoint", T, T, {})


def willing(**changes: object) -> Profile:
    """A customer to whom the play may be sent by SMS, but for the changes."""
    profile = Profile(A, consent={"sms/marketing": (True, 1)}, contacts={"phone": PHONE})
    for name, value in changes.items():
        setattr(profile, name, value)
    return profile


def verdict(profile: Profile, at: int = T) -> Verdict:
    return decide(candidate(), "own", profile, Circumstances(at, BOOK))


def decide(candidate: Candidate, id: str, profile: Profile, given: Circumstances) -> Verdict:
    rests = governance.grounds(candidate, id, profile, given)
    return governance.decide(candidate.play, id, profile.customer, given.at, rests, given.book)


CAP = [Sent(T - 7 * DAY + 1 + n, "welcome", "sms") for n in range(3)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, BY_SMS),
        ({"consent": {}}, Verdict("no_consent")),
        ({"consent": {"sms/marketing": (False, 1)}}, Verdict("no_consent")),
        ({"consent": {"sms/service": (True, 1)}}, Verdict("no_consent")),
        ({"decided": [Decided("own", 1, "repeat_view", "unreachable")]}, Verdict("duplicate")),
        (
            {"decided": [Decided("other", 1, "repeat_view", "emitted")]},
            BY_SMS,
        ),
        ({"cooling": {"repeat_view": T - 14 * DAY + 1}}, Verdict("cool_down")),
        ({"cooling": {"repeat_view": T - 14 * DAY, "welcome": T}}, BY_SMS),
        ({"sent": CAP}, Verdict("frequency_cap")),
        ({"sent": [Sent(T - 7 * DAY, "welcome", "sms"), *CAP[:2]]}, BY_SMS),
        ({"contacts": {}}, Verdict("unreachable")),
        ({"contacts": {"email": PHONE}}, Verdict("unreachable")),
    ],
)
def test_each_stop_has_its_code(changes: dict[str, object], expected: Verdict) -> None:
    assert verdict(willing(**changes)) == expected


def test_channels_are_taken_in_the_order_of_preference() -> None:
    everywhere = {f"{channel}/marketing": (True, 1) for channel in ("sms", "email", "wechat")}
    addresses = {"email": PHONE, "phone": PHONE, "wechat_unionid": PHONE, "wechat_openid": PHONE}
    chosen = []
    while addresses:
        _, channel, namespace, *_ = verdict(willing(consent=everywhere, contacts=addresses))
        assert namespace is not None
        chosen.append((channel, namespace))
        del addresses[namespace]
    expected = [("wechat", "wechat_openid"), ("wechat", "wechat_unionid"), ("sms", "phone"), ("email", "email")]
    assert chosen == expected


def test_the_steps_come_in_their_order() -> None:
    stops: dict[str, tuple[str, object, object]] = {
        "no_consent": ("consent", {}, {"sms/marketing": (True, 1)}),
        "duplicate": ("decided", [Decided("own", 1, "repeat_view", "emitted")], []),
        "cool_down": ("cooling", {"repeat_view": T}, {}),
        "frequency_cap": ("sent", CAP, []),
        "unreachable": ("contacts", {}, {"phone": PHONE}),
    }
    profile = willing(**{name: bad for name, bad, _ in stops.values()})
    found = []
    for name, _, good in stops.values():
        found.append(verdict(profile).code)
        setattr(profile, name, good)
    assert found == list(stops)
    assert verdict(profile).code is None


def test_only_an_emitted_decision_uses_up_cap_and_cool_down() -> None:
    profile = willing()
    governance.record(candidate(), "one", Verdict("unreachable"), profile, Circumstances(T, BOOK))
    assert (profile.sent, profile.cooling) == ([], {})
    governance.record(candidate(), "two", Verdict(None, "sms", "phone"), profile, Circumstances(T + 1, BOOK))
    assert profile.sent == [Sent(T + 1, "repeat_view", "sms")]
    assert profile.cooling == {"repeat_view": T + 1}
    assert [(each.id, each.code) for each in profile.decided] == [("one", "unreachable"), ("two", "emitted")]


def test_what_is_remembered_is_bounded() -> None:
    profile = willing()
    for n in range(KEPT_SENT + 10):
        governance.record(candidate(), str(n), Verdict(None, "sms", "phone"), profile, Circumstances(T + n, BOOK))
    assert (len(profile.sent), len(profile.decided)) == (KEPT_SENT, KEPT_DECISIONS)
    assert profile.sent[-1].at == T + KEPT_SENT + 9
    governance.record(candidate(), "later", Verdict(None, "sms", "phone"), profile, Circumstances(T + 8 * DAY, BOOK))
    assert [each.at for each in profile.sent] == [T + 8 * DAY]


@given(st.lists(st.integers(0, 40).map(lambda n: n * DAY // 2), min_size=5, max_size=40), st.integers(1, 5))
@settings(deadline=None)
def test_the_cap_is_sliding_and_exact(times: list[int], cap: int) -> None:
    book = PlayBook(capped(cap))
    profile, emitted = willing(), list[int]()
    for n, time in enumerate(sorted(times)):
        profile.cooling.clear()
        found = decide(candidate(), str(n), profile, Circumstances(T + time, book))
        assert (found.code is None) == (sum(time - each < 7 * DAY for each in emitted) < cap)
        governance.record(candidate(), str(n), found, profile, Circumstances(T + time, book))
        if found.code is None:
            emitted.append(time)


def test_silence_is_no_consent() -> None:
    assert verdict(willing(consent={})) == Verdict("no_consent")


parts = st.tuples(st.text("ab\x1f", max_size=4), st.text("ab\x1f", max_size=4))


@given(parts, parts)
@settings(deadline=None)
def test_a_decision_id_follows_from_what_is_decided_alone(one: tuple[str, str], other: tuple[str, str]) -> None:
    ids = decision_id(candidate(*one), A), decision_id(candidate(*other)._replace(ts=9, time=9, touchpoint=""), A)
    assert (ids[0] == ids[1]) == (one == other or "\x1f".join(one) == "\x1f".join(other))
    assert UUID(ids[0]).version == 5
    assert decision_id(candidate(*one), B) != ids[0]
    assert decision_id(candidate(*one)._replace(play=BOOK.plays["welcome"]), A) != ids[0]


def test_a_decision_id_is_for_ever() -> None:
    assert decision_id(candidate("signup", "1"), "b9a1") == "16b87da4-2b0b-51e2-8179-d1d4b9f29ef9"


def test_the_version_of_the_plays_names_their_content() -> None:
    assert PlayBook(PLAYS).version == BOOK.version
    assert PlayBook(capped(4)).version != BOOK.version


@given(st.integers(MIN_TIME, MAX_TIME - 1))
@settings(deadline=None)
def test_times_are_written_to_the_millisecond(ms: int) -> None:
    assert rfc3339(ms).endswith(f".{ms % 1000:03}Z")
    assert len(rfc3339(ms)) == 24
