"""Who is who: customers as a pure function of evidence and policy. Neither order of arrival nor duplicates matter.

    0. blocked values, erasures    `operators.graph`
    1. hubs                        `operators.hubs`
    2. decisions of operators      newest first: a merge unites, checked against splits alone; a split forbids
    3. links                       namespace by namespace, strong to weak: unite unless a limit or a split forbids
    4. names                       `operators.birth`

A link belongs to the namespace of its weaker end: a device belongs to the member, not the member to the device. In
a conflict the stronger kind of link is heard first, then the last (or first) to have been used, as that namespace
wants it; then the stronger end. Since groups only grow and limits only bind tighter, who was heard first has won.

*Phantom owner*: a device whose newest owner cannot have it, because its phone number contradicts, does not fall
back to an owner that this one superseded: it counts as holding one.

>>> from operators.evidence import Evidence, Sighting, facts_of, join
>>> from schemas.policy import RETAIL
>>> from state.tokens import Tokens
>>> tokens, rules, evidence = Tokens(bytes(32)), Rules(RETAIL), Evidence()
>>> device, ann, bob = [tokens.identifier(*pair) for pair in (("device", "1"), ("member", "1"), ("member", "2"))]
>>> for time, member in ((10, ann), (20, bob)):
...     join(evidence, facts_of(Sighting((device, member), 0b10, time, time), rules))
>>> customers = partition(evidence, rules).customers
>>> customers[device] == customers[bob] != customers[ann]
True
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, groupby
from operator import itemgetter
from typing import NamedTuple

from operators.birth import LOOSE, NOBODY, head_of, name, oldest_of, owned
from operators.evidence import Fact, Span
from operators.graph import Link, graph
from operators.hubs import find_hubs
from operators.rules import FULL, Rules
from operators.union_find import unite

#: Why a link was refused: `SPLIT_APART`, or the bits of the limits it would have passed.
SPLIT_APART = -1


class Partition(NamedTuple):
    """``customers``: the customer id of each identifier. ``nobody``: those that are no customer's, since they are hubs,
    never connect, or are shared by several; their ids are their own. ``hubs``: the former two. ``erased``: when
    which identifiers were erased, known again or not. ``loose``: customers that head no birth group. ``spent``:
    identifiers whose own names are used up, by them or others.
    """

    customers: dict[bytes, str]
    nobody: frozenset[bytes] = frozenset()
    hubs: frozenset[bytes] = frozenset()
    erased: Mapping[bytes, int] = {}
    loose: frozenset[str] = frozenset()
    spent: frozenset[bytes] = frozenset()


def partition(evidence: Mapping[Fact, Span], rules: Rules) -> Partition:
    """The customers that this evidence makes."""
    return Solver(evidence, rules).result()


class Solver:
    """One computation. After it, ``group`` holds the number of each identifier's group, ``refused`` the links that
    were heard in vain and why; `operators.explain` makes use of these."""

    def __init__(self, evidence: Mapping[Fact, Span], rules: Rules) -> None:
        self.rules = rules
        self.graph = found = graph(evidence, rules)
        size, one = len(found.tokens), found.layout.one
        self.group = list(range(size))
        self.members = [[i] for i in range(size)]
        #: What each group holds, as `operators.rules` counts.
        self.held = [one[rank] for rank in found.ranks]
        self.splits: list[tuple[int, int]] = []
        self.refused: list[tuple[Link, int]] = []
        self.shared: set[int] = set()
        some = found.hubs or size > found.layout.least_hub or not found.layout.connected
        self.hubs = find_hubs(found) if some else set()
        if found.decisions:
            self._decide()
        if found.links:
            self._connect()

    # -- step 2 --------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Obey the newest decision for each pair; of a merge and a split at the same time, the split."""
        latest: dict[tuple[int, int], tuple[int, bool]] = {}
        for time, apart, i, j in self.graph.decisions:
            latest[i, j] = max(latest.get((i, j), (-1, False)), (time, apart))
        self.splits = [pair for pair, (_, apart) in latest.items() if apart]
        merges = sorted([(-time, i, j) for (i, j), (time, apart) in latest.items() if not apart])
        for _, i, j in merges:
            a, b = self.group[i], self.group[j]
            if a != b and not self._apart(a, b) and not {i, j} & self.hubs:
                one = _each_once(self.held[a] | self.held[b], self.graph.layout.one)
                self.held[unite(self.group, self.members, a, b)] = one

    def _apart(self, a: int, b: int) -> bool:
        """Whether somebody said that these two groups are not one."""
        group = self.group
        return any([{group[i], group[j]} == {a, b} for i, j in self.splits])

    # -- step 3 --------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        links, hubs = self.graph.links, self.hubs
        if hubs:
            links = [link for link in links if link[4] not in hubs and link[5] not in hubs]
        links.sort()
        if not self.graph.layout.ambiguous:
            self._hear(links)
            return
        for weak, level in groupby(links, itemgetter(0)):
            some = [link for link in level if not self.shared or not self.shared & {link[4], link[5]}]
            if self.graph.layout.shared[weak]:
                self.shared |= self._ambiguous(some, weak)
                some = [link for link in some if not self.shared & {link[4], link[5]}]
            self._hear(some)

    def _hear(self, links: list[Link]) -> None:
        """Unite along links, the most important first, unless a limit or a split forbids."""
        group, members, held, layout = self.group, self.members, self.held, self.graph.layout
        spare, over, splits = layout.spare, layout.over, self.splits
        for link in links:
            a, b = group[link[4]], group[link[5]]
            if a == b:
                continue
            full = held[a] + held[b] + spare & over
            if full or (splits and self._apart(a, b)):
                self._refuse(link, full or SPLIT_APART)
            else:
                total = held[a] + held[b]
                held[unite(group, members, a, b)] = total

    def _refuse(self, link: Link, why: int) -> None:
        self.refused.append((link, why))
        weak, _, _, strong, i, j = link
        layout = self.graph.layout
        if strong != weak and layout.solo[strong] and not layout.shared[weak]:
            weaker = self.group[i if self.graph.ranks[i] == weak else j]
            if not self.held[weaker] & layout.solo[strong]:
                self.held[weaker] += layout.one[strong]  # the phantom owner

    def _ambiguous(self, links: list[Link], weak: int) -> set[int]:
        """Those of rank ``weak`` whose stronger neighbours cannot be one customer together."""
        near: dict[int, set[int]] = {}
        for _, _, _, strong, i, j in links:
            if strong != weak:
                x, other = (i, j) if self.graph.ranks[i] == weak else (j, i)
                near.setdefault(x, {self.group[x]}).add(self.group[other])
        return {x for x, groups in near.items() if self._contradict(groups)}

    def _contradict(self, groups: set[int]) -> bool:
        layout = self.graph.layout
        if sum([self.held[a] for a in groups]) + layout.spare & layout.over:
            return True
        return bool(self.splits) and any([self._apart(a, b) for a, b in combinations(groups, 2)])

    # -- step 4 --------------------------------------------------------------------------------------------

    def result(self) -> Partition:
        """The customers, named."""
        tokens, hubs = self.graph.tokens, self.hubs
        # Whom an operator united with others stays with them; all he loses is his links.
        nobody = hubs | {i for i in self.shared if len(self.members[self.group[i]]) == 1}
        loose: list[str] = []
        named = self._named(nobody, loose)
        return Partition(
            {token: named[number] for token, number in zip(tokens, self.group, strict=True)},
            frozenset([tokens[i] for i in nobody]),
            frozenset([tokens[i] for i in hubs]),
            self.graph.erased,
            frozenset(loose),
            frozenset(self.graph.stamps),
        )

    def _named(self, nobody: set[int], loose: list[str]) -> dict[int, str]:
        """The id of each group; notes the loose ones."""
        found, named = self.graph, {}
        tokens, stamps = found.tokens, found.stamps
        oldest: dict[int, int] | None = None  # where nothing was cut, everyone owns whom he met
        if self.refused or self.shared or found.dropped or self.splits:
            oldest = owned(found, self.rules, self.group, self.hubs)
        for number, members in enumerate(self.members):
            if not members:
                continue
            if members[0] in nobody:
                named[number] = name(tokens[members[0]], stamps, NOBODY)
            elif oldest is None:
                named[number] = name(tokens[oldest_of(found, members)], stamps)
            elif number in oldest:
                named[number] = name(tokens[oldest[number]], stamps)
            else:
                named[number] = name(tokens[head_of(found, members)], stamps, LOOSE)
                loose.append(named[number])
        return named


def _each_once(held: int, ones: tuple[int, ...]) -> int:
    """The same namespaces, one value of each."""
    total = 0
    for one in ones:
        if held & one * FULL:
            total += one
    return total
