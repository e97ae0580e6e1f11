"""`identity show` tells what was done, not what might have been."""

from __future__ import annotations

from hypothesis import given, settings

from operators.evidence import ERASE, LINKS, LOGOUT, SPLIT, Evidence, Sighting, facts_of, join, marker
from operators.explain import explain
from operators.partition import partition
from operators.rules import Rules
from schemas.policy import Namespace, Policy
from tests.effort import examples
from tests.identity_worlds import POOL, evidence_of, mixed, plain, rules


@given(some=mixed, rules=rules)
@settings(max_examples=examples(500), deadline=None)
def test_every_link_is_explained_and_links_that_hold_make_the_customers(
    some: list[Sighting | Evidence], rules: Rules
) -> None:
    evidence = evidence_of(some, rules)
    told = explain(evidence, rules)
    assert told.partition == partition(evidence, rules)
    customers = told.partition.customers
    assert len(told.links) == sum(kind in LINKS for kind, _, _ in evidence)
    for link in told.links:
        one = link.a in customers and link.b in customers and customers[link.a] == customers[link.b]
        assert link.holds <= one
        assert (link.rule in ("limit", "superseded")) == bool(link.limits)
        if link.rule in ("limit", "superseded", "split", "hub", "unconnected"):
            assert not one


def test_each_rule_is_named() -> None:
    device, other = POOL["device"][:2]
    ann, bob = POOL["member"][:2]

    def told(rules: Rules, *markers: Evidence) -> list[tuple[str, bytes | None]]:
        evidence: Evidence = {}
        for time, member in ((1, ann), (2, bob)):
            join(evidence, facts_of(Sighting(tuple(sorted((device, member))), 0, time, time), rules))
        for each in markers:
            join(evidence, each)
        return [(link.rule, link.by) for link in explain(evidence, rules).links]

    last = plain("last_login_wins")
    assert told(last) == [("limit", None), ("holds", None)]
    assert told(last, marker(ERASE, ann, ann, 1)) == [("erased", ann), ("holds", None)]
    assert told(last, marker(SPLIT, device, bob, 5)) == [("superseded", None), ("split", None)]
    assert told(last, marker("hub", device, device, 5)) == [("hub", device), ("hub", device)]
    assert told(plain("ambiguous")) == [("shared", device), ("shared", device)]
    assert told(plain("explicit_logout"), marker(LOGOUT, device, device, 1)) == [("logout", None), ("holds", None)]
    assert told(Rules(last.policy, [device])) == []
    alone = Rules(Policy(priority=("member",), namespaces={"device": Namespace(connects=False)}, step_ms=1))
    assert told(alone) == [("unconnected", device), ("unconnected", device)]
    assert other not in explain({}, last).partition.customers
