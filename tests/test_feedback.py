"""Feedback through the whole core: what sending tools report, and what follows for the next message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import consent, feedback, join, reasons
from operators.feedback import ELSEWHERE, KEPT_OF_OTHERS, REST, answered
from operators.playbook import PlayBook
from schemas.stitched import Change, Contact, Event
from schemas.touchpoint import Consent, Message
from state.profile import Contact as Address
from state.profile import Engagement, Profile
from tests.effort import examples
from tests.engage_helpers import DAY, MINUTE, A, B, T, World, created, event, reachable, replayed, token
from tests.test_fold import folded
from tests.test_plays import HOUR, on, plays, reachable_by_mail, tier, world
from tests.test_undo import shown, split

EACH = plays(each=on("Tier Changed") | {"channels": ["sms", "email"]})


def reported(what: str, time: int, channel: str = "sms", at: int | None = None, **more: Any) -> Event:
    kind = what if what == "Unsubscribed" else f"Message {what}"
    return event(A, kind, {"channel": channel, **more}, time, at=at)


def both(file: Any = EACH) -> World:
    """Someone who is reached by SMS and by e-mail."""
    return world(file).feed(*reachable_by_mail(A))


def gone_out_on(found: World) -> list[str]:
    return [each.data.channel for each in found.run().triggers]


# -- addresses ---------------------------------------------------------------------------------------------


def test_a_hard_bounce_closes_the_channel() -> None:
    assert gone_out_on(both().feed(tier("gold"))) == ["sms"]
    for bounced in (reported("Bounced", T - 1), reported("Bounced", T - 1, bounce="hard")):
        assert gone_out_on(both().feed(bounced, tier("gold"))) == ["email"]
    alone = world(EACH).feed(reported("Bounced", T - 1), tier("gold")).run()
    assert alone.told() == [("each", "unreachable")]


def number(text: str, time: int, version: int) -> Change:
    """A telephone number joins the customer."""
    contact = Contact("phone", "kid", f"sealed {text}", time, f"phone:{token(text)}")
    return Change(time, token(f"{text} {version}"), "linked", A, version, time, [contact.token], [contact])


def test_a_newer_address_opens_it_again_and_the_same_one_does_not() -> None:
    found = World(plays=EACH).feed(*reachable(A, T - DAY), number("one", T - HOUR, 3), reported("Bounced", T - 1))
    assert found.feed(tier("gold")).run().told() == [("each", "unreachable")]
    moved = Change(T, token("left"), "moved", A, 4, T, [f"phone:{token('one')}"], old=A, new=B)
    assert moved.customer == moved.old
    again = msgspec.structs.replace(number("one", T + 1, 5), old=B, new=A, kind="moved")
    found.feed(again, tier("silver", T + HOUR))
    assert found.run().told()[1:] == [("each", "unreachable")]
    found.feed(number("two", T + HOUR, 6), tier("bronze", T + 2 * HOUR))
    assert found.run().told()[2:] == [("each", "emitted")]


def test_a_report_names_the_address_that_bounced() -> None:
    found = World(plays=EACH).feed(*reachable(A, T - DAY), number("two", T - HOUR, 3))
    old, new = f"phone:{token('one')}", f"phone:{token('two')}"
    found.feed(shown(reported("Bounced", T - 1), old, "device:x"), tier("gold"))
    found.feed(shown(reported("Bounced", T + 1), new), tier("silver", T + HOUR))
    assert [code for _, code in found.run().told()] == ["emitted", "unreachable"]


def test_a_report_without_address_is_about_the_one_known_by_then() -> None:
    found = world(EACH).feed(reported("Bounced", T - 2 * DAY, at=T - 1), tier("gold"))
    assert found.run().told() == [("each", "emitted")]


def test_of_two_addresses_one_that_is_reached_is_kept() -> None:
    good, bad = Address("k", "a", 1, "phone:a"), Address("k", "b", 2, "phone:b", bounced=3)
    for mine, other in ((good, bad), (bad, good)):
        profile = Profile(A, contacts={"phone": mine})
        join.absorb(profile, Profile(B, contacts={"phone": other}))
        assert profile.contacts["phone"] == good


@pytest.mark.parametrize(
    ("reports", "channel"),
    [
        ([("Bounced", 1), ("Bounced", 2)], "sms"),
        ([("Bounced", 1), ("Bounced", 2), ("Bounced", 3)], "email"),
        ([("Bounced", 1), ("Delivered", 2), ("Bounced", 3), ("Bounced", 4)], "sms"),
        ([("Delivered", 1), ("Bounced", 2), ("Bounced", 3), ("Bounced", 4)], "email"),
        ([("Bounced", 1), ("Bounced", 2), ("Bounced", 3), ("Clicked", 4)], "sms"),
        ([("Bounced", 1), ("Bounced", 2), ("Bounced", 3), ("Delivered", 4)], "sms"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_three_soft_bounces_in_a_row_let_a_channel_rest(reports: Any, channel: str, order: int) -> None:
    happened = [reported(what, T - HOUR + n, at=T - 1, **_soft(what)) for what, n in reports][::order]
    assert gone_out_on(both().feed(*happened, tier("gold"))) == [channel]


def _soft(what: str) -> dict[str, str]:
    return {"bounce": "soft"} if what == "Bounced" else {}


def test_it_rests_for_a_while() -> None:
    bounced = [reported("Bounced", T + n, bounce="soft") for n in range(3)]
    assert gone_out_on(both().feed(*bounced, tier("gold", T + 1 + REST))) == ["email"]
    assert gone_out_on(both().feed(*bounced, tier("gold", T + 2 + REST))) == ["sms"]


# -- consent -----------------------------------------------------------------------------------------------


def purposes(*granted: str) -> list[Event]:
    """Someone who has allowed these purposes by SMS."""
    bare = event(A, "Consent Changed", {}, T - DAY, eid=token(str(granted)))
    return [msgspec.structs.replace(bare, consent=[Consent("sms", True, purpose) for purpose in granted])]


@pytest.mark.parametrize(
    ("what", "purpose", "code"),
    [
        ("Unsubscribed", "marketing", "no_consent"),
        ("Unsubscribed", "service", "emitted"),
        ("Complained", "marketing", "no_consent"),
        ("Complained", "service", "no_consent"),
        ("Complained", "transactional", "emitted"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_withdrawn_goes_by_purpose_and_by_event_time(what: str, purpose: str, code: str, first: bool) -> None:
    file = plays(each=on("Tier Changed") | {"purpose": purpose})
    allowed = [msgspec.structs.replace(each, at=T - 1) for each in purposes("marketing", "service", "transactional")]
    withdrawn = [reported(what, T - HOUR, at=T - 1)]
    before = [*withdrawn, *allowed] if first else [*allowed, *withdrawn]
    found = World(plays=file).feed(created(A, T - DAY, "phone"), *before, tier("gold")).run()
    assert found.told() == [("each", code)]


def test_a_complaint_is_about_its_channel_and_what_is_allowed_afterwards_is_allowed() -> None:
    assert gone_out_on(both().feed(reported("Complained", T - 1), tier("gold"))) == ["email"]
    anew = event(A, "Consent Changed", {}, T - 1, consent={"sms": True})
    assert gone_out_on(both().feed(reported("Complained", T - HOUR), anew, tier("gold"))) == ["sms"]


says = st.tuples(
    st.sampled_from(["marketing", "service", "transactional", consent.ANY]), st.booleans(), st.integers(1, 6)
)


@given(st.lists(says, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=examples(150), deadline=None)
def test_the_ledger_does_not_depend_on_the_order(some: list[tuple[str, bool, int]], rng: Any) -> None:
    def ledger(said: Sequence[tuple[str, bool, int]]) -> consent.Ledger:
        made: consent.Ledger = {}
        for purpose, granted, time in said:
            consent.put(made, "sms", purpose, granted, time)
        return made

    shuffled = rng.sample(some, len(some))
    assert ledger(shuffled) == ledger(some)
    # Of two who are one nothing is allowed that either has forbidden, as far as each had spoken.
    cut = rng.randint(0, len(some))
    one, other = ledger(some[:cut]), ledger(some[cut:])
    joined = consent.join(one, other)
    for purpose in ("marketing", "service", "transactional"):
        held = [each for each in (consent.said(one, "sms", purpose), consent.said(other, "sms", purpose)) if each]
        found = consent.said(joined, "sms", purpose)
        assert (found is None) == (not held)
        assert found is None or found[0] <= all(granted for granted, _ in held)
    assert consent.join(other, one) == joined


# -- engagement --------------------------------------------------------------------------------------------


def test_reports_are_counted_by_channel() -> None:
    found = both().feed(
        reported("Sent", T), reported("Delivered", T + 1), reported("Delivered", T + 9), reported("Opened", T + 3),
        reported("Clicked", T + 4), reported("Clicked", T + 2, at=T + 9), reported("Delivered", T + 5, "email"),
        reported("Opened", T + 6, "push"),
    ).run()  # fmt: skip
    assert found.profile(A).engagement == {
        "sms": Engagement(2, 1, 2, T + 9, T + 3, T + 4),
        "email": Engagement(1, 0, 0, T + 5),
        ELSEWHERE: Engagement(0, 1, 0, 0, T + 6),
    }


PREFERRED = plays(each=on("Tier Changed") | {"channels": ["sms", "email"], "prefer": "engaged"})


@pytest.mark.parametrize(
    ("reports", "channel"),
    [
        ([], "sms"),
        ([("Delivered", "sms")], "email"),  # one went unanswered, of the other nothing is known
        ([("Delivered", "sms"), ("Clicked", "sms")], "sms"),
        ([("Delivered", "sms"), ("Delivered", "email")], "sms"),
        ([("Delivered", "sms"), ("Delivered", "email"), ("Opened", "email")], "email"),
        ([("Delivered", "sms"), ("Clicked", "sms"), ("Delivered", "email"), ("Opened", "email")], "sms"),
        ([("Clicked", "email")], "email"),
    ],
)
def test_of_open_channels_the_one_that_is_answered_most_is_taken_where_a_play_says_so(
    reports: list[tuple[str, str]], channel: str
) -> None:
    happened = [reported(what, T - HOUR + n, by) for n, (what, by) in enumerate(reports)]
    found = both(PREFERRED).feed(*happened, tier("gold"))
    assert gone_out_on(found) == [channel]
    assert sorted(found.triggers[0].data.channels) == ["email", "sms"]
    assert found.triggers[0].data.channels[0] == channel
    assert gone_out_on(both().feed(*happened, tier("gold"))) == ["sms"]  # else the play's order


def test_a_channel_that_is_never_answered_falls_behind_one_that_was_never_tried() -> None:
    shares = [answered(Profile(A, engagement={"sms": Engagement(delivered=n)}), "sms") for n in range(5)]
    assert shares == sorted(shares, reverse=True)
    assert answered(Profile(A), "email") == shares[0]


def test_plays_can_ask_for_it() -> None:
    file = plays(
        each=on("Tier Changed") | {"who": "known(profile.last_clicked) and since(profile.last_opened) < days(7)"},
        bounced=on("Message Bounced", where="event.bounce == 'soft' and not profile.bounced"),
        lost=on("Message Bounced", where="profile.bounced") | {"channels": ["email", "sms"]},
    )
    found = both(file).feed(tier("none"), reported("Opened", T + 1), reported("Clicked", T + 2), tier("some", T + 3))
    found.feed(reported("Bounced", T + 4, bounce="soft"), reported("Bounced", T + 2 * MINUTE)).run()
    assert found.told() == [
        ("each", "filter"), ("each", "emitted"), ("bounced", "emitted"), ("lost", "emitted"),
    ]  # fmt: skip


# -- caps --------------------------------------------------------------------------------------------------

CAPS = [{"messages": 2, "within": "7d", "others": True}]
CAPPED = plays({"caps": CAPS}, each=on("Tier Changed"))


def codes(found: World) -> list[str]:
    return [code for _, code in found.run().told()]


def test_what_others_send_counts_where_a_cap_says_so() -> None:
    others = [reported("Sent", T - HOUR + n, "push") for n in range(2)]
    assert codes(world(CAPPED).feed(*others, tier("gold"))) == ["frequency_cap"]
    assert codes(world(CAPPED).feed(*others[:1], tier("gold"), tier("silver", T + HOUR))) == [
        "emitted", "frequency_cap",
    ]  # fmt: skip
    file = plays({"caps": [{"messages": 2, "within": "7d"}]}, each=on("Tier Changed"))
    assert codes(world(file).feed(*others, tier("gold"), tier("silver", T + HOUR))) == ["emitted", "emitted"]


def test_our_own_message_is_counted_once() -> None:
    for own in (reported("Sent", T + 1, trigger_id="t"), reported("Sent", T + 1, play="each")):
        found = world(CAPPED).feed(tier("gold"), own, tier("silver", T + HOUR))
        assert codes(found) == ["emitted", "emitted"]
    foreign = world(CAPPED).feed(tier("gold"), reported("Sent", T + 1, play="newsletter"), tier("silver", T + HOUR))
    assert codes(foreign) == ["emitted", "frequency_cap"]


def test_the_window_slides_over_what_others_sent_by_event_time() -> None:
    late = reported("Sent", T - 8 * DAY, at=T - 1)
    some = [reported("Sent", T - 7 * DAY + n, at=T - 1) for n in (0, 1)]
    assert codes(world(CAPPED).feed(late, *some, tier("gold"), tier("silver", T + 1 + HOUR))) == [
        "emitted", "emitted",
    ]  # fmt: skip
    assert codes(world(CAPPED).feed(some[1], reported("Sent", T - 1), tier("gold"))) == ["frequency_cap"]


def test_a_cap_of_a_channel_counts_what_others_sent_there() -> None:
    caps = [{"messages": 9, "within": "7d"}, {"messages": 1, "within": "7d", "channel": "sms", "others": True}]
    file = plays({"caps": caps}, each=on("Tier Changed") | {"channels": ["sms", "email"]})
    assert gone_out_on(both(file).feed(reported("Sent", T - 1, "email"), tier("gold"))) == ["sms"]
    assert gone_out_on(both(file).feed(reported("Sent", T - 1, "sms"), tier("gold"))) == ["email"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12 * 24)), max_size=30), st.integers(1, 4))
@settings(max_examples=examples(150), deadline=None)
def test_no_window_ever_holds_more_than_a_cap_allows(happened: list[tuple[bool, int]], most: int) -> None:
    """Whatever others send: where one of ours goes out, it and all before it in its window are no more than so many."""
    file = plays({"caps": [{"messages": most, "within": "3d", "others": True}]}, each=on("Tier Changed"))
    found, times = world(file), sorted(happened, key=lambda each: each[1])
    for n, (ours, hour) in enumerate(times):
        at = T + hour * HOUR + n
        found.feed(tier(f"tier{n}", at) if ours else reported("Sent", at))
    found.run()
    sent = [each.data.decided_at for each in found.triggers]
    others = [T + hour * HOUR + n for n, (ours, hour) in enumerate(times) if not ours]
    for at in sent:
        assert sum(at - 3 * DAY < each <= at for each in [*sent, *others]) <= most
    assert len(found.profile(A).engagement.get("sms", Engagement()).sent) <= KEPT_OF_OTHERS
    assert replayed(found, [3, 1, 5]).everything() == found.everything()


# -- grounds -----------------------------------------------------------------------------------------------


def test_a_decision_can_be_taken_again_and_tells_what_became_of_messages() -> None:
    caps = [{"messages": 2, "within": "7d", "channel": "sms", "others": True}, {"messages": 9, "within": "7d"}]
    play = on("Tier Changed") | {"channels": ["sms", "email"], "prefer": "engaged", "cool_down": "1m"}
    file = plays({"caps": caps}, each=play)
    found = both(file).feed(
        reported("Sent", T), reported("Clicked", T + 1, "email"), tier("one", T + HOUR),
        reported("Bounced", T + 2 * HOUR, "email"), tier("two", T + 3 * HOUR), tier("three", T + 4 * HOUR),
        *[reported("Bounced", T + 8 * DAY + n, bounce="soft") for n in range(3)], tier("four", T + 8 * DAY + HOUR),
    ).run()  # fmt: skip
    books = {book.version: book for book in [PlayBook(file)]}
    assert [(each.code, each.channel) for each in found.decisions] == [
        (None, "email"), (None, "sms"), ("unreachable", None), ("unreachable", None),
    ]  # fmt: skip
    for each in found.decisions:
        assert reasons.recorded(reasons.again(each, books), each)
    told = [check.text for each in found.decisions for check in reasons.checks(each, books) if check.step == "channel"]
    assert told == [
        "sms: phone, 10 % answered; email: email, 55 % answered",
        "sms: phone, 10 % answered; email: email (bounced), 55 % answered",
        "sms: phone, 10 % answered; email: email (bounced), 55 % answered",
        "sms: rests, since messages have bounced; email: email (bounced), 55 % answered",
    ]


# -- merges ------------------------------------------------------------------------------------------------

kinds = st.sampled_from(["Delivered", "Opened", "Clicked", "Bounced", "Complained", "Unsubscribed", "Sent"])
reports = st.lists(st.tuples(kinds, st.sampled_from(["sms", "email"]), st.booleans(), st.booleans()), max_size=16)


@given(reports, st.randoms(use_true_random=False))
@settings(max_examples=examples(150), deadline=None)
def test_a_join_is_as_if_one_had_reported_it_all_in_any_order(
    some: list[tuple[str, str, bool, bool]], rng: Any
) -> None:
    book = PlayBook(CAPPED)

    def heard(events: Sequence[tuple[Event, Message]]) -> Profile:
        profile = folded()
        for each, body in events:
            feedback.observe(profile, each, body, book, ())
        return profile

    happened = [
        (reported(what, T + n, channel, at=T + DAY), Message(channel, bounce="soft"), mine)
        for n, (what, channel, _, mine) in enumerate(some)
    ]
    one = heard([(each, body) for each, body, mine in happened if mine])
    other = heard([(each, body) for each, body, mine in happened if not mine])
    both = heard([(each, body) for each, body, _ in rng.sample(happened, len(happened))])
    join.absorb(one, other)
    assert (one.engagement, one.consent) == (both.engagement, both.consent)


def test_feedback_stays_on_the_side_that_sent_it() -> None:
    found = World(plays=EACH).feed(number("one", T - HOUR, 1))
    mail = Contact("email", "kid", "sealed", T - HOUR, f"email:{token('one')}")
    found.feed(Change(T - HOUR, token("mail"), "created", B, 1, T - HOUR, [mail.token], [mail]))
    found.run().merge(A, B, 10, T).run()
    told = {f"phone:{token('one')}": reported("Bounced", T + 1), mail.token: reported("Clicked", T + 2, "email")}
    found.feed(*[msgspec.structs.replace(shown(each, by), customer=B) for by, each in told.items()]).run()
    together = found.profile(B)
    assert (together.contacts["phone"].bounced, together.engagement["email"].clicked) == (T + 1, 1)
    split(found, B, A, [f"phone:{token('one')}"], 11, T + 3)
    found.run()
    left, stayed = found.profile(A), found.profile(B)
    assert (left.contacts["phone"].bounced, left.engagement) == (T + 1, {})
    assert (list(stayed.contacts), stayed.engagement["email"].clicked) == (["email"], 1)
    assert replayed(found, [2, 3]).everything() == found.everything()
