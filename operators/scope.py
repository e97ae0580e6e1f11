"""What the expressions of plays may name: the touchpoint's fields, the profile, the clock.

The fields of touchpoints are those of the bodies in `schemas.touchpoint`, under the names they have there. What is
sealed there cannot be named: nobody here can read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import inspect

from operators.features import ACTIVE
from operators.language import Name, Scope, Type
from schemas.touchpoint import TYPES, Body, Order, Product, Refund

#: Arguments of every compiled expression: the record, its typed body, the customer's profile, the shard's clock (ms),
#: the key of the play's progress and what it has counted.
ARGUMENTS: Final = ("event", "body", "profile", "now", "key", "count")

NOW: Final = {"now": Name("time", "now", moves=True)}
PROFILE: Final[Mapping[str, Name]] = {
    "profile.orders": Name("number", "profile.behaviour.orders"),
    "profile.spend": Name("number", "(profile.behaviour.spent / 100)"),
    "profile.returned": Name("number", "(profile.behaviour.returned / 100)"),
    "profile.units": Name("number", "profile.units"),
    "profile.first_order": Name("time", "(profile.behaviour.first_order or None)", maybe=True),
    "profile.last_order": Name(
        "time", "(profile.behaviour.recent[-1] if profile.behaviour.recent else None)", maybe=True
    ),
    "profile.first_seen": Name("time", "(profile.behaviour.first_seen or None)", maybe=True),
    "profile.last_seen": Name("time", "(profile.behaviour.last_seen or None)", maybe=True),
    "profile.open_carts": Name("number", "len(profile.carts)"),
    "profile.open_tickets": Name("number", "profile.tickets"),
    "profile.points": Name("number", "profile.points"),
    "profile.tier": Name("text", "(profile.tier or None)", maybe=True),
    "profile.country": Name("text", "(profile.country or None)", maybe=True),
    "profile.language": Name("text", "(profile.language or None)", maybe=True),
    "profile.timezone": Name("text", "(profile.timezone or None)", maybe=True),
    "profile.last_opened": Name(
        "time", "(max([each.opened_at for each in profile.engagement.values()], default=0) or None)", maybe=True
    ),
    "profile.last_clicked": Name(
        "time", "(max([each.clicked_at for each in profile.engagement.values()], default=0) or None)", maybe=True
    ),
    "profile.bounced": Name("bool", "(max([each.bounced for each in profile.contacts.values()], default=0) > 0)"),
    "profile.churn_score": Name("number", "(profile.score if profile.score >= 0 else None)", maybe=True),
    "profile.churn_band": Name("text", "(profile.band or None)", maybe=True),
    "profile.expected_spend": Name("number", "(profile.value / 100 if profile.score >= 0 else None)", maybe=True),
}
#: Of what has become of a product (`operators.products.Told`, in place of a touchpoint's body).
PRODUCT: Final[Mapping[str, Name]] = {
    "product.sku": Name("text", "body.sku"),
    "product.price": Name("number", "(body.price / 100 if body.price else None)", maybe=True),
    "product.was": Name("number", "(body.was / 100 if body.was else None)", maybe=True),
    "product.stock": Name("number", "(body.stock if body.stock >= 0 else None)", maybe=True),
}
KEY: Final = {"key": Name("text", "key")}
COUNT: Final = {"count": Name("number", "count")}
_ENVELOPE: Final[Mapping[str, Name]] = {
    "event.type": Name("text", "event.type"),
    "event.time": Name("time", "event.time"),
}
#: Of orders and refunds: their lines, as lists.
_LINES: Final[Mapping[str, Name]] = {
    "event.skus": Name("texts", "tuple([line.sku for line in body.lines])"),
    "event.categories": Name("texts", "tuple([line.category for line in body.lines if line.category])"),
}


#: Stands among the types of touchpoints for a new churn score.
SCORED: Final = "*score"
_ORDER, _SIGN_UP = frozenset({"Order Completed"}), frozenset({"Signed Up"})
_LOYALTY = frozenset({"Points Earned", "Points Spent", "Tier Changed"})
_MESSAGE = frozenset([type for type, (family, _) in TYPES.items() if family == "message"])
#: By which types of touchpoints what is named changes. What is not listed may change by any.
CHANGED_BY: Final[Mapping[str, frozenset[str]]] = {
    "now": frozenset(),
    "profile.orders": _ORDER,
    "profile.spend": _ORDER,
    "profile.returned": frozenset({"Order Cancelled", "Order Refunded"}),
    "profile.units": _ORDER,
    "profile.first_order": _ORDER,
    "profile.last_order": _ORDER,
    "profile.first_seen": ACTIVE,
    "profile.last_seen": ACTIVE,
    "profile.open_carts": frozenset({"Product Added", "Product Removed", "Checkout Started"}) | _ORDER,
    "profile.open_tickets": frozenset({"Ticket Opened", "Ticket Closed"}),
    "profile.points": _LOYALTY,
    "profile.tier": _LOYALTY,
    "profile.country": _SIGN_UP,
    "profile.language": _SIGN_UP,
    "profile.timezone": _SIGN_UP,
    "profile.last_opened": _MESSAGE,
    "profile.last_clicked": _MESSAGE,
    "profile.churn_score": _ORDER | {SCORED},
    "profile.churn_band": _ORDER | {SCORED},
    "profile.expected_spend": _ORDER | {SCORED},
}


def scope(*names: Mapping[str, Name]) -> Scope:
    """A scope of these names, the profile's and the clock's."""
    return Scope({**{key: name for each in names for key, name in each.items()}, **PROFILE, **NOW}, ARGUMENTS)


def event_names(types: Iterable[str]) -> dict[str, Name]:
    """What touchpoints of all of these types have; what one of them may lack, may be missing. A type of no known family
    has no fields: its body is sealed whole."""
    found = [_names(TYPES[each][1]) if each in TYPES else {} for each in types]
    shared = [name for name in found[0] if all([name in names for names in found])] if found else []
    fields = {name: _together([names[name] for names in found]) for name in shared}
    return {**_ENVELOPE, **{name: field for name, field in fields.items() if field is not None}}


def _together(names: Sequence[Name]) -> Name | None:
    """One name for a field that several types have, if it is the same in all."""
    first = names[0]
    if any([(name.type, name.code) != (first.type, first.code) for name in names]):
        return None
    return first._replace(maybe=any([name.maybe for name in names]))


def _names(body: type[Body]) -> dict[str, Name]:
    names = dict(_fields(body, "event", "body", body.SEALED))
    if issubclass(body, Order | Refund):
        names |= _LINES
    return names


def _fields(struct: type, written: str, code: str, sealed: Sequence[str] = ()) -> Iterable[tuple[str, Name]]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        if field.name in sealed:
            continue
        name, reads = f"{written}.{field.name}", f"{code}.{field.name}"
        if field.name in getattr(struct, "TIMES", ()):
            yield name, Name("time", reads, maybe=True)
            continue
        kind, maybe = _bare(field.type)
        if isinstance(kind, inspect.StructType) and kind.cls is Product:
            for inner, each in _fields(Product, name, reads):
                # A product that is not there has no fields. All types ask, so that they have one name for it.
                there = f"({each.code} if {reads} is not None else None)"
                yield inner, Name(each.type, there, maybe or each.maybe)
        elif (type := _type(kind)) is not None:
            yield name, Name(type, reads, maybe)


def _bare(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """A field's type without its constraints, and whether it may be missing."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        (inner,) = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        return _bare(inner)[0], True
    return kind, False


def _type(kind: inspect.Type) -> Type | None:
    match kind:
        case inspect.IntType() | inspect.FloatType():
            return "number"
        case inspect.StrType() | inspect.LiteralType():
            return "text"
        case inspect.BoolType():
            return "bool"
        case _:
            return None
