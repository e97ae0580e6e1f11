"""JSON Schemas (2020-12) of what goes in and what comes out, from the structs that decode and encode it."""

from __future__ import annotations

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
    Outcome,
    Score,
    SegmentChange,
    Trigger,
)
from schemas.touchpoint import TYPES, Body, Identifiers, Touchpoint

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
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
    "dead-letters": DeadLetter,
}


def export() -> dict[str, dict[str, Any]]:
    """Every schema by name: ``touchpoint``, and one per output topic."""
    outputs = {
        name: {"$schema": _DIALECT, "title": name, **msgspec.json.schema(kind)} for name, kind in OUTPUTS.items()
    }
    return {"touchpoint": touchpoint(), **outputs}


def touchpoint() -> dict[str, Any]:
    """The envelope, and for each known ``type`` the body that ``data`` must hold; other types are free.

    Definitions of bodies list under ``x-sealed`` and ``x-tokens`` the fields that are encrypted and hashed.
    """
    bodies = list(dict.fromkeys(body for _, body in TYPES.values()))
    _, definitions = msgspec.json.schema_components([_envelope(), *bodies], ref_template="#/$defs/{name}")
    for body in bodies:
        definitions[body.__name__] |= _privacy(body)
    return {
        "$schema": _DIALECT,
        "title": "touchpoint",
        "$ref": "#/$defs/Touchpoint",
        "allOf": [_when(body) for body in bodies],
        "$defs": definitions,
    }


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
    return msgspec.defstruct("Touchpoint", fields, namespace={"__doc__": Touchpoint.__doc__})


def _when(body: type[Body]) -> dict[str, Any]:
    types = [name for name, (_, each) in TYPES.items() if each is body]
    return {
        "if": {"properties": {"type": {"enum": types}}},
        "then": {"properties": {"data": {"$ref": f"#/$defs/{body.__name__}"}}},
    }


def _privacy(body: type[Body]) -> dict[str, Any]:
    marks = {"x-sealed": list(body.SEALED), "x-tokens": list(body.TOKENS)}
    return {name: fields for name, fields in marks.items() if fields}
