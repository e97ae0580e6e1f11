"""The identity policy, prepared for computing.

A customer's identifiers are counted in one integer: a field of `FIELD` bits for each namespace that has a limit.
Whether two groups may become one is then one addition: with ``spare`` added, a field that passes its limit
sets its highest bit, and ``over`` holds these bits.

>>> from schemas.policy import Namespace, Policy
>>> rules = Rules(Policy(priority=("member", "device"), namespaces={"member": Namespace(limit=1)}))
>>> layout = rules.layout(frozenset((b"device", b"member")))
>>> one = layout.one[layout.rank[b"member"]]
>>> bool(one + layout.spare & layout.over), bool(one + one + layout.spare & layout.over)
(False, True)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

from operators.evidence import ALIAS, LOGIN, OBSERVED, TILL
from schemas.policy import ANY, Namespace, Policy, policy_version
from state.tokens import CUT

#: Bits for each count: a million identifiers in one computation.
FIELD = 21
FULL = (1 << FIELD) - 1
#: Sets of namespaces that occur together; each is a few hundred bytes.
LAYOUTS = 4_096


class Layout(NamedTuple):
    """The rules of the namespaces of one computation. All tuples are indexed by rank, strongest (0) first.

    ``one``: the count of one value, 0 if unlimited. ``solo``: where one value is the most: its field's bits, else 0.
    ``strongest``: the rank of the policy's strongest namespace if that is
    here and limited, else -1. ``ambiguous``: whether any here is.
    """

    rank: Mapping[bytes, int]
    names: tuple[str, ...]
    namespaces: tuple[Namespace, ...]
    one: tuple[int, ...]
    solo: tuple[int, ...]
    spare: int
    over: int
    newest: tuple[bool, ...]
    logout: tuple[bool, ...]
    shared: tuple[bool, ...]
    strongest: int
    ambiguous: bool
    connected: bool
    least_hub: int


class Rules:
    """One policy. ``blocked``: the tokens of its blocked values, which only who has the index key can make."""

    def __init__(self, policy: Policy, blocked: Collection[bytes] = ()) -> None:
        self.policy = policy
        self.version = policy_version(policy)
        self.blocked = frozenset(blocked)
        self.step, self.deciding_step, self.cap = policy.step_ms, policy.deciding_step_ms, policy.cap
        worth = policy.strengths
        self.strength = {OBSERVED: worth.observed, LOGIN: worth.login, ALIAS: worth.alias, TILL: worth.till}
        self._order = {name: place for place, name in enumerate(policy.priority)}
        self.layout = lru_cache(LAYOUTS)(self._layout)
        self._by_last = lru_cache(LAYOUTS)(self._last_decides)

    def order(self, name: bytes) -> tuple[int, bytes]:
        """Sorts namespaces from strong to weak."""
        return self._order.get(name.decode(), len(self._order)), name

    def by_last(self, a: bytes, b: bytes) -> bool:
        """Whether the last time of a link between these two tokens decides whose the weaker one is."""
        return self._by_last(a[:CUT], b[:CUT])

    def logged_out(self, tokens: Collection[bytes]) -> tuple[bytes, ...]:
        """What these identifiers of a logout are logged out of: the weakest of them, where that treats logouts at all.
        Who logs out is a person; what is logged out is the device, not his e-mail."""
        _, weakest = max([self.order(token[:CUT]) for token in tokens], default=((), b""))
        heeds = self.policy.of(weakest.decode()).shared == "explicit_logout"
        return tuple([token for token in tokens if heeds and token[:CUT] == weakest])

    def exceeds(self, tokens: Collection[bytes]) -> bool:
        """Whether there are more values of a namespace than one customer may hold."""
        for name, count in Counter([token[:CUT].decode() for token in tokens]).items():
            limit = self.policy.of(name).limit
            if limit is not None and count > limit:
                return True
        return False

    def _last_decides(self, a: bytes, b: bytes) -> bool:
        weaker = max(a, b, key=self.order)
        return self.policy.of(weaker.decode()).shared in ("last_login_wins", "explicit_logout")

    def _layout(self, names: frozenset[bytes]) -> Layout:
        """(Called through the cached ``layout``.)"""
        ordered = tuple(sorted(names, key=self.order))
        texts = tuple(name.decode() for name in ordered)
        namespaces = tuple(self.policy.of(text) for text in texts)
        limits = [namespace.limit for namespace in namespaces]
        ones = [0 if limit is None else 1 << FIELD * place for place, limit in enumerate(limits)]
        strongest = bool(texts) and self._order.get(texts[0]) == 0 and limits[0] is not None
        return Layout(
            rank={name: place for place, name in enumerate(ordered)},
            names=texts,
            namespaces=namespaces,
            one=tuple(ones),
            solo=tuple(FULL * one if limit == 1 else 0 for one, limit in zip(ones, limits, strict=True)),
            spare=sum(one * (FULL // 2 - limit) for one, limit in zip(ones, limits, strict=True) if limit is not None),
            over=sum(one << FIELD - 1 for one in ones),
            newest=tuple(each.shared in ("last_login_wins", "explicit_logout") for each in namespaces),
            logout=tuple(each.shared == "explicit_logout" for each in namespaces),
            shared=tuple(each.shared == "ambiguous" for each in namespaces),
            strongest=0 if strongest else -1,
            ambiguous=any(each.shared == "ambiguous" for each in namespaces),
            connected=all(each.connects for each in namespaces),
            least_hub=min([limit for each in namespaces for limit in each.hub.values()], default=1 << FIELD),
        )


def hub_limits(layout: Layout, place: int) -> tuple[dict[int, int], int | None]:
    """The most distinct neighbours of each rank, and of all together, of identifiers of rank ``place``."""
    limits = layout.namespaces[place].hub
    ranks = {layout.rank[name.encode()]: most for name, most in limits.items() if name.encode() in layout.rank}
    return ranks, limits.get(ANY)
