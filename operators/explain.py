"""Why the customers are what they are: each link and whether it holds, each decision, who is nobody's.

Computed only when somebody asks; says what `operators.partition` did with the same evidence.

>>> from operators.evidence import Evidence, Sighting, facts_of, join
>>> from schemas.policy import RETAIL
>>> from state.tokens import CUT, Tokens
>>> tokens, rules, evidence = Tokens(bytes(32)), Rules(RETAIL), Evidence()
>>> device, ann, bob = [tokens.identifier(*pair) for pair in (("device", "1"), ("member", "1"), ("member", "2"))]
>>> for time, member in ((10, ann), (20, bob)):
...     join(evidence, facts_of(Sighting((device, member), 0b10, time, time), rules))
>>> [(link.rule, link.limits) for link in explain(evidence, rules).links if link.b == ann]
[('limit', ('member',))]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from operators.evidence import LINKS, MARKERS, Fact, Span
from operators.partition import SPLIT_APART, Partition, Solver
from operators.rules import FULL, Layout, Rules
from state.tokens import namespace

#: ``holds``: both ends are one customer by it, or anyway. What cut a link: an identifier of it is blocked, was erased
#: after it, is a hub, never connects, is shared by people that contradict each other, logged out after it; an
#: operator's split; a limit that uniting would have passed; or somebody newer (or older, as the policy wants) who
#: could not have the weaker end either (the phantom owner).
Rule = Literal["holds", "blocked", "erased", "hub", "unconnected", "shared", "logout", "split", "limit", "superseded"]


class Why(NamedTuple):
    """A link and what became of it. ``limits``: the namespaces of which the two customers would have held too many
    together. ``by``: the identifier that the rule is about, if it is about one."""

    kind: str
    a: bytes
    b: bytes
    first: int
    last: int
    rule: Rule
    limits: tuple[str, ...] = ()
    by: bytes | None = None

    @property
    def holds(self) -> bool:
        return self.rule == "holds"


class Explanation(NamedTuple):
    """``links``, by first time, then last; ``decisions``: markers as (kind, a, b, time), oldest first. ``version``: of
    the policy. ``hubs``: how many distinct identifiers each has met."""

    partition: Partition
    version: str
    links: list[Why]
    decisions: list[tuple[str, bytes, bytes, int]]
    hubs: dict[bytes, int]
    shared: frozenset[bytes]


def explain(evidence: Mapping[Fact, Span], rules: Rules) -> Explanation:
    """The customers that this evidence makes, and why."""
    solver = Solver(evidence, rules)
    result = solver.result()
    tokens = solver.graph.tokens
    shared = frozenset([tokens[i] for i in solver.shared])
    verdicts = _verdicts(solver)
    links = [
        _why((kind, a, b), span, rules, result, shared, verdicts)
        for (kind, a, b), span in evidence.items()
        if kind in LINKS
    ]
    decisions = [(kind, a, b, span[1]) for (kind, a, b), span in evidence.items() if kind in MARKERS]
    return Explanation(
        partition=result,
        version=rules.version,
        links=sorted(links, key=lambda link: (link.first, link.last, link.a, link.b, link.kind)),
        decisions=sorted(decisions, key=lambda decision: (decision[3], decision)),
        hubs={hub: met(evidence, hub) for hub in sorted(result.hubs)},
        shared=shared,
    )


def _verdicts(solver: Solver) -> dict[tuple[int, bytes, bytes], tuple[Rule, tuple[str, ...]]]:
    """What refused a link, by minus its strength and its ends."""
    tokens, layout = solver.graph.tokens, solver.graph.layout
    found: dict[tuple[int, bytes, bytes], tuple[Rule, tuple[str, ...]]] = {}
    for (_, worth, _, _, i, j), why in solver.refused:
        if why == SPLIT_APART:
            found[worth, tokens[i], tokens[j]] = "split", ()
        else:
            limits = _passed(why, layout)
            rule: Rule = "limit" if _both_hold(solver, limits, i, j) else "superseded"
            found[worth, tokens[i], tokens[j]] = rule, limits
    for _, worth, _, _, i, j in solver.graph.dropped:
        found[worth, tokens[i], tokens[j]] = "logout", ()
    return found


def _passed(bits: int, layout: Layout) -> tuple[str, ...]:
    return tuple(name for name, one in zip(layout.names, layout.one, strict=True) if bits & FULL * one)


def _both_hold(solver: Solver, limits: tuple[str, ...], i: int, j: int) -> bool:
    """Whether both customers have identifiers of one of these namespaces, which no phantom owner has."""
    ranks, names = solver.graph.ranks, solver.graph.layout.names
    one, other = [{names[ranks[k]] for k in solver.members[solver.group[end]]} for end in (i, j)]
    return bool(one & other & set(limits))


def _why(
    fact: Fact,
    span: Span,
    rules: Rules,
    result: Partition,
    shared: frozenset[bytes],
    verdicts: Mapping[tuple[int, bytes, bytes], tuple[Rule, tuple[str, ...]]],
) -> Why:
    kind, a, b = fact
    for end in (a, b):
        if rule := _out(end, span[1], rules, result, shared):
            return Why(kind, a, b, *span, rule, by=end)
    if result.customers[a] == result.customers[b]:
        return Why(kind, a, b, *span, "holds")
    rule, limits = verdicts[-rules.strength[kind], a, b]
    return Why(kind, a, b, *span, rule, limits)


def _out(end: bytes, last: int, rules: Rules, result: Partition, shared: frozenset[bytes]) -> Rule | None:
    """Why none of an identifier's links of that time counts."""
    if end in rules.blocked:
        return "blocked"
    if last <= result.erased.get(end, -1):
        return "erased"
    if end in result.hubs:
        connects = rules.policy.of(namespace(end)).connects
        return "hub" if connects else "unconnected"
    return "shared" if end in shared else None


def met(evidence: Mapping[Fact, Span], hub: bytes) -> int:
    """How many it has met; what was erased or blocked included, since it has been a hub for all of them."""
    return len({a if b == hub else b for kind, a, b in evidence if kind in LINKS and hub in (a, b)})
