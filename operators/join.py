"""Joining the profile of a merged customer into the survivor's: a join by event time, field by field.

Counts and sums add; registers keep the newest; consent becomes the most restrictive of both; caps and
cool-downs count what either was sent; recent event ids are united, so that nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from operators import consent, features, feedback, governance, journeys, outcomes, progress, segments, windows
from operators.fold import KEPT_CARTS, last_order
from operators.governance import KEPT_DECISIONS, KEPT_ONCE
from operators.plays import KEPT_SENT
from state.profile import SEEN_EVENTS, SEEN_WIDTH, Contact, Profile, Timer

#: Identifier tokens and change ids kept of a customer, and the ends of its former lives.
KEPT_IDS, KEPT_CHANGES, KEPT_LIVES = 200, 32, 8
#: Ids by which holdouts are drawn, and data keys of a customer.
KEPT_BIRTHS, KEPT_KEYS = 16, 16

_ALL = SEEN_EVENTS * SEEN_WIDTH
_HALF = SEEN_EVENTS // 2 * SEEN_WIDTH


def absorb(mine: Profile, other: Profile) -> None:
    """Fold everything ``other`` knows into ``mine``, in place. ``other`` is not used afterwards."""
    gone = _gone(mine, other) | _gone(other, mine)
    mine.ids = [token for token in dict.fromkeys([*mine.ids, *other.ids]) if token not in gone][:KEPT_IDS]
    for token, version in other.moves.items():
        note(mine, [token], version)
    for namespace, contact in other.contacts.items():
        known = mine.contacts.get(namespace)
        if known is None or _better(contact) > _better(known):
            mine.contacts[namespace] = contact
    mine.contacts = {ns: known for ns, known in mine.contacts.items() if known.token not in gone}
    mine.consent = consent.join(mine.consent, other.consent)
    mine.engagement = feedback.join(mine.engagement, other.engagement)
    segments.join(mine, other)
    windows.join(mine, other)
    # All of both if they fit, else half the room for each.
    room, others = max(_HALF, _ALL - len(other.seen)), max(_HALF, _ALL - len(mine.seen))
    mine.seen = other.seen[-others:] + mine.seen[-room:]
    mine.behaviour = features.join(mine.behaviour, other.behaviour)
    mine.units += other.units
    mine.points += other.points
    mine.tickets += other.tickets
    _carts(mine, other)
    mine.held += [each for each in other.held if all(each.id != known.id for known in mine.held)]
    mine.goals = outcomes.join(mine.goals, other.goals)
    progress.join(mine, other)
    journeys.join(mine, other)
    _timers(mine, other)
    mine.sent = sorted([*mine.sent, *other.sent], key=lambda sent: (sent.at, sent.play))[-KEPT_SENT:]
    mine.decided = sorted([*mine.decided, *other.decided], key=lambda each: (each.at, each.id))[-KEPT_DECISIONS:]
    for play, at in other.cooling.items():
        mine.cooling[play] = max(at, mine.cooling.get(play, 0))
    if other.scored_at > mine.scored_at:
        mine.score, mine.band, mine.scored_at = other.score, other.band, other.scored_at
        mine.value = other.value
    mine.keys = with_keys(mine, [kid_of(other.customer, key) for key in other.keys])
    births = dict.fromkeys([*mine.births, other.customer, *other.births])
    mine.births = [birth for birth in births if birth != mine.customer][:KEPT_BIRTHS]
    mine.variants = other.variants | mine.variants
    for offer, times in other.refused.items():
        mine.refused[offer] = max(times, mine.refused.get(offer, 0))
    for play, keys in other.once.items():
        mine.once[play] = list(dict.fromkeys([*keys, *mine.once.get(play, ())]))[-KEPT_ONCE:]
    mine.treated = list(dict.fromkeys([*mine.treated, *other.treated]))
    governance.treated(mine, other.treatments)
    mine.parks += [park for park in other.parks if park not in mine.parks]
    mine.leaving = [*other.leaving, *mine.leaving]
    mine.changes = [*other.changes, *mine.changes][-KEPT_CHANGES:]
    mine.absorbed = [*other.absorbed, *mine.absorbed][-KEPT_CHANGES:]
    mine.applied = min(mine.applied, other.applied)
    mine.touched = max(mine.touched, other.touched)
    for field in ("tier", "language", "timezone", "country", "birth_day"):
        setattr(mine, field, getattr(mine, field) or getattr(other, field))


def kid_of(customer: str, key: str) -> str:
    """The id of a data key as a profile of ``customer`` keeps it."""
    return key if "." in key else f"{customer}.{key}"


def with_keys(profile: Profile, kids: Iterable[str]) -> list[str]:
    """The data keys of a profile and these, the latest `KEPT_KEYS`; its own, which are most, without its name."""
    own = profile.customer + "."
    return list(dict.fromkeys([*profile.keys, *[kid.removeprefix(own) for kid in kids]]))[-KEPT_KEYS:]


def _better(contact: Contact) -> tuple[bool, int, str]:
    """Which of two addresses to keep: one that messages reach, and then the newest."""
    return not contact.bounced, contact.time, contact.sealed


def note(profile: Profile, tokens: Collection[str], version: int) -> None:
    """Remember that the change of ``version`` brought or took identifiers; the latest `KEPT_CHANGES` are kept."""
    moves = profile.moves | dict.fromkeys(newer(profile, tokens, version), version)
    profile.moves = dict(sorted(moves.items(), key=lambda move: (move[1], move[0]))[-KEPT_CHANGES:])


def newer(profile: Profile, tokens: Collection[str], version: int) -> list[str]:
    """The identifiers for which a change of ``version`` is news: none that is as new has brought or taken them."""
    return [token for token in tokens if profile.moves.get(token, 0) < version]


def _gone(one: Profile, other: Profile) -> set[str]:
    """What left ``one`` after all that ``other`` knows of it, also if a hand-over brings it only now."""
    return {token for token in one.moves if token not in one.ids and newer(other, [token], one.moves[token])}


def _carts(mine: Profile, other: Profile) -> None:
    """Open carts, but not those that an order of the other side has ended."""
    for cart_id, cart in other.carts.items():
        known = mine.carts.get(cart_id)
        if known is None or cart.time > known.time:
            mine.carts[cart_id] = cart
    ended = last_order(mine.behaviour)
    carts = sorted(((cart.time, cart_id) for cart_id, cart in mine.carts.items() if cart.time > ended))[-KEPT_CARTS:]
    mine.carts = {cart_id: mine.carts[cart_id] for _, cart_id in carts}


def _timers(mine: Profile, other: Profile) -> None:
    """Of two of a kind and key the earlier grid point or label; waits follow from what plays wait for."""
    timers: dict[tuple[str, str], Timer] = {}
    for timer in sorted([*mine.timers, *other.timers], key=lambda timer: timer.due):
        timers.setdefault((timer.kind, timer.key), timer)
    mine.timers = list(timers.values())
    progress.follow(mine)
