"""Governance: whether a candidate may be sent, in a fixed order, each stop with its code.

consent → filter → duplicate → cool-down → frequency cap → channel. Each step narrows the open channels; the decision
stops when none is left, with the code of the step that removed the last one.
"""

from __future__ import annotations

from typing import NamedTuple

from operators.plays import KEPT_SENT, Candidate, Cap, Play, PlayBook
from state.profile import Decided, Profile, Sent

#: channel -> namespaces of the identifier a message is addressed to.
ADDRESS: dict[str, tuple[str, ...]] = {
    "email": ("email",),
    "sms": ("phone",),
    "wechat": ("wechat_openid", "wechat_unionid"),
}

#: How many decisions a profile keeps.
KEPT_DECISIONS = 20


class Verdict(NamedTuple):
    """``code`` is None for an emitted message; then ``channel`` and ``namespace`` say how it goes out."""

    code: str | None
    channel: str | None = None
    namespace: str | None = None


def decide(candidate: Candidate, decision_id: str, profile: Profile, at: int, book: PlayBook) -> Verdict:
    """The verdict on ``candidate`` at ``at`` (ms). Takes nothing yet: see `record`."""
    play = candidate.play
    channels = [channel for channel in play.channels if consented(profile, channel, play.purpose)]
    if not channels:
        return Verdict("no_consent")
    if play.who is not None and not play.who(None, None, profile, at, "", 0):
        return Verdict("filter")
    if any(each.id == decision_id for each in profile.decided):
        return Verdict("duplicate")
    if at - profile.cooling.get(play.name, -play.cool_down) < play.cool_down:
        return Verdict("cool_down")
    channels = [channel for channel in channels if not _capped(play, channel, profile, at, book)]
    if not channels:
        return Verdict("frequency_cap")
    for channel in channels:
        for namespace in ADDRESS[channel]:
            if namespace in profile.contacts:
                return Verdict(None, channel, namespace)
    return Verdict("unreachable")


def _capped(play: Play, channel: str, profile: Profile, at: int, book: PlayBook) -> bool:
    """Whether one more message would be too many for any cap that it counts against."""
    return any([
        sum([
            at - sent.at < cap.within and _counts(cap, sent.channel, book.category(sent.play)) for sent in profile.sent
        ]) >= cap.messages
        for cap in book.caps
        if _counts(cap, channel, play.category)
    ])  # fmt: skip


def _counts(cap: Cap, channel: str, category: str | None) -> bool:
    return cap.channel in (None, channel) and cap.category in (None, category)


def record(candidate: Candidate, decision_id: str, verdict: Verdict, profile: Profile, at: int, book: PlayBook) -> None:
    """Take the decision: remember it and, if emitted, use up cap and cool-down."""
    profile.decided.append(Decided(decision_id, at, candidate.play.name, verdict.code or "emitted"))
    del profile.decided[:-KEPT_DECISIONS]
    if verdict.code is None and verdict.channel is not None:
        profile.cooling[candidate.play.name] = at
        sent = [*profile.sent, Sent(at, candidate.play.name, verdict.channel)]
        profile.sent = [each for each in sent if at - each.at < book.remembered][-KEPT_SENT:]


def consented(profile: Profile, channel: str, purpose: str) -> bool:
    """Whether the customer allowed ``purpose`` on ``channel``; silence is no consent."""
    granted = profile.consent.get(f"{channel}/{purpose}")
    return granted is not None and granted[0]
