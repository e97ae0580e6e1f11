"""What became of messages, as the tools that send them report it, and what follows for the next one.

Delivered, opened and clicked messages are counted by channel. An address that a message bounced from for good is
closed, a channel that bounced softly three times in a row rests; an unsubscription forbids marketing on its channel, a
complaint everything but what is transactional; and what others have sent counts against the caps that say so. All of it
goes by event time, so that reports may come late and in any order.

Counts are plain, not decayed: they add up, whatever is merged in whatever order, and a customer who no longer answers
shows as fewer answers for the messages delivered.
"""

from __future__ import annotations

from collections.abc import Sequence

from operators import consent
from operators.playbook import PlayBook
from operators.plays import DAY
from schemas.stitched import Event, Gist
from schemas.touchpoint import Message
from state.profile import Engagement, Profile

#: channel -> namespaces of the identifier a message is addressed to.
ADDRESS: dict[str, tuple[str, ...]] = {
    "email": ("email",),
    "sms": ("phone",),
    "wechat": ("wechat_openid", "wechat_unionid"),
}
#: All of these.
ADDRESSES = frozenset(namespace for namespaces in ADDRESS.values() for namespace in namespaces)
#: Messages on channels that plays cannot use are remembered together.
ELSEWHERE = "elsewhere"
#: So many soft bounces, with nothing delivered in between or since, let a channel rest for so long after the last (ms).
SOFT_BOUNCES, REST = 3, 7 * DAY
#: Messages of others remembered on a channel: as many as the largest cap allows.
KEPT_OF_OTHERS = 100
#: An opening is worth this share of a click: mail programs open by themselves, and no tool sees an SMS being read.
OPENING = 0.25
#: What is not known of a channel: as if one message had been delivered, and this share of it clicked.
UNKNOWN = 0.1


def observe(profile: Profile, event: Event | Gist, body: Message, book: PlayBook, shown: Sequence[str]) -> None:
    """Fold in one report, in place. ``shown``: of a bounce, the identifiers that it carried."""
    ledger, channel, time = profile.consent, body.channel, event.time
    match event.type:
        case "Unsubscribed":
            consent.put(ledger, channel, consent.MARKETING, False, time)
        case "Message Complained":
            consent.put(ledger, channel, consent.MARKETING, False, time)
            consent.put(ledger, channel, consent.ANY, False, time)
        case "Message Bounced" if body.bounce != "soft":
            _close(profile, channel, time, shown)
        case "Message Sent" if not book.others or body.trigger_id is not None or body.play in book.plays:
            # It was sent for a decision of ours, and counted when that was taken; or nobody counts it.
            pass
        case _:
            _count(
                profile.engagement.setdefault(channel if channel in ADDRESS else ELSEWHERE, Engagement()), event, book
            )


def _count(known: Engagement, event: Event | Gist, book: PlayBook) -> None:
    time = event.time
    match event.type:
        case "Message Delivered":
            known.delivered, known.delivered_at = known.delivered + 1, max(known.delivered_at, time)
        case "Message Opened":
            known.opened, known.opened_at = known.opened + 1, max(known.opened_at, time)
        case "Message Clicked":
            known.clicked, known.clicked_at = known.clicked + 1, max(known.clicked_at, time)
        case "Message Bounced":
            known.bounces = sorted([*known.bounces, time])[-SOFT_BOUNCES:]
        case _:
            sent = [each for each in [*known.sent, time] if event.at - each < book.others]
            known.sent = sorted(sent)[-KEPT_OF_OTHERS:]


def _close(profile: Profile, channel: str, time: int, shown: Sequence[str]) -> None:
    """The address that a report names is none; if it names none, the one that was known by then."""
    namespaces = ADDRESS.get(channel, ())
    named = [token for token in shown if token.rpartition(":")[0] in namespaces]
    for namespace in namespaces:
        contact = profile.contacts.get(namespace)
        if contact is not None and (contact.token in named if named and contact.token else contact.time <= time):
            contact.bounced = max(contact.bounced, time)


def join(mine: dict[str, Engagement], other: dict[str, Engagement]) -> dict[str, Engagement]:
    """How two customers who are one have taken messages."""
    return {
        channel: _joined(mine.get(channel) or Engagement(), other.get(channel) or Engagement())
        for channel in {**mine, **other}
    }


def _joined(one: Engagement, other: Engagement) -> Engagement:
    return Engagement(
        one.delivered + other.delivered,
        one.opened + other.opened,
        one.clicked + other.clicked,
        max(one.delivered_at, other.delivered_at),
        max(one.opened_at, other.opened_at),
        max(one.clicked_at, other.clicked_at),
        sorted([*one.bounces, *other.bounces])[-SOFT_BOUNCES:],
        sorted([*one.sent, *other.sent])[-KEPT_OF_OTHERS:],
    )


def rests(profile: Profile, channel: str, at: int) -> bool:
    """Whether a channel has bounced softly too often to be tried at ``at`` (ms)."""
    known = profile.engagement.get(channel)
    if known is None or len(known.bounces) < SOFT_BOUNCES:
        return False
    came_through = max(known.delivered_at, known.opened_at, known.clicked_at)
    return came_through < known.bounces[0] and at < known.bounces[-1] + REST


def answered(profile: Profile, channel: str) -> float:
    """The share of messages on a channel that the customer answers: clicks, and openings for a part, of those that were
    delivered."""
    known = profile.engagement.get(channel)
    if known is None:
        return UNKNOWN
    delivered = max(known.delivered, known.opened, known.clicked)
    return (known.clicked + OPENING * known.opened + UNKNOWN) / (delivered + 1)


def sent_by_others(profile: Profile) -> list[tuple[int, str, str]]:
    """The messages of others that are remembered: time (ms), no play, channel."""
    return [(time, "", channel) for channel, known in profile.engagement.items() for time in known.sent]
