"""What identity has come to in a deployment: how many identifiers make how many customers, and who is nobody's.

Every cluster is read once. What is kept are counts, one for each size, namespace and hub, and the pairs of hubs that
have met: the memory does not grow with the number of customers.

An identifier counts where it lives: clusters mention the hubs their people met, which have clusters of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from heapq import nlargest
from typing import Final

import msgspec
import redis

from flows.identity_show import short
from operators.clusters import is_hub, lives_in
from operators.evidence import KINDS, LINKS
from operators.explain import met
from schemas.config import Config
from schemas.errors import TouchstreamError
from state.identity import Cluster
from state.outlines import Outline, outlines
from state.tokens import namespace

#: Namespaces named in the text for people.
_NAMED: Final = 20


class Sizes(msgspec.Struct, frozen=True):
    """Half (90 %, 99 %, all) have so many or fewer; 0 if there are none."""

    p50: int
    p90: int
    p99: int
    max: int


class Hub(msgspec.Struct, frozen=True):
    """An identifier that links nobody, as a shortened keyed hash, and how many distinct ones it has met."""

    identifier: str
    met: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """``identifiers``: all that are known, by ``namespaces``, most frequent first; ``nobody`` of them stand for no
    person, among these ``hubs``, of which ``top_hubs`` have met most. ``customers``: those that stand for a person.
    ``erased``: identifiers that were erased; those not seen again are in no other count, nor are their clusters.
    ``pending``: changes not known to be published; one that several clusters hold counts for each."""

    prefix: str
    identifiers: int
    customers: int
    clusters: int
    unification_rate: float
    identifiers_per_customer: Sizes
    identifiers_per_cluster: Sizes
    namespaces: dict[str, int]
    pending: int
    nobody: int
    hubs: int
    top_hubs: list[Hub]
    erased: int


def unification_rate(identifiers: int, customers: int) -> float:
    """1 - customers / identifiers, of the identifiers that stand for a person: 0 if each is a customer of its own."""
    return round(1 - customers / identifiers, 4) if identifiers else 0.0


def stats(config: Config, client: redis.Redis, *, top: int, progress: Callable[[int], None]) -> Stats:
    """Read all clusters; ``top``: most hubs to name; ``progress`` is told how many have been read. Raises
    `TouchstreamError` if Redis does not answer."""
    count = Count(top)
    try:
        for batch in outlines(client, config.prefix):
            for outline in batch:
                count.add(outline)
            progress(count.clusters.total())
    except redis.RedisError as error:
        raise TouchstreamError(f"Redis does not answer: {error}; check redis.url") from error
    return count.stats(config.prefix)


class Count:
    """The counts so far. ``clusters``, ``customers``: how many there are of each size."""

    def __init__(self, top: int) -> None:
        self.clusters: Counter[int] = Counter()
        self.customers: Counter[int] = Counter()
        self._top = top
        self._namespaces: Counter[str] = Counter()
        self._met: Counter[bytes] = Counter()
        self._pairs: set[tuple[bytes, bytes]] = set()
        self._totals: Counter[str] = Counter()

    def add(self, outline: Outline) -> None:
        """One more cluster."""
        ids, owners, nobody = outline.ids, outline.owners, outline.nobody
        places = _living(outline)
        living = [i for i in places if owners[i] >= 0]
        self._totals["erased"] += sum([i in outline.erased for i in places]) if outline.erased else 0
        people = [i for i in living if i not in nobody] if nobody else living
        self.clusters[len(living)] += bool(living)
        self.customers.update(Counter([owners[i] for i in people]).values())
        self._namespaces.update([namespace(ids[i]) for i in living])
        self._totals["nobody"] += len(living) - len(people)
        self._totals["pending"] += len(outline.pending)
        if nobody:
            self._meet(outline.cluster())

    def _meet(self, cluster: Cluster) -> None:
        """Note whom hubs have met: people in the people's clusters, other hubs in the cluster of one of the two."""
        marked = [cluster.hub] if cluster.hub else [cluster.ids[i] for i in cluster.nobody]
        hubs = [token for token in marked if is_hub(cluster, token)]  # others never connect by policy, or are shared
        facts = cluster.facts(KINDS) if hubs else {}
        if cluster.hub:
            self._totals["hubs"] += len(hubs)
            self._met.update(dict.fromkeys(hubs, 0))
            self._pairs.update([(a, b) for kind, a, b in facts if kind in LINKS])
        else:
            self._met.update({hub: met(facts, hub) for hub in hubs})

    def _most_met(self) -> list[Hub]:
        together = Counter([hub for pair in self._pairs for hub in pair if hub in self._met])
        top = nlargest(self._top, [(count + together[hub], hub) for hub, count in self._met.items()])
        return [Hub(short(hub), count) for count, hub in top]

    def stats(self, prefix: str) -> Stats:
        """What has been counted."""
        totals, customers = self._totals, self.customers.total()
        identifiers = self._namespaces.total()
        return Stats(
            prefix=prefix,
            identifiers=identifiers,
            customers=customers,
            clusters=self.clusters.total(),
            unification_rate=unification_rate(identifiers - totals["nobody"], customers),
            identifiers_per_customer=sizes(self.customers),
            identifiers_per_cluster=sizes(self.clusters),
            namespaces=dict(self._namespaces.most_common()),
            pending=totals["pending"],
            nobody=totals["nobody"],
            hubs=totals["hubs"],
            top_hubs=self._most_met(),
            erased=totals["erased"],
        )


def _living(outline: Outline) -> Collection[int]:
    """Which of its identifiers a cluster is the place of."""
    if not outline.nobody and not outline.hub:
        return range(len(outline.ids))
    cluster = outline.cluster()
    return [i for i, token in enumerate(cluster.ids) if lives_in(cluster, token)]


def sizes(counts: Counter[int]) -> Sizes:
    """The quantiles of sizes that occur so often: of each, the smallest size that so many do not exceed."""
    return Sizes(*[_quantile(counts, percent) for percent in (50, 90, 99, 100)])


def _quantile(counts: Counter[int], percent: int) -> int:
    left = -(-counts.total() * percent // 100)
    for size, count in sorted(counts.items()):
        left -= count
        if left <= 0:
            return size
    return 0


def readable(shown: Stats) -> Iterator[str]:
    """Lines for people."""
    yield f"identifiers    {shown.identifiers} in {shown.clusters} clusters"
    yield f"customers      {shown.customers}, of {shown.identifiers - shown.nobody} identifiers"
    yield f"unification    {shown.unification_rate} (1 - customers / their identifiers)"
    yield f"a customer has {_text(shown.identifiers_per_customer)}"
    yield f"a cluster has  {_text(shown.identifiers_per_cluster)}"
    yield f"nobody's       {shown.nobody}, of which {shown.hubs} are hubs"
    yield from (f"  {hub.identifier} has met {hub.met}" for hub in shown.top_hubs)
    yield f"pending        {shown.pending} changes not known to be published"
    yield f"erased         {shown.erased}"
    yield "namespaces"
    named = list(shown.namespaces.items())
    yield from (f"  {name}: {count}" for name, count in named[:_NAMED])
    if rest := named[_NAMED:]:
        yield f"  {len(rest)} others: {sum(count for _, count in rest)}"


def _text(found: Sizes) -> str:
    return f"{found.p50} identifiers (median), {found.p90} (p90), {found.p99} (p99), {found.max} (most)"
