"""The profile of one customer, as kept in Redis: one packed array that only grows at its end.

The same struct serves three kinds of entity of a shard: a customer, a merged customer's alias (only
``alias`` and ``alias_version`` matter then) and a product (``price``, ``stock``, ``signalled``).

Nothing in a profile leads back to where it stands, so none of it is shown to the garbage collector (``gc=False``): that
took more than twice as long to look at a profile as it takes to unpack one.
"""

from __future__ import annotations

import msgspec

from schemas.stitched import Change, Occasion
from state.behaviour import Behaviour

#: How many of a customer's latest event ids are remembered for deduplication, and the characters kept of each
#: (10 of base64: 60 bits).
SEEN_EVENTS, SEEN_WIDTH = 64, 10


class Timer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Something to look at when the watermark passes ``due`` (ms). ``key`` tells timers of a kind apart."""

    due: int
    kind: str
    key: str


class Cart(msgspec.Struct, array_like=True, gc=False):
    """An open cart: time of its last change (ms), its value in minor units."""

    time: int
    value: int


class Progress(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How far a play is under one key: the ``times`` (ms) it has counted, or the one it waits from; up to when all was
    ``ended``, 0 if never; and of a wait when it is ``due``, the touchpoint it is about, what its message says and
    is worth."""

    times: tuple[int, ...] = ()
    ended: int = 0
    due: int = 0
    touchpoint: str = ""
    values: dict[str, str | int | float] = {}
    worth: int | float = 0  # packed in one byte where a play has none


class Contact(msgspec.Struct, array_like=True, gc=False):
    """A sealed address, or the customer's number: data key id, base64 ciphertext, event time it was learned (ms), its
    identifier's token, and when a message to it bounced for good (event time, ms; 0: never)."""

    kid: str
    sealed: str
    time: int
    token: str = ""
    bounced: int = 0


class Engagement(msgspec.Struct, array_like=True, gc=False):
    """How a customer takes messages on one channel, as sending tools report it: how many were delivered, opened and
    clicked, when (event time, ms) the last was; the times of the latest soft ``bounces``, and of the latest messages
    that others have ``sent``, both ascending."""

    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    delivered_at: int = 0
    opened_at: int = 0
    clicked_at: int = 0
    bounces: list[int] = []
    sent: list[int] = []


class Sent(msgspec.Struct, array_like=True, gc=False):
    """A message that counts against caps: when it was decided (ms), by which play, on which channel."""

    at: int
    play: str
    channel: str


class Decided(msgspec.Struct, array_like=True, gc=False):
    """One of the last decisions: its id, when (ms), the play, ``emitted`` or the code that stopped it."""

    id: str
    at: int
    play: str
    code: str


class Held(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A candidate that waits: since ``at`` and ``until`` (ms), for the end of quiet hours or of its group's window
    (``code``). ``id`` is the decision's in this customer's name, ``own`` the one that is published, ``step`` the number
    of a journey's message; the rest is as in `operators.plays.Candidate`."""

    id: str
    own: str
    at: int
    until: int
    code: str
    play: str
    key: str
    occurrence: str
    touchpoint: str
    time: int
    values: dict[str, str | int | float] = {}
    score: float | None = None
    worth: int | float = 0
    step: int = 0
    version: str = ""
    reasons: dict[str, float] = {}


class Journey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A play of several messages under way: the number of the ``step`` it waits for (from 1) and when that is ``due``
    (ms), the ``version`` of the plays it began with; the rest is as in `operators.plays.Candidate`."""

    play: str
    key: str
    occurrence: str
    step: int
    due: int
    version: str
    touchpoint: str
    time: int
    values: dict[str, str | int | float] = {}


class Goal(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An emitted or held-out decision whose goal is watched for, from ``at`` to ``until`` (ms): its published id, the
    play and the version of its file, the key, what it said on which channel, with which class of ``offer``.
    ``converted`` is when (event time, ms, 0: not yet) the goal was first reached, ``times`` how often, ``revenue`` what
    that brought (minor units)."""

    id: str
    play: str
    version: str
    key: str
    outcome: str
    channel: str
    variant: str | None
    treated: bool
    at: int
    until: int
    converted: int = 0
    times: int = 0
    revenue: int = 0
    explored: bool | None = None
    offer: str = ""


class Park(msgspec.Struct, array_like=True, gc=False):
    """Waits for the hand-over of a merged customer: the change, until when (ms of the log)."""

    change: str
    until: int


class OpenExample(msgspec.Struct, array_like=True, gc=False):
    """Features and score at ``time``, waiting for the label. Kept under a key of its own.

    ``customer`` is whom the score was for: after a merge there may be two of one time. ``keys`` are those it was scored
    by, as in `operators.keys`. ``ordered``: the last order before it (ms, 0: none), ``lapse`` the probability served
    that so much time passes after that without another that it is a lapse; below 0 where it had passed. ``outlooks``:
    the spend expected, by each rule of `operators.clv` (empty: not to be judged), ``spent`` what had been spent by then
    (minor units).
    """

    time: int
    features: list[float]
    version: str
    probability: float
    model: str
    customer: str
    keys: list[str] = []
    ordered: int = 0
    lapse: float = -1.0
    outlooks: tuple[float, ...] = ()
    spent: int = 0


class Profile(msgspec.Struct, array_like=True, gc=False):
    """All that is remembered of a customer. Times in ms, money in minor units.

    ``consent`` maps ``channel/purpose`` to (granted, event time); ``seen`` holds the latest event ids, newest
    last; ``progress`` how far each play is, by its keys; ``cooling`` the time each play last emitted.
    Purchases, spend and activity are in ``behaviour``; ``units`` counts what was bought; ``due`` is the earliest
    of its timers, as the shard's index knows it; ``changes`` are the latest that brought or took identifiers;
    ``erased`` when it was erased: then there is nothing else, for ever; ``parted`` until when some merge into it can
    be undone: so long its `Part` list is kept; ``moves`` maps identifiers that came from or went to other customers to
    the version of the change; ``lives`` says of an id that was merged away and came back when each of its lives ended
    (a version), and in whom; ``leaving`` the changes that took identifiers away while a hand-over is on its way that
    may bring what goes with them, each with the number of records parked before it; ``held`` are messages that wait;
    ``births`` the ids of all that were merged into it, by which holdouts are drawn as by its own;
    ``variants`` what each play has said to it; ``treated`` the plays that were ever sent; ``once`` the keys (hashed)
    that plays have decided on which do so once; ``birth_day`` as ``02-28``; ``applied``: how often plays had been put
    in force when it was last looked at; ``engagement`` is how messages are taken, by channel; ``goals`` are those of
    recent decisions whose windows are open; ``windows`` what was counted in each bucket of each window, by its key;
    ``segments`` since when it is in each, negative where that was told in another's name and not yet in its own;
    ``judged`` the version of the segments that this goes by; ``unsettled`` what has happened to it since (``merge``,
    ``split``); ``refused`` is how often in a row it has not taken an offer, by its class; ``signalled`` are the plays
    that a product has woken and that still hold; ``touched`` the log's clock at its latest touchpoint; ``counted`` the
    band that it is counted in, ``at_risk`` the spend that it is counted with (see `operators.tally`); ``treatments``
    when it was last sent what is meant to change what it does, ascending; ``value`` what it was last expected to spend
    within the churn horizon; ``keys`` the ids of all data keys that were ever made for it, its own without its name.
    """

    customer: str
    alias: str = ""
    alias_version: int = 0
    ids: list[str] = []
    contacts: dict[str, Contact] = {}
    consent: dict[str, tuple[bool, int]] = {}
    seen: str = ""
    behaviour: Behaviour = msgspec.field(default_factory=Behaviour)
    units: int = 0
    progress: dict[str, dict[str, Progress]] = {}
    carts: dict[str, Cart] = {}
    timers: list[Timer] = []
    sent: list[Sent] = []
    decided: list[Decided] = []
    cooling: dict[str, int] = {}
    score: float = -1.0
    band: str = ""
    scored_at: int = 0
    absorbed: list[str] = []
    parks: list[Park] = []
    parked: list[bytes] = []
    points: int = 0
    tier: str = ""
    tickets: int = 0
    language: str = ""
    timezone: str = ""
    country: str = ""
    price: int = 0
    stock: int = -1
    stock_time: int = 0
    price_time: int = 0
    due: int | None = None
    changes: list[str] = []
    erased: int = 0
    parted: int = 0
    moves: dict[str, int] = {}
    lives: list[tuple[int, str]] = []
    leaving: list[tuple[int, Change]] = []
    held: list[Held] = []
    births: list[str] = []
    variants: dict[str, str] = {}
    treated: list[str] = []
    once: dict[str, list[str]] = {}
    birth_day: str = ""
    applied: int = 0
    journeys: list[Journey] = []
    engagement: dict[str, Engagement] = {}
    goals: list[Goal] = []
    windows: dict[str, dict[int, int]] = {}
    segments: dict[str, int] = {}
    judged: str = ""
    unsettled: str = ""
    refused: dict[str, int] = {}
    signalled: dict[str, Occasion] = {}
    touched: int = 0
    counted: str = ""
    at_risk: int = 0
    treatments: list[int] = []
    value: int = 0
    keys: list[str] = []


class Part(msgspec.Struct, array_like=True, gc=False):
    """What one of several merged customers has contributed: its profile as it was, folded on with what its own
    identifiers ``ids`` (tokens) have sent since. ``until`` (ms): from then on it cannot be taken out again.

    The first of a customer's parts is its own. Kept under a key of its own.
    """

    ids: list[str]
    until: int
    profile: Profile


class HandOver(msgspec.Struct, array_like=True, gc=False):
    """All that one customer hands to another: profile, open examples, and the parts that it has absorbed itself.
    ``until`` (ms): so long it stays a part, 0 if it does not."""

    profile: Profile
    examples: list[OpenExample] = []
    parts: list[Part] = []
    until: int = 0


_profiles = msgspec.msgpack.Decoder(Profile)
_examples = msgspec.msgpack.Decoder(list[OpenExample])
_parts = msgspec.msgpack.Decoder(list[Part])
_handovers = msgspec.msgpack.Decoder(HandOver)
_encoder = msgspec.msgpack.Encoder()

unpack = _profiles.decode
unpack_examples = _examples.decode
unpack_parts = _parts.decode
unpack_handover = _handovers.decode
pack = _encoder.encode


def copy(profile: Profile) -> Profile:
    """A profile of its own that says the same."""
    return unpack(pack(profile))
