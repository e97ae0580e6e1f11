"""The collected cases through the stored index: events resolved one by one against a real Valkey, then read back."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import cast, get_args

import pytest
import redis

from flows.identity_cases import Case, Event
from flows.identity_simulate import Simulation
from operators.evidence import confused
from operators.planning import Planner
from operators.reading import Person, Touch
from operators.resolving import Resolver
from operators.rules import Rules
from schemas import stitched
from schemas.commands import Command, Op
from state.identity import IdentityStore
from state.tokens import CUT, Tokens, token_text
from state.vault import Vault
from tests.golden import GOLDEN, MORE, cases
from tests.messages import START
from tests.system.identity_world import KEYS

CASES = [*cases(GOLDEN), *cases(MORE)]
#: There is no command that makes a hub.
STORED = [case for case in CASES if all(event.op != "hub" for event in case.events)]


def person(tokens: tuple[bytes, ...], rules: Rules, logouts: Sequence[bytes]) -> Person:
    """As the reader makes it, of tokens made elsewhere."""
    strongest = tuple(sorted(tokens, key=lambda token: (rules.order(token[:CUT]), token)))
    if confused(tokens, rules):
        tokens = strongest = strongest[:1]
    pairs = [(tokens[i], tokens[j]) for j in range(len(tokens)) for i in range(j)]
    return Person((tokens, 0), [], [], 0, strongest, tuple(rules.by_last(a, b) for a, b in pairs), tuple(logouts))


def commands(op: Op, tokens: tuple[bytes, ...], time: int) -> Iterator[Person]:
    """What an operator says of identifiers: of each two, or of all."""
    for named in combinations(tokens, 2) if op in ("merge", "split") else [tokens]:
        said = Command(id="1", op=op, ids=[token_text(token) for token in named], time=time)
        yield Person((named, 0), said.ids, [], 0, named, command=said)


def touch(event: Event, number: int, shown: Person) -> Touch:
    time = START + int(event.time * 1000)
    record = stitched.Event(time, "", f"t/0/{number}", time, f"e{number}", time, "Page Viewed", "case")
    return Touch(record, time, shown, None)


def test_most_cases_can_be_stored() -> None:
    assert len(STORED) >= len(CASES) - 2


@pytest.mark.parametrize("case", STORED, ids=lambda case: case.name)
def test_the_stored_index_says_what_the_pure_function_says(client: redis.Redis, case: Case) -> None:
    simulation, tokens = Simulation(case), Tokens(bytes(32))
    store = IdentityStore(client, f"g{secrets.token_hex(4)}")
    planner = Planner(store, Vault(KEYS.master), tokens, simulation.rules)
    resolver = Resolver(store, planner, lambda: START * 1000)
    for number, event in enumerate(case.events):
        simulation.take(event)
        shown = simulation.tokens(event)
        if not shown:
            continue
        if event.op in get_args(Op):
            time = START + int(event.time * 1000)
            people = list(commands(cast(Op, event.op), shown, time))
        else:
            logouts = simulation.rules.logged_out(shown) if event.op == "logout" else []
            people = [person(shown, simulation.rules, logouts)]
        for each in people:
            resolver.resolve([touch(event, number, each)], [])
    places = store.places(list(simulation.texts))
    held = store.clusters(set(places.values()))
    customers: defaultdict[str, set[str]] = defaultdict(set)
    for token, place in places.items():
        cluster = held[place].cluster
        if cluster.index(token) not in cluster.nobody and token in simulation.now.customers:
            customers[cluster.owner(token)].add(simulation.texts[token])
    assert frozenset(map(frozenset, customers.values())) == simulation.groups()
