"""Governance: whether a candidate may be sent, in a fixed order, each stop with its code.

consent → filter → duplicate → cool-down → arbitration → frequency caps → budget → quiet hours → holdout → variant →
channel. Each step narrows the open channels; the decision stops when none is left, with the code of the step that
removed the last one. Quiet hours and the window of a group may hold it instead: then all of this is asked anew.

`grounds` collects what the decision rests on, `decide` takes it from them and nothing else, `record` takes what it uses
up, in the same commit.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

from operators import bandit, feedback, quiet
from operators.chance import share, weighted
from operators.consent import said
from operators.feedback import ADDRESS, ADDRESSES
from operators.playbook import PlayBook
from operators.plays import EXIT, KEPT_SENT, Candidate, Cap, Play
from schemas.outputs import Grounds
from state.profile import Decided, Profile, Sent

#: How many decisions a profile keeps, and how many messages of it may wait at once.
KEPT_DECISIONS, KEPT_HELD = 20, 20
#: Keys that a play which decides once per key remembers of one customer: a ticket that comes back after so many others
#: would be taken for new.
KEPT_ONCE = 50
#: Why a message waits.
QUIET_HOURS, ARBITRATION = "quiet_hours", "arbitration"
#: Latest messages meant to change what a customer does of which the time is remembered.
KEPT_TREATMENTS = 16
#: Consent of which nothing is known: silence is no consent.
_SILENT = (False, 0)
#: The holdout of all plays, and that of one.
GLOBAL, OF_PLAY = "holdout_global", "holdout_play"
#: Of a play that does everything but send.
SHADOW = "shadow"
#: Outcomes of what was decided to the end but not sent, by code.
_NOT_SENT = {GLOBAL: "held_out", OF_PLAY: "held_out", SHADOW: "shadow"}


class Verdict(NamedTuple):
    """``code`` is None for an emitted message: ``channel`` and ``namespace`` say how it goes out. So they do for one
    that is held out. ``until`` (ms): it is held, not stopped. ``channels``: all that it could go out on."""

    code: str | None
    channel: str | None = None
    namespace: str | None = None
    variant: str | None = None
    until: int = 0
    channels: tuple[str, ...] = ()
    explored: bool | None = None

    @property
    def outcome(self) -> str:
        """As on ``decisions``."""
        if self.code is None:
            return "emitted"
        return "held" if self.until else _NOT_SENT.get(self.code, "stopped")


class Circumstances(NamedTuple):
    """What a decision depends on beside candidate and profile: the clock (ms), the plays in force, messages left of the
    play's budget (None: any), which other play of its group was chosen ("": none), and whether it has waited for
    others."""

    at: int
    book: PlayBook
    left: int | None = None
    lost: str = ""
    waited: bool = False
    arms: Mapping[str, tuple[int, int]] = MappingProxyType({})


def grounds(candidate: Candidate, decision_id: str, profile: Profile, given: Circumstances) -> Grounds:
    """All that the decision will rest on."""
    play = candidate.play
    marks = profile.once.get(play.name, ()) if play.once and candidate.held is None else ()
    return Grounds(
        left=given.left,
        lost=given.lost,
        waited=given.waited,
        who=_read(play, profile, given.at),
        consent={each: known for each in play.channels if (known := said(profile.consent, each, play.purpose))},
        decided=any([each.id == decision_id for each in profile.decided])
        or (bool(marks) and mark(candidate.business_key) in marks),
        last=profile.cooling.get(play.name),
        sent=[(each.at, each.play, each.channel) for each in profile.sent]
        + (feedback.sent_by_others(profile) if given.book.others else []),
        held=len(profile.held),
        window=_window_ends(play.group or "", profile, given) if play.group in given.book.windows else 0,
        timezone=profile.timezone,
        births=list(profile.births),
        variant=profile.variants.get(play.name),
        arms=dict(given.arms),
        refused=dict(profile.refused) if play.bandit else {},
        addresses=[
            namespace for namespace, known in profile.contacts.items() if namespace in ADDRESSES and not known.bounced
        ],
        bounced=[namespace for namespace, contact in profile.contacts.items() if contact.bounced],
        resting=[each for each in profile.engagement if feedback.rests(profile, each, given.at)],
        answers={each: feedback.answered(profile, each) for each in play.channels} if play.prefer == "engaged" else {},
    )


def _read(play: Play, profile: Profile, at: int) -> dict[str, Any]:
    """What the conditions of a play name."""
    conditions = [play.who, play.exit.when if play.exit else None]
    read = [each.read(None, None, profile, at, "", 0) for each in conditions if each is not None]
    return {name: value for names in read for name, value in names.items()}


def decide(play: Play, id: str, customer: str, at: int, rests: Grounds, book: PlayBook) -> Verdict:
    """The verdict of decision ``id`` (as it is published) at ``at`` (ms), from its grounds alone: whoever has kept them
    can take the decision again."""
    skips = play.skips
    if play.mode == "test" and book.testers.isdisjoint([customer, *rests.births]):
        return Verdict("not_a_tester")
    channels = [each for each in play.channels if "consent" in skips or rests.consent.get(each, _SILENT)[0]]
    if not channels:
        return Verdict("no_consent")
    if play.who is not None and not play.who.holds(rests.who, at):
        return Verdict("filter")
    if play.exit is not None and play.exit.when is not None and play.exit.when.holds(rests.who, at):
        return Verdict(EXIT)
    if rests.decided:
        return Verdict("duplicate")
    if "cool_down" not in skips and rests.last is not None and at - rests.last < play.cool_down:
        return Verdict("cool_down")
    if rests.lost:
        return Verdict(ARBITRATION)
    if rests.window and not rests.waited:
        return _held(rests, ARBITRATION, rests.window)
    if "caps" not in skips:
        channels = [each for each in channels if capped_until(play, each, at, rests, book) is None]
        if not channels:
            return Verdict("frequency_cap")
    if rests.left is not None and rests.left <= 0:
        return Verdict("budget")
    return _timely(play, id, customer, at, channels, rests, book)


def _timely(
    play: Play, id: str, customer: str, at: int, channels: list[str], rests: Grounds, book: PlayBook
) -> Verdict:
    """The verdict from quiet hours on."""
    hours = book.quiet_hours
    if hours is not None and "quiet_hours" not in play.skips:
        until = quiet.ends(hours, at, rests.timezone, book.timezone)
        open_now = [each for each in channels if not until or (hours.channels and each not in hours.channels)]
        if not open_now:
            return _held(rests, QUIET_HOURS, until) if hours.hold else Verdict(QUIET_HOURS)
        channels = open_now
    code = None if "holdout" in play.skips else held_out(play, [customer, *rests.births], book)
    code = SHADOW if code is None and play.mode == "shadow" else code
    said_so, explored = chosen(play, id, customer, rests)
    reachable = [
        (channel, namespace)
        for channel in channels
        if channel not in rests.resting
        for namespace in ADDRESS[channel]
        if namespace in rests.addresses
    ]
    if not reachable:
        return Verdict("unreachable")
    if play.prefer == "engaged":
        reachable.sort(key=lambda each: -rests.answers[each[0]])
    open_channels = tuple(dict.fromkeys(channel for channel, _ in reachable))
    return Verdict(code, *reachable[0], said_so, channels=open_channels, explored=explored)


def _held(rests: Grounds, code: str, until: int) -> Verdict:
    """Held, if there is room."""
    return Verdict("too_many_held") if rests.held >= KEPT_HELD else Verdict(code, until=until)


def _window_ends(group: str, profile: Profile, given: Circumstances) -> int:
    """When the window of a group closes that is open, or opens now."""
    book = given.book
    waiting = [each for each in profile.held if each.code == ARBITRATION and book.group(each.play) == group]
    return min([each.until for each in waiting], default=given.at + book.windows[group])


def capped_until(play: Play, channel: str, at: int, rests: Grounds, book: PlayBook) -> int | None:
    """Until when (ms) one more message would be too many for a cap that it counts against; None if it would not."""
    full: list[int] = []
    for cap in book.caps:
        if _counts(cap, channel, play.category):
            times = [
                time
                for time, name, used in rests.sent
                if at - time < cap.within and (name or cap.others) and _counts(cap, used, book.category(name))
            ]
            if len(times) >= cap.messages:
                full.append(sorted(times)[-cap.messages] + cap.within)
    return max(full, default=None)


def _counts(cap: Cap, channel: str, category: str | None) -> bool:
    return cap.channel in (None, channel) and cap.category in (None, category)


def held_out(play: Play, births: Sequence[str], book: PlayBook) -> str | None:
    """Which holdout keeps the play from a customer of these birth ids, if one does. Who was merged with someone held
    out is held out."""
    if never_told(births, book):
        return GLOBAL
    if play.holdout and any([share("holdout", play.name, birth) < play.holdout for birth in births]):
        return OF_PLAY
    return None


def never_told(births: Sequence[str], book: PlayBook) -> bool:
    """Whether a customer of these birth ids is in the holdout of all plays."""
    return bool(book.holdout) and any([share("holdout", birth) < book.holdout for birth in births])


def variant(play: Play, customer: str, known: str | None = None) -> str | None:
    """What the play says to this customer: what it said before or, the first time, what is drawn."""
    if known in play.variants:
        return known
    weights = {name: each.weight for name, each in play.variants.items()}
    return weighted(weights, "variant", play.name, customer)


def chosen(play: Play, id: str, customer: str, rests: Grounds) -> tuple[str | None, bool | None]:
    """What decision ``id`` says and, of a bandit's choice, whether it was drawn evenly."""
    if play.bandit:
        return bandit.choose(play.variants, rests.arms, rests.refused, id)
    return variant(play, customer, rests.variant), None


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
        if play.treats:
            treated(profile, [at])


def treated(profile: Profile, times: Sequence[int]) -> None:
    """Note when (ms) a customer was sent what is meant to change what it does; the latest `KEPT_TREATMENTS` stay."""
    profile.treatments = sorted({*profile.treatments, *times})[-KEPT_TREATMENTS:]


def mark(key: str) -> str:
    """What is remembered of a key: 48 bits of its hash."""
    return b64encode(blake2b(key.encode(), digest_size=6).digest()).decode()
