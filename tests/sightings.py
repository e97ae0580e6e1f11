"""Sightings under the policies of a configuration, within some days, so that rounded times matter."""

from __future__ import annotations

from hypothesis import strategies as st

from operators.evidence import ALIAS, OBSERVED, TILL, Sighting
from operators.rules import Rules
from schemas.policy import DAY_MS, RETAIL, UNION
from tests.identity_worlds import TOKENS

POOL = sorted(TOKENS.identifier(ns, str(n)) for ns in ("member", "device", "phone") for n in range(4))
RULES = {"retail": Rules(RETAIL), "union": Rules(UNION)}


def sightings(most: int = 3) -> st.SearchStrategy[Sighting]:
    """Events with up to ``most`` identifiers of a small pool, some proven by a login, within four days."""
    who = st.lists(st.sampled_from(POOL), min_size=1, max_size=most, unique=True).map(lambda some: tuple(sorted(some)))
    time = st.integers(1, 4 * DAY_MS)
    return st.builds(
        lambda who, logins, time, kind: Sighting(who, logins % 2 ** len(who), time, time, kind),
        who, st.integers(0, 7), time, st.sampled_from([OBSERVED, OBSERVED, OBSERVED, TILL, ALIAS]),
    )  # fmt: skip


events = st.lists(sightings(), max_size=12)
