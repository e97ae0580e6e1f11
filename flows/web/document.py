"""The OpenAPI document of the read API: routes as FastAPI knows them, bodies by the structs that are encoded."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from flows.web.answers import Problem

_REF: Final = "#/components/schemas/{name}"
#: What any route may answer, beside what it is for.
_ALWAYS: Final = {
    401: "No token, or none that holds.",
    403: "The role may not do this; or it was sent by another site, or without its CSRF token.",
    421: "Not a host name that the service answers to.",
    429: "Too many requests; the header Retry-After says when to come again.",
    503: "Redis or Kafka does not answer, or the audit could not be written.",
}


class Known:
    """Collects the structs that routes name."""

    def __init__(self) -> None:
        self.kinds: list[type[msgspec.Struct]] = [Problem]

    def said(self, kind: type[msgspec.Struct] | None, *problems: tuple[int, str], **others: Any) -> dict[str, Any]:
        """What a route answers: ``kind`` with 200 or, of ``others`` by status as s202=kind, with those."""
        found = {200: kind} if kind else {}
        found |= {int(name.removeprefix("s")): each for name, each in others.items()}
        self.kinds += found.values()
        said: dict[int | str, Any] = {
            status: {"description": _line(each), **_json(each)} for status, each in found.items()
        }
        for status, text in {**_ALWAYS, **dict(problems)}.items():
            said[status] = {"description": text, **_json(Problem)}
        return {"responses": said}

    def asked(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """What a route takes as its body."""
        self.kinds.append(kind)
        return {"openapi_extra": {"requestBody": {"required": True, **_json(kind)}}}


def describe(app: FastAPI, known: Known, version: str) -> Callable[[], dict[str, Any]]:
    """A function that makes the document of ``app``, once."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_document(app, known, version))
        return made

    return openapi


def _document(app: FastAPI, known: Known, version: str) -> dict[str, Any]:
    from fastapi.openapi.utils import get_openapi

    document = get_openapi(
        title="touchstream",
        version=version,
        summary="Customers, decisions and why, plays and segments; for operators, what they decide.",
        routes=app.routes,
    )
    _, components = msgspec.json.schema_components(dict.fromkeys(known.kinds), ref_template=_REF)
    document["servers"] = [{"url": "/v1"}]
    document["components"] = {
        "schemas": components,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "description": "Made by `touchstream tokens create`."}
        },
    }
    document["security"] = [{"token": []}]
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = {status: each for status, each in operation["responses"].items() if _ours(each)}
    return document


def _ours(response: Any) -> bool:
    """FastAPI adds its own form of 422 where a route has none; ours are all of `Problem`."""
    return "HTTPValidationError" not in str(response)


def _json(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": _REF.format(name=kind.__name__)}}}}


def _line(kind: type[msgspec.Struct]) -> str:
    """The first sentence of what a struct says of itself."""
    return cleandoc(kind.__doc__ or kind.__name__).partition(".")[0].replace("\n", " ") + "."
