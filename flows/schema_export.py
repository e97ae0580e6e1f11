"""JSON Schemas (2020-12) of what goes in and what comes out, from the structs that decode and encode it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, Final

import msgspec

from schemas.outputs import (
    Alert,
    Alias,
    Audit,
    DeadLetter,
    Decision,
    Example,
    IdentityChange,
    Kpis,
    Outcome,
    Partial,
    Score,
    SegmentChange,
    Trigger,
)
from schemas.touchpoint import TYPES, Body, Identifiers, Touchpoint

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{name}"
#: Output topic -> what it holds.
OUTPUTS: Final[dict[str, type[msgspec.Struct]]] = {
    "triggers": Trigger,
    "decisions": Decision,
    "identity.changes": IdentityChange,
    "aliases": Alias,
    "audit": Audit,
    "alerts": Alert,
    "outcomes": Outcome,
    "segments": SegmentChange,
    "scores": Score,
    "churn.examples": Example,
    "kpi.partials": Partial,
    "kpis": Kpis,
    "dead-letters": DeadLetter,
}


def export() -> dict[str, dict[str, Any]]:
    """Every schema by name: ``touchpoint``, and one per output topic. Fields may be added: none forbids others."""
    outputs = {name: _schema(name, [kind], {"$ref": f"#/$defs/{kind.__name__}"}) for name, kind in OUTPUTS.items()}
    return {"touchpoint": touchpoint(), **outputs}


def touchpoint() -> dict[str, Any]:
    """The envelope, and for each known ``type`` the body that ``data`` must hold; other types are free.

    Definitions of bodies list under ``x-sealed`` and ``x-tokens`` the fields that are encrypted and hashed.
    """
    return _schema("touchpoint", TOUCHPOINT, {"$ref": "#/$defs/Touchpoint", "allOf": rules(_REF)})


def _schema(title: str, kinds: Sequence[type[msgspec.Struct]], root: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **root, "$defs": definitions(kinds, _REF)}


def definitions(kinds: Sequence[type[msgspec.Struct]], ref: str) -> dict[str, Any]:
    """The definitions of these structs and of what they hold, by name; ``ref``: how they refer to each other. What is
    always written is required, whether it has a default or not."""
    _, found = msgspec.json.schema_components(kinds, ref_template=ref)
    for kind in kinds:
        schema = found[kind.__name__]
        if not kind.__struct_config__.omit_defaults:
            schema["required"] = list(kind.__struct_encode_fields__)
        schema |= _privacy(kind) if issubclass(kind, Body) else {}
    for schema in found.values():
        schema["description"] = cleandoc(schema.get("description", ""))
    return found


def rules(ref: str) -> list[dict[str, Any]]:
    """Which body a touchpoint of each type holds."""
    return [_when(body, ref) for body in TOUCHPOINT[1:]]


def _envelope() -> type[msgspec.Struct]:
    """`Touchpoint` with what its raw fields hold, which have no schema of their own."""
    raw: dict[str, Any] = {"identifiers": (Identifiers, list), "data": (dict[str, Any], dict)}
    fields: list[Any] = []
    for field in msgspec.structs.fields(Touchpoint):
        kind, factory = raw.get(field.name, (field.type, field.default_factory))
        if factory is not msgspec.NODEFAULT:
            fields.append((field.name, kind, msgspec.field(default_factory=factory)))
        else:
            fields.append((field.name, kind) if field.required else (field.name, kind, field.default))
    return msgspec.defstruct("Touchpoint", fields, namespace={"__doc__": Touchpoint.__doc__}, omit_defaults=True)


def _when(body: type[msgspec.Struct], ref: str) -> dict[str, Any]:
    types = [name for name, (_, each) in TYPES.items() if each is body]
    return {
        "if": {"properties": {"type": {"enum": types}}},
        "then": {"properties": {"data": {"$ref": ref.format(name=body.__name__)}}},
    }


def _privacy(body: type[Body]) -> dict[str, Any]:
    marks = {"x-sealed": list(body.SEALED), "x-tokens": list(body.TOKENS)}
    return {name: fields for name, fields in marks.items() if fields}


#: The envelope and the bodies.
TOUCHPOINT: Final[list[type[msgspec.Struct]]] = [_envelope(), *dict.fromkeys(body for _, body in TYPES.values())]
