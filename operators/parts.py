"""The parts of a merged customer, so that a merge can be undone.

When a customer has absorbed others, what each of them was is kept for a while beside the whole, and every touchpoint
is folded into the whole and into the part whose identifiers sent it. When identifiers leave, a part all of whose
identifiers are gone goes after them, and the whole is made anew of the parts that stay: so merging and splitting again
gives what was before, and what has happened meanwhile is on the side where it happened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from operators import governance, join, outcomes, progress
from operators.governance import KEPT_DECISIONS
from operators.plays import KEPT_SENT
from state.profile import HandOver, Part, Profile, copy

#: Parts of one customer; of more, the oldest cannot be taken out any more.
KEPT_PARTS = 8
#: What belongs to the customer, not to what it has done.
_OWN = (
    "customer", "alias", "alias_version", "lives", "ids", "moves", "changes", "absorbed", "parks", "parked",
    "leaving", "due", "parted", "segments", "judged", "unsettled", "touched",
    "counted", "at_risk",
)  # fmt: skip


def add(parts: list[Part], mine: Profile, other: HandOver) -> None:
    """Before ``mine`` absorbs ``other``: keep apart what each of them is, in place."""
    coming = other.parts or [Part(list(other.profile.ids), other.until, _apart(other.profile))]
    if not parts:
        theirs = {token for part in coming for token in part.ids}
        own = dict.fromkeys([*mine.ids, *[token for _, left in mine.leaving for token in left.ids]])
        parts.append(Part([token for token in own if token not in theirs], 0, _apart(mine)))
    for part in coming:
        part.until = part.until or other.until
    parts += coming
    _fold_back(parts, parts[1 : 1 + max(0, len(parts) - KEPT_PARTS)])


def _apart(profile: Profile) -> Profile:
    """A copy that waits for nothing."""
    part = copy(profile)
    part.parks, part.parked, part.leaving = [], [], []
    # Only the whole is judged, and counted.
    part.segments, part.judged, part.unsettled, part.counted, part.at_risk = {}, "", "", "", 0
    return part


def expire(parts: list[Part], at: int) -> None:
    """What can no longer be taken out at ``at`` (ms) becomes part of the first."""
    _fold_back(parts, [part for part in parts[1:] if part.until <= at])


def _fold_back(parts: list[Part], some: Sequence[Part]) -> None:
    for part in some:
        parts[0].ids += [token for token in part.ids if token not in parts[0].ids]
        _unite(parts[0].profile, part.profile)
        parts.remove(part)


def _unite(first: Profile, other: Profile) -> None:
    """Fold one part into another, in place; what was decided while they were one both remember."""
    other.sent = [each for each in other.sent if each not in first.sent]
    other.decided = [each for each in other.decided if each not in first.decided]
    join.absorb(first, other)


def side(parts: Sequence[Part], strongest_first: Sequence[str]) -> Part:
    """The part that a touchpoint with these identifiers belongs to: that of the strongest that is in one, else the
    first. What is in none yet joins it."""
    found = parts[0]
    held = {token: part for part in reversed(parts) for token in part.ids}
    for token in strongest_first:
        if token in held:
            found = held[token]
            break
    found.ids += [token for token in strongest_first if token not in held]
    return found


def take_out(parts: list[Part], gone: Collection[str]) -> list[Part]:
    """The parts all of whose identifiers are gone with ``gone``, taken out of ``parts``; none if that were all."""
    leaving = []
    for part in parts:
        left = [token for token in part.ids if token not in gone]
        if part.ids and not left:
            leaving.append(part)
        else:
            part.ids = left
    if len(leaving) == len(parts):
        return []
    own = parts[0]
    parts[:] = [part for part in parts if part not in leaving]
    if own in leaving:
        for part in parts:
            _remember(part.profile, own.profile)
    return leaving


def _remember(stays: Profile, own: Profile) -> None:
    """What the customer's own part was told before it absorbed others, it was told in the name that stays."""
    decided = [each for each in own.decided if each not in stays.decided]
    stays.decided = sorted([*stays.decided, *decided], key=lambda each: (each.at, each.id))[-KEPT_DECISIONS:]
    sent = [each for each in own.sent if each not in stays.sent]
    stays.sent = sorted([*stays.sent, *sent], key=lambda each: (each.at, each.play))[-KEPT_SENT:]
    governance.treated(stays, own.treatments)
    for play, at in own.cooling.items():
        stays.cooling[play] = max(at, stays.cooling.get(play, 0))


def whole(parts: Sequence[Part]) -> Profile:
    """The parts together."""
    first, *others = [copy(part.profile) for part in parts]
    for other in others:
        _unite(first, other)
    return first


def without(current: Profile, parts: Sequence[Part], leaving: Sequence[Part], gone: Collection[str]) -> Profile:
    """A customer after parts of it have left: what the others make, under its own name. What is held and watched for,
    and the journeys under way stay, but for those of the parts before they came."""
    left = whole(parts)
    theirs = {held.id for part in leaving for held in part.profile.held}
    left.held = [held for held in current.held if held.id not in theirs]
    gone_on = [each for part in leaving for each in part.profile.journeys]
    left.journeys = [each for each in current.journeys if each not in gone_on]
    # A part's own goals are as it has reached them; what was decided in the common name stays there.
    theirs |= {goal.id for part in leaving for goal in part.profile.goals}
    left.goals = outcomes.join(left.goals, [goal for goal in current.goals if goal.id not in theirs])
    progress.follow(left)
    for field in _OWN:
        setattr(left, field, getattr(current, field))
    mine = {ns: known for ns, known in current.contacts.items() if known.token not in gone}
    left.contacts = {ns: known for ns, known in left.contacts.items() if known.token not in gone} | mine
    return left
