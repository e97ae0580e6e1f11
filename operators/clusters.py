"""Clusters as they are stored: the cheap test on them, what they say of hubs, and how one is made from evidence."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from operators.evidence import HUB, KINDS, LOGIN, LOGOUT, SEEN, Evidence, Sighting, facts_of
from operators.partition import Partition
from operators.rules import Rules
from schemas.stitched import Change
from state.identity import KIND_LIMIT, Cluster, Key, Span, code

_NUMBER = {kind: number for number, kind in enumerate(KINDS)}
_SEEN, _LOGIN, _LOGOUT = (_NUMBER[kind] for kind in (SEEN, LOGIN, LOGOUT))


def newer_logout(cluster: Cluster, logouts: Sequence[bytes], time: int) -> bool:
    """Whether a logout at ``time`` (ms) is news to a cluster: it may change the partition."""
    for token in logouts:
        place = cluster.index(token)
        span = cluster.spans.get(code(_LOGOUT, place, place)) if place >= 0 else None
        if span is None or time > span[1]:
            return True
    return False


def move_times(cluster: Cluster, sighting: Sighting, by_last: Sequence[bool], rules: Rules) -> dict[int, Span] | None:
    """The cheap test on a cluster as it is stored: the spans that joining ``sighting`` moves on, by code; empty if
    all is known. None if it may change the partition. The same as `effect` after `facts_of`, without spelling out
    either (tested). ``by_last``: see `Person`."""
    if cluster.erased:
        return {} if _repeats(cluster, sighting, rules) else None
    ids, spans, owners, nobody = cluster.ids, cluster.spans, cluster.owners, cluster.nobody
    tokens, logins, first, last, kind = sighting
    unproven = _NUMBER[kind]
    plain, deciding = last - last % rules.step, last - last % rules.deciding_step
    moved: dict[int, Span] = {}
    places: list[int] = []
    pair = 0
    for n, token in enumerate(tokens):
        j = bisect_left(ids, token)
        if j == len(ids) or ids[j] != token:
            return None
        row = j * (j + 1) // 2
        for m, i in enumerate(places):
            decides = by_last[pair]
            pair += 1
            how = _LOGIN if logins and (logins >> m & 1 or logins >> n & 1) else unproven
            number, end = (row + i) * KIND_LIMIT + how, deciding if decides else plain
            span = spans.get(number)
            if span is None or first < span[0]:
                return None
            if end > span[1]:
                if decides and owners[i] != owners[j] and i not in nobody and j not in nobody:
                    return None
                moved[number] = (span[0], end)
        places.append(j)
        number = (row + j) * KIND_LIMIT + _SEEN
        span = spans.get(number)
        if span is None or first < span[0]:
            return None
        if plain > span[1]:
            moved[number] = (span[0], plain)
    return moved


def _repeats(cluster: Cluster, sighting: Sighting, rules: Rules) -> bool:
    """Whether a sighting says nothing new to a cluster of which something was erased, and came later than that."""
    erased = {cluster.ids[i]: time for i, time in cluster.erased.items()}
    if sighting.first <= max([erased.get(token, -1) for token in sighting.tokens]):
        return False
    known = cluster.facts(KINDS)
    return all(
        fact in known and first >= known[fact][0] and last <= known[fact][1]
        for fact, (first, last) in facts_of(sighting, rules, erased).items()
    )


def is_hub(cluster: Cluster, token: bytes) -> bool:
    """Whether ``token`` is marked as a hub here, and has not been released since."""
    place = cluster.index(token)
    if not cluster.nobody or place not in cluster.nobody:
        return False
    return code(_NUMBER[HUB], place, place) in cluster.spans


def lives_in(cluster: Cluster, token: bytes) -> bool:
    """Whether this is the place of one of its identifiers."""
    return token == cluster.hub if cluster.hub else not is_hub(cluster, token)


def cluster_of(
    evidence: Evidence, after: Partition, keys: Mapping[str, Key], pending: list[Change], hub: bytes = b""
) -> Cluster:
    """``evidence`` as it is stored, with its customers ``after`` it came. All data keys stay unless hubs or erasures
    split it off: who is elsewhere has his there, but keys that are still to be told are everywhere."""
    ids = sorted({a for _, a, _ in evidence} | {b for _, _, b in evidence})
    place = {token: i for i, token in enumerate(ids)}
    customers = sorted({after.customers[token] for token in ids if token in after.customers})
    number = {customer: i for i, customer in enumerate(customers)}
    owners = [number[after.customers[token]] if token in after.customers else -1 for token in ids]
    spans = {code(_NUMBER[kind], place[a], place[b]): span for (kind, a, b), span in evidence.items()}
    nobody = sorted([place[token] for token in after.nobody if token in place])
    erased = {place[token]: time for token, time in after.erased.items() if token in place}
    if after.hubs or after.erased:
        kept = number.keys() | {change.customer for change in pending}
        keys = {name: key for name, key in keys.items() if name in kept or heir(name, keys) in kept}
    return Cluster(ids, spans, customers, owners, dict(keys), pending, nobody, hub, erased)


def heir(customer: str, keys: Mapping[str, Key]) -> str:
    """Who a customer has become, through all that it was merged into."""
    for _ in keys:
        key = keys.get(customer)
        if key is None or not key.heir:
            break
        customer = key.heir
    return customer
