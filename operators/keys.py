"""Whose model: the keys of a customer, from all customers down to those most like it.

A deployment names levels (``churn.keys: [country, segment:vip]``). Who has the first is learned and scored with those
who have the same, below that with those who share the second as well::

    default  >  country=CN  >  country=CN,segment=vip

Every customer is in ``default``. A level that says nothing of a customer is left out. Whoever has no model of its own
yet, since too few like it have matured, is scored by that of the nearest parent that has one.

There are two models of each key, of two targets: whether no purchase follows within the horizon from now
(``default``), and whether the gap since the last purchase becomes longer than that (``gap:default``), which is nearer
and more certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from state.profile import Profile

#: The key of all customers.
ROOT: Final = "default"
#: Begins the keys of models that say whether the present gap becomes longer than the horizon.
GAP: Final = "gap:"
#: What a level may be, beside a segment.
ATTRIBUTES: Final = ("country", "language", "tier")
#: Names a segment as a level.
SEGMENT: Final = "segment:"


def path(profile: Profile, levels: Sequence[str]) -> list[str]:
    """The keys below `ROOT`, the widest first."""
    found: list[str] = []
    for level in levels:
        if level.startswith(SEGMENT):
            name = level.removeprefix(SEGMENT)
            said = f"segment={name}" if name in profile.segments else ""
        else:
            value = getattr(profile, level)
            said = f"{level}={value}" if value else ""
        if said:
            found.append(f"{found[-1]},{said}" if found else said)
    return found
