"""What the read API answers and is asked, as structs; docs/dashboard.md and the OpenAPI document are about these.

``masked``: personal values are masked, and what conditions read of the customer is left out. Times are epoch
milliseconds, money is in major units.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from flows.identity_show import Link
from flows.why import Happened, Line
from operators.reasons import Check
from schemas.outputs import Audit, Grounds
from state.access import Role

#: Characters of what says something: two are a word in Chinese.
SHORTEST: Final = 2
#: Why somebody looks or decides, for the audit: kept in the clear.
Reason = Annotated[str, msgspec.Meta(min_length=SHORTEST, max_length=500, pattern=r"[^\x00-\x20]{2}")]
PlayOrAll = Annotated[str, msgspec.Meta(pattern=r"^(\*|[a-z][a-z0-9_]{0,47})$")]
Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Problem(msgspec.Struct):
    """What went wrong: a stable code, and words for people that never repeat what was asked for."""

    error: str
    text: str


class Me(msgspec.Struct):
    """Who asks. ``csrf``: what a session sends as X-CSRF-Token with whatever changes something."""

    name: str
    role: Role
    csrf: str


class Identifier(msgspec.Struct):
    """An identifier of the customer: its namespace, and a shortened keyed hash by which ``links`` name it."""

    namespace: str
    name: str


class Consent(msgspec.Struct):
    """Whether a purpose was agreed to on a channel, and when."""

    channel: str
    purpose: str
    granted: bool
    time: int


class Churn(msgspec.Struct):
    """The probability of no purchase within the horizon, its band, and when that was computed."""

    probability: float
    band: str
    at: int


class Cart(msgspec.Struct):
    """An open cart: when it was last changed, and its value."""

    time: int
    value: float


class Waiting(msgspec.Struct):
    """A message that is held, by which step and until when; or one of a journey, and when it is due."""

    play: str
    code: str
    until: int


class Standing(msgspec.Struct):
    """How the customer stands with the shop. What sources write in words of their own (``tier`` to ``birth_day``, that
    as 02-28) is null where masked; ``segments``: since when it is in each."""

    first_seen: int
    last_seen: int
    orders: int
    spent: float
    returned: float
    points: int
    tickets: int
    tier: str | None
    language: str | None
    timezone: str | None
    country: str | None
    birth_day: str | None
    carts: list[Cart]
    segments: dict[str, int]
    churn: Churn | None
    waiting: list[Waiting]


class Customer(msgspec.Struct):
    """One customer. ``contacts``: addresses and the shop's own number, by namespace; ``links``: what was seen together,
    and what became of that; ``decided``: what operators have decided of it; ``merged``: ids it had; ``decisions``: the
    latest, newest first."""

    customer: str
    masked: bool
    contacts: dict[str, str]
    bounced: list[str]
    consent: list[Consent]
    standing: Standing
    identifiers: list[Identifier]
    links: list[Link]
    decided: list[str]
    merged: list[str]
    decisions: list[Line]


class Decisions(msgspec.Struct):
    """The latest decisions on a customer, newest first: ``code`` is ``emitted``, or the step that stopped it."""

    customer: str
    decisions: list[Line]


class WhyAnswer(msgspec.Struct):
    """Why a play has spoken or not: every check up to the one that decided.

    ``outcome``: as on `decisions`; ``waiting``: it has decided nothing, and the checks are how it stands ``at`` that
    time. ``about``: the key it was about, and ``grounds``: what it rests on, null where masked. ``touchpoint``: what
    brought it about; null of a score or timer, and where not kept, or not ``complete``: then there was no time to look
    everywhere.
    """

    customer: str
    masked: bool
    play: str
    play_version: str
    outcome: str
    at: int
    checks: list[Check]
    id: str | None = None
    code: str | None = None
    channel: str | None = None
    variant: str | None = None
    until: int | None = None
    about: str | None = None
    grounds: Grounds | None = None
    touchpoint: Happened | None = None
    complete: bool = True


class Segment(msgspec.Struct):
    """A segment in force. ``customers``: how many are in it; null before that was counted."""

    name: str
    who: str
    description: str
    customers: int | None


class Segments(msgspec.Struct):
    """The segments of a ``version`` of the plays."""

    version: str
    segments: list[Segment]


class Play(msgspec.Struct):
    """A play in force. ``when``: the kind of thing that wakes it; ``paused``: in how many shards."""

    name: str
    when: str
    channels: list[str]
    category: str
    mode: str
    priority: int
    holdout: float
    description: str
    paused: int


class Plays(msgspec.Struct):
    """The plays in force: their ``version``, in how many ``shards`` by version, and whether all are paused in some."""

    version: str
    shards: dict[str, int]
    all_paused: int
    plays: list[Play]


class TokenKnown(msgspec.Struct):
    """A token, without what it says. ``state``: holds, expired or revoked; ``expires``: 0 if never."""

    id: str
    name: str
    role: Role
    created: int
    expires: int
    state: Literal["holds", "expired", "revoked"]


class TokenList(msgspec.Struct):
    """All tokens there ever were, the oldest first."""

    tokens: list[TokenKnown]


class NewToken(msgspec.Struct):
    """A token that was created, and what it says: told here and never again."""

    token: str
    id: str


class Carried(msgspec.Struct):
    """What came of an operator's command; ``audit`` as on the topic. Not ``done``: it is in Kafka and will be."""

    command: str
    done: bool
    audit: list[Audit]


class Refused(msgspec.Struct):
    """A command that cannot be carried out: it was not sent, or the flows have refused it; ``audit`` says why."""

    error: str
    text: str
    audit: list[Audit] = []


class Reached(msgspec.Struct):
    """Which plays were paused or resumed (``*``: all), and in how many of the ``shards`` that has taken effect."""

    plays: list[str]
    reached: int
    shards: int


# -- what is asked -----------------------------------------------------------------------------------------------------


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to look up: a customer id or namespace:value. ``purpose``: as the header Purpose."""

    customer: Subject
    purpose: Reason | None = None


class Two(msgspec.Struct, forbid_unknown_fields=True):
    """Two to merge or to keep apart, each a customer id or namespace:value, and why."""

    identifiers: Annotated[list[Subject], msgspec.Meta(min_length=2, max_length=2)]
    reason: Reason


class One(msgspec.Struct, forbid_unknown_fields=True):
    """A hub to release, or a customer to erase: a customer id or namespace:value, and why."""

    identifier: Subject
    reason: Reason


class PlaysOrder(msgspec.Struct, forbid_unknown_fields=True):
    """``plays`` by name, or ["*"]: all there are or will be."""

    plays: Annotated[list[PlayOrAll], msgspec.Meta(min_length=1, max_length=100)]
    reason: Reason


class TokenOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Whose token, what it lets them do, and after how many days it expires (null: never)."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._@-]{1,64}$")]
    role: Role
    days: Annotated[float, msgspec.Meta(ge=1, le=3650)] | None = None
