"""Governance: whether a candidate may be sent, in a fixed order, each stop with its code.

consent → filter → duplicate → cool-down → arbitration → frequency caps → budget → quiet hours → holdout → variant →
channel. Each step narrows the open channels; the decision stops when none is left, with the code of the step that
removed the last one. Quiet hours and the window of a group may hold it instead: then all of this is asked anew.

`decide` takes nothing yet; what a decision uses up is taken by `record`, in the same commit.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import blake2b
from typing import NamedTuple

from operators import quiet
from operators.chance import share, weighted
from operators.playbook import PlayBook
from operators.plays import KEPT_SENT, Candidate, Cap, Play
from state.profile import Decided, Profile, Sent

#: channel -> namespaces of the identifier a message is addressed to.
ADDRESS: dict[str, tuple[str, ...]] = {
    "email": ("email",),
    "sms": ("phone",),
    "wechat": ("wechat_openid", "wechat_unionid"),
}

#: How many decisions a profile keeps, and how many messages of it may wait at once.
KEPT_DECISIONS, KEPT_HELD = 20, 20
#: Keys that a play which decides once per key remembers of one customer: a ticket that comes back after so many others
#: would be taken for new.
KEPT_ONCE = 50
#: Why a message waits.
QUIET_HOURS, ARBITRATION = "quiet_hours", "arbitration"
#: The holdout of all plays, and that of one.
GLOBAL, OF_PLAY = "holdout_global", "holdout_play"


class Verdict(NamedTuple):
    """``code`` is None for an emitted message: ``channel`` and ``namespace`` say how it goes out. So they do for one
    that is held out. ``until`` (ms): it is held, not stopped. ``channels``: all that it could go out on."""

    code: str | None
    channel: str | None = None
    namespace: str | None = None
    variant: str | None = None
    until: int = 0
    channels: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """As on ``decisions``."""
        if self.code is None:
            return "emitted"
        return "held" if self.until else "held_out" if self.code in (GLOBAL, OF_PLAY) else "stopped"


class Circumstances(NamedTuple):
    """What a decision depends on beside candidate and profile: the clock (ms), the plays in force, messages left of the
    play's budget (None: any), whether another play of its group was chosen, and whether it has waited for others."""

    at: int
    book: PlayBook
    left: int | None = None
    lost: bool = False
    waited: bool = False


def decide(candidate: Candidate, decision_id: str, profile: Profile, given: Circumstances) -> Verdict:
    """The verdict on ``candidate``."""
    play, at, skips = candidate.play, given.at, candidate.play.skips
    channels = [each for each in play.channels if "consent" in skips or consented(profile, each, play.purpose)]
    if not channels:
        return Verdict("no_consent")
    if play.who is not None and not play.who(None, None, profile, at, "", 0):
        return Verdict("filter")
    if any([each.id == decision_id for each in profile.decided]):
        return Verdict("duplicate")
    if play.once and candidate.held is None and mark(candidate.business_key) in profile.once.get(play.name, ()):
        return Verdict("duplicate")
    if "cool_down" not in skips and at - profile.cooling.get(play.name, -play.cool_down) < play.cool_down:
        return Verdict("cool_down")
    if given.lost:
        return Verdict(ARBITRATION)
    if play.group in given.book.windows and not given.waited:
        return _held(profile, ARBITRATION, _window_ends(play.group or "", profile, given))
    if "caps" not in skips:
        channels = [each for each in channels if not _capped(play, each, profile, given)]
        if not channels:
            return Verdict("frequency_cap")
    if given.left is not None and given.left <= 0:
        return Verdict("budget")
    return _timely(play, channels, profile, given)


def _timely(play: Play, channels: list[str], profile: Profile, given: Circumstances) -> Verdict:
    """The verdict from quiet hours on."""
    hours = given.book.quiet_hours
    if hours is not None and "quiet_hours" not in play.skips:
        until = quiet.ends(hours, given.at, profile.timezone, given.book.timezone)
        open_now = [each for each in channels if not until or (hours.channels and each not in hours.channels)]
        if not open_now:
            return _held(profile, QUIET_HOURS, until) if hours.hold else Verdict(QUIET_HOURS)
        channels = open_now
    code = None if "holdout" in play.skips else held_out(play, profile, given.book)
    chosen = variant(play, profile)
    reachable = [
        (channel, namespace) for channel in channels for namespace in ADDRESS[channel] if namespace in profile.contacts
    ]
    if not reachable:
        return Verdict("unreachable")
    return Verdict(code, *reachable[0], chosen, channels=tuple(dict.fromkeys(channel for channel, _ in reachable)))


def _held(profile: Profile, code: str, until: int) -> Verdict:
    """Held, if there is room."""
    return Verdict("too_many_held") if len(profile.held) >= KEPT_HELD else Verdict(code, until=until)


def _window_ends(group: str, profile: Profile, given: Circumstances) -> int:
    """When the window of a group closes that is open, or opens now."""
    book = given.book
    waiting = [each for each in profile.held if each.code == ARBITRATION and book.group(each.play) == group]
    return min([each.until for each in waiting], default=given.at + book.windows[group])


def _capped(play: Play, channel: str, profile: Profile, given: Circumstances) -> bool:
    """Whether one more message would be too many for any cap that it counts against."""
    at, book = given.at, given.book
    return any([
        sum([
            at - sent.at < cap.within and _counts(cap, sent.channel, book.category(sent.play)) for sent in profile.sent
        ]) >= cap.messages
        for cap in book.caps
        if _counts(cap, channel, play.category)
    ])  # fmt: skip


def _counts(cap: Cap, channel: str, category: str | None) -> bool:
    return cap.channel in (None, channel) and cap.category in (None, category)


def held_out(play: Play, profile: Profile, book: PlayBook) -> str | None:
    """Which holdout keeps the play from the customer, if one does. Who was merged with someone held out is held out."""
    births = [profile.customer, *profile.births]
    if book.holdout and any([share("holdout", birth) < book.holdout for birth in births]):
        return GLOBAL
    if play.holdout and any([share("holdout", play.name, birth) < play.holdout for birth in births]):
        return OF_PLAY
    return None


def variant(play: Play, profile: Profile) -> str | None:
    """What the play says to this customer: what it said before or, the first time, what is drawn."""
    known = profile.variants.get(play.name)
    if known in play.variants:
        return known
    weights = {name: each.weight for name, each in play.variants.items()}
    return weighted(weights, "variant", play.name, profile.customer)


def record(candidate: Candidate, decision_id: str, verdict: Verdict, profile: Profile, given: Circumstances) -> None:
    """Take the decision: remember it. Whatever would be sent uses up the cool-down, what is sent the caps too."""
    play, at = candidate.play, given.at
    profile.decided.append(Decided(decision_id, at, play.name, verdict.code or "emitted"))
    del profile.decided[:-KEPT_DECISIONS]
    if play.once:
        known = [each for each in profile.once.get(play.name, ()) if each != mark(candidate.business_key)]
        profile.once[play.name] = [*known, mark(candidate.business_key)][-KEPT_ONCE:]
    if verdict.channel is None:
        return
    profile.cooling[play.name] = at
    if verdict.variant is not None:
        profile.variants[play.name] = verdict.variant
    if verdict.code is None:
        sent = [*profile.sent, Sent(at, play.name, verdict.channel)]
        profile.sent = [each for each in sent if at - each.at < given.book.remembered][-KEPT_SENT:]
        if play.name not in profile.treated:
            profile.treated.append(play.name)


def mark(key: str) -> str:
    """What is remembered of a key: 48 bits of its hash."""
    return b64encode(blake2b(key.encode(), digest_size=6).digest()).decode()


def consented(profile: Profile, channel: str, purpose: str) -> bool:
    """Whether the customer allowed ``purpose`` on ``channel``; silence is no consent."""
    granted = profile.consent.get(f"{channel}/{purpose}")
    return granted is not None and granted[0]
