"""Published schemas let fields be added; a test that looks for what is not published must not."""

from __future__ import annotations

from typing import Any


def closed(schema: Any) -> Any:
    """The JSON Schema, but that its objects hold the named properties alone and its arrays the listed places."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and "type" in found:
        found["additionalProperties"] = False
    if "prefixItems" in found:
        found["items"] = False
    return found
