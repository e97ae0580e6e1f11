"""The records of ``stitched``: the ordered log of all that happens to a customer.

JSON, one object a record, told apart by ``k``. Only engage reads and only touchstream writes here;
fields only grow. No record holds a personal value in the clear: identifiers, event, session and order
ids are keyed hashes (tokens), the rest is sealed under the data key ``kid``.

Key = customer id (product events: ``product:SKU``); partition = shard = `shard_of` of the key.
Ticks, visits, signals and control records have no customer of their own and go to each partition on its own.
"""

from __future__ import annotations

from zlib import crc32

import msgspec

from schemas.touchpoint import Consent


class Record(msgspec.Struct, tag_field="k", omit_defaults=True):
    """Base: ``at`` is the writer's time (ms), the only clock engage knows."""

    at: int


class Event(Record, tag="event"):
    """A touchpoint that was resolved to a customer.

    ``src`` is its source position ``topic/partition/offset`` and unique; ``ts`` the broker's time of
    the source record (ms, for latency alone); ``eid`` the token of (source, event id); ``time`` the
    event time, never later than ``at``; ``data`` the body without its personal fields; ``sealed`` those
    fields, AES-256-GCM under data key ``kid``, base64; ``ids`` the tokens of the identifiers it carried;
    ``hops`` how often a merged customer's shard has forwarded it.
    """

    customer: str
    src: str
    ts: int
    eid: str
    time: int
    type: str
    source: str
    ids: list[str] = []
    channel: str | None = None
    store: str | None = None
    session: str | None = None
    consent: list[Consent] = []
    data: msgspec.Raw = msgspec.Raw(b"")
    kid: str | None = None
    sealed: str | None = None
    hops: int = 0


class Gist(Record, tag="event"):
    """What decisions read of an `Event`; the rest is not even decoded, which saves a third of the time."""

    customer: str
    eid: str
    time: int
    ts: int
    type: str
    source: str
    consent: list[Consent] = []
    data: msgspec.Raw = msgspec.Raw(b"")
    hops: int = 0
    channel: str | None = None


class Contact(msgspec.Struct, array_like=True):
    """A sealed value that triggers carry, an address or the customer's number: namespace, data key id, base64
    ciphertext, time, its token."""

    ns: str
    kid: str
    sealed: str
    time: int
    token: str = ""


class Change(Record, tag="change"):
    """An identity change. ``kind``: created, linked, merged, moved, split, quarantined, released, refused, erased or
    expired.

    A merge goes to both shards: the copy with ``customer == old`` makes that shard hand over, the copy
    with ``customer == new`` makes the other wait. ``version`` orders the alias register of ``old``. What moved goes
    to both as well: identifiers leave ``old``, whose state stays, and join ``new``. So does what was split off: ``new``
    waits for the part of the state of ``old`` that is its own.
    ``ids`` are the tokens that joined (refused: that were not made one, ``why`` says why not; erased, expired:
    that were forgotten); ``keys`` the data key that was made (created), or those that are destroyed (erased, expired);
    ``contacts`` their sealed values where triggers carry them.
    ``touchpoint`` is what brought it about, or the command; ``policy``: the version of the identity policy.
    """

    id: str
    kind: str
    customer: str
    version: int
    time: int
    ids: list[str] = []
    contacts: list[Contact] = []
    old: str | None = None
    new: str | None = None
    touchpoint: str | None = None
    policy: str = ""
    why: str = ""
    keys: list[str] = []


class Absorb(Record, tag="absorb"):
    """The whole state of merged customer ``old``, for ``customer``: base64 of the packed profile."""

    customer: str
    old: str
    change: str
    version: int
    profile: str
    hops: int = 0


class Tick(Record, tag="tick"):
    """Moves a shard's timers: those due at or before ``watermark`` (ms) fire."""

    watermark: int


class Visit(Record, tag="visit"):
    """Customers of the shard to look at under the plays in force, which may start something of what they already are.
    ``done``: with these all have been, since plays were put in force for that time."""

    customers: list[str]
    done: int = 0


class Occasion(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What has woken a play for a product: the event time (ms) and the token of the touchpoint, and the price before it
    in minor units."""

    time: int
    touchpoint: str
    was: int = 0


class Signal(Record, tag="signal"):
    """What of a product the plays wait for, to every shard, whenever that changes. ``price`` in minor units, 0 if not
    known; ``stock`` -1 if not known; ``plays``: those that it has woken and that still hold."""

    product: str
    price: int
    stock: int
    plays: dict[str, Occasion] = {}


class Step(Record, tag="step"):
    """A shard to itself: go on with ``plays`` that a product has woken, behind the customer ``after`` whose interest is
    as old as that (ms). ``left``: how many more a play may tell here, if not all."""

    product: str
    plays: dict[str, Occasion]
    after: tuple[int, str] | None = None
    left: dict[str, int] = {}


class Control(Record, tag="control"):
    """What holds from this record on. ``what``: ``model`` (``key``: which) and ``plays`` put content, named by its
    hash, in force; ``pause`` and ``resume`` stop and start the play ``key`` (`EVERY`: all); ``bandit`` tells how often
    each variant of the play ``key`` has converted and has not, as far as ``part``, a partition of ``outcomes``,
    says.

    On ``churn.examples`` they are words of operators about the models of ``key``: ``promote`` (``hash``: the name of a
    challenger), ``hold`` (at the version ``hash``) and ``release``."""

    what: str
    key: str
    hash: str = ""
    part: int = 0
    arms: dict[str, tuple[int, int]] = {}


#: ``key`` of a control record about all plays.
EVERY = "*"

AnyRecord = Event | Change | Absorb | Tick | Visit | Control | Signal | Step
_decoder = msgspec.json.Decoder(AnyRecord)
_encoder = msgspec.json.Encoder()

_deciding = msgspec.json.Decoder(Gist | Change | Absorb | Tick | Visit | Control | Signal | Step)

decode = _decoder.decode
encode = _encoder.encode
#: As `decode`, with a `Gist` of each event.
decode_gist = _deciding.decode


def shard_of(key: str, shards: int) -> int:
    """The partition of ``stitched`` that owns ``key``."""
    return crc32(key.encode()) % shards
