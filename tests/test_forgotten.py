"""What a rolled-back Redis no longer knows of customers is told again."""

from __future__ import annotations

from operators.identity import Change, Sighting, customer_id, facts_of, join, partition
from operators.planning import forgotten
from state.tokens import Tokens, token_text

TOKENS = Tokens(bytes(32))
MEMBER, DEVICE = TOKENS.identifier("member", "1001"), TOKENS.identifier("device", "ab12")


def test_every_id_that_an_identifier_could_have_given_leads_to_its_holder() -> None:
    evidence = facts_of(Sighting((DEVICE,), 0, 10, 10))
    join(evidence, facts_of(Sighting(tuple(sorted((DEVICE, MEMBER))), 0, 20, 20)))
    device, member = customer_id(token_text(DEVICE)), customer_id(token_text(MEMBER))
    # The member may have been a customer of its own, before the device's older sighting came to light.
    expected = Change("merged", device, (MEMBER,), member)
    assert forgotten(partition(evidence), []) == [expected]
    assert forgotten(partition(evidence), [expected]) == []


def test_customers_that_live_are_not_forgotten() -> None:
    evidence = facts_of(Sighting((DEVICE,), 0, 10, 10))
    join(evidence, facts_of(Sighting((MEMBER,), 0, 20, 20)))
    assert forgotten(partition(evidence), []) == []
