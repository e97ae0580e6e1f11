"""A touchpoint as a source system sends it: a CloudEvents-like envelope and a typed body per family.

The envelope uses CloudEvents attribute names (``id, source, type, time, data``); event types use the
names of Segment's e-commerce specification where it has one (``Product Viewed``, ``Order Completed``).
Times are epoch milliseconds or RFC 3339 text. Money is in major units (``12.5``) with a currency code.

Every body says which of its fields are personal: ``SEALED`` ones are encrypted under the customer's
data key before they leave the stitch flow, ``TOKENS`` are replaced by keyed hashes. Unknown types are
legal; their ``data`` is sealed whole.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import msgspec

from schemas.errors import MALFORMED, RecordFault

#: Earliest and latest event time taken at face value: 1990-01-01 and 2100-01-01 (ms). Outside lie
#: seconds sent as milliseconds, zeros and garbage.
MIN_TIME, MAX_TIME = 631_152_000_000, 4_102_444_800_000

# Lengths only: a pattern here is a regular expression run in Python for every value, half of the time of decoding.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Amount = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Points = Annotated[int, msgspec.Meta(ge=-1_000_000_000_000, le=1_000_000_000_000)]
#: Epoch milliseconds or RFC 3339 text.
Moment = int | str
Currency = Annotated[str, msgspec.Meta(min_length=3, max_length=3)]


class Identifier(msgspec.Struct, omit_defaults=True):
    """One identifier of the person: its namespace, its value, and how it is known to be his beside the others: seen
    with them (``observed``), proven by a ``login``, in one hand at a ``till``, or declared by a system that knows to be
    another name (``alias``)."""

    ns: Name
    value: Annotated[str, msgspec.Meta(max_length=512)]
    kind: Literal["observed", "login", "till", "alias"] = "observed"


class Consent(msgspec.Struct, omit_defaults=True):
    """The person allowed or forbade one purpose on one channel."""

    channel: Name
    granted: bool
    purpose: Name = "marketing"


class Device(msgspec.Struct, omit_defaults=True):
    """Facts about the device, none of which identifies it."""

    kind: Name | None = None
    os: Name | None = None
    app_version: Name | None = None


class Product(msgspec.Struct, omit_defaults=True):
    """A product as shown, put into a cart or sold. ``price`` per unit in major units."""

    sku: Key
    category: Name | None = None
    price: Amount | None = None
    quantity: Count = 1
    name: Text | None = None


class Body(msgspec.Struct, omit_defaults=True):
    """Base of the typed bodies. Fields named in ``TIMES`` are epoch milliseconds once decoded."""

    SEALED: ClassVar[tuple[str, ...]] = ()
    TOKENS: ClassVar[tuple[str, ...]] = ()
    TIMES: ClassVar[tuple[str, ...]] = ()

    def reduce(self) -> None:
        """Leave in a clear field what may be known of those that will be sealed."""


class Page(Body):
    SEALED = ("url", "title", "referrer")

    url: Text | None = None
    title: Text | None = None
    referrer: Text | None = None
    category: Name | None = None


class View(Body):
    SEALED = ("url",)

    product: Product
    url: Text | None = None


class Wish(Body):
    product: Product


class Search(Body):
    SEALED = ("query",)

    query: Text
    results: Count | None = None


class Cart(Body):
    """A change or a look at a cart; ``value`` is the whole cart's value after it, in major units."""

    SEALED = ("url",)
    TOKENS = ("cart_id",)

    cart_id: Key | None = None
    product: Product | None = None
    value: Amount | None = None
    url: Text | None = None


class Order(Body):
    """A completed or cancelled order. ``revenue`` is what the customer pays, in major units."""

    SEALED = ("address", "note")
    TOKENS = ("order_id", "cart_id")

    order_id: Key
    revenue: Amount = 0.0
    currency: Currency = "CNY"
    discount: Amount = 0.0
    lines: Annotated[list[Product], msgspec.Meta(max_length=500)] = []
    cart_id: Key | None = None
    coupon: Name | None = None
    address: Text | None = None
    note: Text | None = None


class Refund(Body):
    SEALED = ("note",)
    TOKENS = ("order_id",)

    order_id: Key
    amount: Amount = 0.0
    currency: Currency = "CNY"
    lines: Annotated[list[Product], msgspec.Meta(max_length=500)] = []
    note: Text | None = None


class Message(Body):
    """What became of a message. ``trigger_id`` is the id of the trigger it was sent for, and of no other message: what
    has none was sent on the account of somebody else, unless it names a ``play``. ``bounce``: whether the address is
    none (``hard``, as is a bounce that does not say) or could not be reached this time (``soft``)."""

    SEALED = ("url", "subject")
    TOKENS = ("message_id", "trigger_id")

    channel: Name
    message_id: Key | None = None
    trigger_id: Key | None = None
    play: Name | None = None
    url: Text | None = None
    subject: Text | None = None
    bounce: Literal["hard", "soft"] | None = None


class Login(Body):
    method: Name | None = None


class Registration(Body):
    """Of the birthday (``1990-02-28``, or ``--02-28`` without a year) only ``birth_day``, ``02-28``, stays in the
    clear."""

    SEALED = ("name", "address", "birthday")

    name: Text | None = None
    address: Text | None = None
    birthday: Text | None = None
    country: Name | None = None
    language: Name | None = None
    timezone: Name | None = None
    birth_day: Name | None = None

    def reduce(self) -> None:
        self.birth_day = _month_day(self.birth_day) or _month_day(self.birthday)


class Ticket(Body):
    """``due_at``: when it has to be answered."""

    SEALED = ("subject", "text")
    TOKENS = ("ticket_id",)
    TIMES = ("due_at",)

    ticket_id: Key
    topic: Name | None = None
    satisfaction: Annotated[int, msgspec.Meta(ge=0, le=10)] | None = None
    subject: Text | None = None
    text: Text | None = None
    due_at: Moment | None = None


class Loyalty(Body):
    """``expires_at``: when these points, or the tier, run out."""

    TIMES = ("expires_at",)

    points: Points | None = None
    balance: Points | None = None
    tier: Name | None = None
    expires_at: Moment | None = None


class Stock(Body):
    sku: Key
    stock: Count


class Price(Body):
    sku: Key
    price: Amount
    old_price: Amount | None = None


class ConsentChange(Body):
    SEALED = ("wording",)

    wording: Text | None = None


#: event type -> (family, body)
TYPES: dict[str, tuple[str, type[Body]]] = {
    "Page Viewed": ("page", Page),
    "Product Viewed": ("view", View),
    "Products Searched": ("search", Search),
    "Product Added": ("cart", Cart),
    "Product Removed": ("cart", Cart),
    "Cart Viewed": ("cart", Cart),
    "Product Added to Wishlist": ("wish", Wish),
    "Product Removed from Wishlist": ("wish", Wish),
    "Checkout Started": ("cart", Cart),
    "Order Completed": ("order", Order),
    "Order Cancelled": ("order", Order),
    "Order Refunded": ("refund", Refund),
    "Message Sent": ("message", Message),
    "Message Delivered": ("message", Message),
    "Message Opened": ("message", Message),
    "Message Clicked": ("message", Message),
    "Message Bounced": ("message", Message),
    "Message Complained": ("message", Message),
    "Unsubscribed": ("message", Message),
    "Signed In": ("login", Login),
    "Signed Out": ("login", Login),
    "Signed Up": ("registration", Registration),
    "Ticket Opened": ("service", Ticket),
    "Ticket Closed": ("service", Ticket),
    "Points Earned": ("loyalty", Loyalty),
    "Points Spent": ("loyalty", Loyalty),
    "Tier Changed": ("loyalty", Loyalty),
    "Stock Changed": ("product", Stock),
    "Price Changed": ("product", Price),
    "Consent Changed": ("consent", ConsentChange),
}


#: Types that are about a product, and nobody.
OF_PRODUCTS = frozenset(name for name, (family, _) in TYPES.items() if family == "product")
#: Types whose bodies hold no id of their own: one page or product is looked at again and again, in the same words.
REPEATING = frozenset(name for name, (_, body) in TYPES.items() if not body.TOKENS)


class Touchpoint(msgspec.Struct, omit_defaults=True):
    """One event of one person (or, in the product family, of one product) in one channel.

    ``identifiers`` and ``data`` stay raw: most repeat what was seen before, and are then not decoded again; see
    `decode_identifiers` and `decode_body`.
    ``time`` is when it happened, ``received`` when the source system took it in, ``at`` the simulated
    time, honoured only where the deployment's clock is the log's (``clock: log``).
    """

    id: Key
    source: Name
    type: Name
    time: int | str
    identifiers: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    received: int | None = None
    at: int | None = None
    session: Key | None = None
    channel: Name | None = None
    store: Name | None = None
    device: Device | None = None
    consent: Annotated[list[Consent], msgspec.Meta(max_length=50)] = []


#: What `Touchpoint.identifiers` holds.
Identifiers = Annotated[list[Identifier], msgspec.Meta(max_length=50)]

_DAY = re.compile(r"(?:\d{4}-?|--)?(\d\d)-?(\d\d)(?:T.*)?\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/-]*\Z")
_decoder = msgspec.json.Decoder(Touchpoint)
_identifiers = msgspec.json.Decoder(Identifiers)
_anything: msgspec.json.Decoder[object] = msgspec.json.Decoder()
_bodies = {name: msgspec.json.Decoder(body) for name, (_, body) in TYPES.items()}


def decode(raw: bytes) -> Touchpoint:
    """Decode one touchpoint and check its time. Raises `RecordFault` with a reason and ``$.path``."""
    try:
        touchpoint = _decoder.decode(raw)
    except MALFORMED as error:
        raise _fault(error) from None
    time = touchpoint.time
    if isinstance(time, str) or not MIN_TIME <= time < MAX_TIME:
        touchpoint.time = epoch_ms(time)
    unplain = _unplain(touchpoint.source, touchpoint.type, touchpoint.channel, touchpoint.store)
    if unplain is not None:
        raise RecordFault("not_a_name", unplain)
    if touchpoint.at is not None and not MIN_TIME <= touchpoint.at < MAX_TIME:
        raise RecordFault("time_out_of_range", "$.at")
    return touchpoint


def decode_identifiers(raw: msgspec.Raw | bytes) -> list[Identifier]:
    """The identifiers of a touchpoint. Raises `RecordFault`."""
    try:
        return _identifiers.decode(raw) if raw else []
    except MALFORMED as error:
        raise _fault(error, "$.identifiers") from None


def decode_body(type: str, data: msgspec.Raw | bytes) -> Body | None:
    """The typed body, or None for a type this version does not know; what is sealed whole can be read by whoever opens
    it. Raises `RecordFault`."""
    try:
        body = _bodies.get(type, _anything).decode(data or b"{}")
    except MALFORMED as error:
        raise _fault(error, "$.data") from None
    if not isinstance(body, Body):
        return None
    for name in body.TIMES:
        value = getattr(body, name)
        if value is not None:
            setattr(body, name, epoch_ms(value, f"$.data.{name}"))
    return body


def _month_day(text: str | None) -> str | None:
    """``02-28`` of a date, with or without its year; None if it is none."""
    found = _DAY.match(text or "")
    try:
        # A leap year: everybody has a birthday.
        return date(2000, int(found[1]), int(found[2])).strftime("%m-%d") if found else None
    except ValueError:
        return None


@lru_cache(10_000)
def _unplain(source: str, type: str, channel: str | None, store: str | None) -> str | None:
    """The path of the first name that does not look like one (an address, a control character, free text), although
    it would stay in the clear."""
    names = {"source": source, "type": type, "channel": channel, "store": store}
    bad = (field for field, name in names.items() if name is not None and not _NAME.match(name))
    return next((f"$.{field}" for field in bad), None)


def epoch_ms(time: int | str, path: str = "$.time") -> int:
    """A time in epoch milliseconds from either form. Raises `RecordFault` outside 1990 to 2100."""
    if isinstance(time, str):
        try:
            parsed = datetime.fromisoformat(time)
        except ValueError:
            raise RecordFault("time_not_rfc3339", path) from None
        if parsed.tzinfo is None:
            raise RecordFault("time_without_zone", path)
        time = round(parsed.timestamp() * 1000)
    if not MIN_TIME <= time < MAX_TIME:
        raise RecordFault("time_out_of_range", path)
    return time


def _fault(error: Exception, root: str = "$") -> RecordFault:
    """The stable reason and the path of a decoding error, without the offending value."""
    if not isinstance(error, msgspec.ValidationError):
        return RecordFault("not_json", root)
    _, found, path = str(error).rpartition(" - at `$")
    return RecordFault("invalid", root + path.rstrip("`") if found else root)
