"""Which part of a touchpoint may be read: the body is split into clear data and personal fields.

Clear stays what a play or a feature needs and nobody is known by: sku, category, coupon, store, channel,
amounts. Order, cart, ticket and message ids become tokens of kind FIELD (``order_id``). Fields a body
declares `SEALED`, the data of unknown types and, if configured, unknown fields are personal: one JSON object,
to be sealed. Product names are dropped (the catalogue has them), as are device facts and, by default,
unknown fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import msgspec

from schemas.touchpoint import TYPES, Body, Identifier, Product, Touchpoint
from state.tokens import Tokens

_encode = msgspec.json.encode
EMPTY = msgspec.Raw(b"{}")


class Split(NamedTuple):
    """The clear body, JSON, and the personal fields, a JSON object (None: there are none)."""

    data: msgspec.Raw
    personal: bytes | None


class _Plan(NamedTuple):
    """What to do with one kind of body: fields to seal with what stays in their place, to tokenise, with products."""

    sealed: tuple[tuple[str, str | None], ...]
    tokens: tuple[str, ...]
    product: bool
    lines: bool


def split(data: msgspec.Raw, body: Body | None, tokens: Tokens, unknown: dict[str, Any]) -> Split:
    """Split ``body`` (emptied in place), or ``data`` where its type is unknown. ``unknown``: see `unknown_fields`."""
    personal: dict[str, Any] = {"unknown": unknown} if unknown else {}
    if body is None:
        if data:
            personal["data"] = data
        return Split(EMPTY, _encode(personal) if personal else None)
    plan = _PLANS[type(body)]
    body.reduce()
    for name, blank in plan.sealed:
        value = getattr(body, name)
        if value:
            personal[name] = value
            setattr(body, name, blank)
    for name in plan.tokens:
        value = getattr(body, name)
        if value is not None:
            setattr(body, name, tokens.text(name, value))
    for product in _products(body, plan):
        product.name = None
    return Split(msgspec.Raw(_encode(body)), _encode(personal) if personal else None)


def unknown_fields(raw: bytes, body: Body | None) -> dict[str, Any]:
    """Fields of a valid touchpoint that no schema knows, by path: ``{"$.data.colour": "red"}``."""
    envelope = msgspec.json.decode(raw)
    found = dict(_unknown(envelope, Touchpoint, "$"))
    if body is not None:
        found.update(_unknown(envelope.get("data", {}), type(body), "$.data"))
    return found


def _unknown(value: Any, known: type[msgspec.Struct], path: str) -> Iterator[tuple[str, Any]]:
    # Identifiers stay raw until they are looked at, and may yet turn out to be none.
    nested = _NESTED[known]
    for name, field in value.items() if isinstance(value, dict) else ():
        here = f"{path}.{name}"
        if name not in nested:
            yield here, field
        elif (inner := nested[name]) is not None and field is not None:
            items = enumerate(field) if isinstance(field, list) else [(None, field)]
            for i, item in items:
                yield from _unknown(item, inner, here if i is None else f"{here}[{i}]")


def _products(body: Any, plan: _Plan) -> list[Product]:
    if plan.product:
        return [body.product] if body.product is not None else []
    return body.lines if plan.lines else []


def _plan(body: type[Body]) -> _Plan:
    required = {field.name for field in msgspec.structs.fields(body) if field.required}
    sealed = tuple((name, "" if name in required else None) for name in body.SEALED)
    names = body.__struct_fields__
    return _Plan(sealed, body.TOKENS, "product" in names, "lines" in names)


def _structs(hint: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs a type hint mentions."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for inner in get_args(hint):
        yield from _structs(inner)


def _nested(struct: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """Known fields, each with the struct it holds, if any."""
    return {field.encode_name: next(_structs(field.type), None) for field in msgspec.structs.fields(struct)}


def _all_nested() -> dict[type[msgspec.Struct], dict[str, type[msgspec.Struct] | None]]:
    found: dict[type[msgspec.Struct], dict[str, type[msgspec.Struct] | None]] = {}
    left: list[type[msgspec.Struct]] = [Touchpoint, Identifier, *(body for _, body in TYPES.values())]
    while left:
        struct = left.pop()
        if struct not in found:
            found[struct] = _nested(struct)
            left += [inner for inner in found[struct].values() if inner is not None]
    found[Touchpoint]["identifiers"] = Identifier  # raw in the struct
    return found


_PLANS = {body: _plan(body) for _, body in TYPES.values()}
_NESTED = _all_nested()
