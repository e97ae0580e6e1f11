"""UUIDs that follow from what they name (RFC 9562, version 5).

>>> from uuid import NAMESPACE_DNS, uuid5
>>> uuid5_text(NAMESPACE_DNS, "python.org") == str(uuid5(NAMESPACE_DNS, "python.org"))
True
"""

from __future__ import annotations

from hashlib import sha1
from uuid import UUID


def uuid5_text(namespace: UUID, name: str) -> str:
    """``str(uuid.uuid5(namespace, name))`` in a third of its time: customers and decisions are named so."""
    digest = bytearray(sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
