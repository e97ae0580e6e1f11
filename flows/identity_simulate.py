"""What a policy makes of identity cases: the pure core of identity, fed with their events.

Nothing is read but the cases and nothing is written, so a policy can be tried before it is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, islice, permutations
from math import factorial
from random import Random
from typing import Any

import msgspec

from flows.identity_cases import Case, Event, Value, blocking, policy_of, spelling
from operators.evidence import (
    ALIAS,
    ERASE,
    HUB,
    LOGOUT,
    MERGE,
    OBSERVED,
    RELEASE,
    SPLIT,
    Evidence,
    Sighting,
    facts_of,
    join,
    marker,
)
from operators.hubs import quarantine
from operators.partition import Partition, partition
from operators.rules import Rules
from state.tokens import Tokens

#: Orders of arrival that are tried: all of up to five events, a sample of more.
ORDERS = 120
_DECISIONS = {"merge": MERGE, "split": SPLIT}
_MARKS = {"hub": HUB, "release": RELEASE}
Groups = frozenset[frozenset[str]]


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a case. ``customers``: identifiers by customer id; ``nobody``: those that link nobody; ``nothing``:
    the times of events that hold too many values to be of one person; ``faults``: where it is not as expected."""

    name: str
    policy: str
    policy_version: str
    ok: bool
    customers: dict[str, list[str]]
    nobody: list[str]
    erased: list[str]
    nothing: list[float]
    faults: list[str]


class Simulation:
    """One run over the events of a case, in some order of arrival."""

    def __init__(self, case: Case, override: str | None = None) -> None:
        # The key is public: ids made here are nobody's, and cannot be compared with a deployment's.
        self._tokens = Tokens(bytes(32))
        self.rules = Rules(policy_of(case, override))
        self._blocked, self._spelt = blocking(case.config), spelling(case.config)
        self.texts: dict[bytes, str] = {}
        self.evidence: Evidence = {}
        self.nothing: list[float] = []
        self.now = Partition({})

    def token(self, name: str, value: Value) -> bytes | None:
        """The token of an identifier; None if it identifies nobody."""
        raw = _text(value)
        spelt = self._spelt(name, raw)
        if not spelt or self._blocked(name, raw) or self._blocked(name, spelt):
            return None
        token = self._tokens.identifier(name, spelt)
        self.texts[token] = f"{name}:{spelt}"
        return token

    def spelt(self, text: str) -> str:
        """An identifier as `texts` has it."""
        name, _, value = text.partition(":")
        return f"{name}:{self._spelt(name, value)}"

    def tokens(self, event: Event) -> tuple[bytes, ...]:
        """The identifiers of an event."""
        pairs = [
            (name, value)
            for name, values in event.ids.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        return tuple(sorted({token for pair in pairs if (token := self.token(*pair)) is not None}))

    def take(self, event: Event) -> None:
        """One more event arrives."""
        join(self.evidence, self._facts(event, self.tokens(event)))
        if len(self.texts) > self.rules.cap:
            join(self.evidence, quarantine(self.evidence, self.rules))
        self.now = partition(self.evidence, self.rules)

    def _facts(self, event: Event, tokens: tuple[bytes, ...]) -> Evidence:
        time: Any = event.time  # a case may have fractions; nothing here minds
        if event.op == "erase":
            return _each(ERASE, self._customers_of(tokens), time)
        if event.op in _MARKS:
            return _each(_MARKS[event.op], tokens, time)
        if event.op in _DECISIONS:
            return _decide(_DECISIONS[event.op], tokens, time)
        if any([time <= self.now.erased.get(token, -1) for token in tokens]):
            return {}  # older than an erasure: it comes too late
        facts = facts_of(Sighting(tokens, 0, time, time, ALIAS if event.op == "alias" else OBSERVED), self.rules)
        if tokens and not facts:
            self.nothing.append(event.ts)
        if event.op == "logout":
            join(facts, _each(LOGOUT, self.rules.logged_out(tokens), time))
        return facts

    def _customers_of(self, tokens: Iterable[bytes]) -> set[bytes]:
        """All that is known to belong to these identifiers' customers: erasing means all of it."""
        customers = self.now.customers
        meant = {customers[token] for token in tokens if token in customers}
        return {token for token, customer in customers.items() if customer in meant} | set(tokens)

    def groups(self) -> Groups:
        """The customers, as sets of identifiers."""
        return frozenset(frozenset(some) for some in self.customers().values())

    def unowned(self) -> set[str]:
        """What has been named but is no customer's, and was not erased."""
        now = self.now
        return {
            text for token, text in self.texts.items()
            if token in now.nobody or (token not in now.customers and token not in now.erased)
        }  # fmt: skip

    def customers(self) -> dict[str, list[str]]:
        """The identifiers of each customer."""
        found: dict[str, list[str]] = {}
        for token, customer in self.now.customers.items():
            if token not in self.now.nobody:
                found.setdefault(customer, []).append(self.texts[token])
        return {customer: sorted(texts) for customer, texts in sorted(found.items(), key=lambda item: min(item[1]))}


def _text(value: Value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _each(kind: str, tokens: Iterable[bytes], time: int) -> Evidence:
    return {(kind, token, token): (time, time) for token in tokens}


def _decide(kind: str, tokens: Sequence[bytes], time: int) -> Evidence:
    facts: Evidence = {}
    for a, b in combinations(tokens, 2):
        facts |= marker(kind, a, b, time)
    return facts


def simulate(case: Case, override: str | None = None) -> Outcome:
    """Run a case and compare. ``override``: a policy instead of its own."""
    run = Simulation(case, override)
    faults = list(_run(run, case, _arrivals(case)))
    if case.expected is not None:
        faults += [f"at the end: {fault}" for fault in difference(case.expected, run)]
    faults += _survivor(case, override, run)
    faults += _orders(case, override, run)
    return Outcome(
        name=case.name,
        policy=override or case.policy,
        policy_version=run.rules.version,
        ok=not faults,
        customers=run.customers(),
        nobody=sorted(run.texts[token] for token in run.now.nobody),
        erased=sorted(run.texts[token] for token in run.now.erased if token not in run.now.customers),
        nothing=run.nothing,
        faults=faults,
    )


def _arrivals(case: Case) -> list[Event]:
    """The events in their order of arrival."""
    if not case.delivery_order:
        return list(case.events)
    return [event for time in case.delivery_order for event in case.events if event.ts == time]


def _run(run: Simulation, case: Case, events: Sequence[Event]) -> Iterator[str]:
    """Take all events; yields what is not as expected on the way."""
    last = {event.ts: number for number, event in enumerate(events)}
    for number, event in enumerate(events):
        before = run.now.customers
        run.take(event)
        if event.must_reject and (joined := _joined(run, event, before)):
            yield f"the event at {event.ts:g} must link nothing, but has made one of {' and '.join(joined)}"
        if last[event.ts] == number:
            for fault in _at_checkpoints(run, case, event):
                yield f"after {event.ts:g}: {fault}"


def _at_checkpoints(run: Simulation, case: Case, event: Event) -> Iterator[str]:
    for point in case.checkpoints:
        if point.after_ts == event.ts and point.expected is not None:
            yield from difference(point.expected, run)
        owner = point.anonymous_event_owner
        if point.after_ts == event.ts and owner:
            holders = _holders(run, event)
            if not any([run.spelt(owner) in some for some in holders]):
                yield f"expected this event to be of {owner}, not of {_shown(holders)}"


def _joined(run: Simulation, event: Event, before: dict[bytes, str]) -> list[str]:
    """Two identifiers of the event that are one customer only since it came."""
    now = run.now.customers
    for a, b in combinations([token for token in run.tokens(event) if token in now], 2):
        if now[a] == now[b] and (a not in before or b not in before or before[a] != before[b]):
            return [run.texts[a], run.texts[b]]
    return []


def _holders(run: Simulation, event: Event) -> list[frozenset[str]]:
    texts = {run.texts[token] for token in run.tokens(event)}
    return [some for some in run.groups() if some & texts]


def difference(expected: list[list[str]], run: Simulation) -> list[str]:
    """How the customers are not the expected ones, in words; empty if they are.

    Who is nobody's may be left out or stand alone, as may identifiers that only events told of which gave nothing. A
    device somebody logged out of is shared by design: it counts only if it is mentioned.
    """
    wanted = {frozenset(map(run.spelt, some)) for some in expected}
    alone = run.unowned()
    wanted -= {some for some in wanted if len(some) == 1 and some <= alone}
    logged_out = {run.texts[token] for kind, token, _ in run.evidence if kind == LOGOUT}
    unasked = logged_out.difference(*wanted)
    got = {some - unasked for some in run.groups()} - {frozenset()}
    missing, surplus = wanted - got, got - wanted
    if not missing and not surplus:
        return []
    return [f"expected {_shown(missing)}", f"got      {_shown(surplus)}"]


def _shown(groups: Collection[frozenset[str]]) -> str:
    return "  ".join(sorted("{" + ", ".join(sorted(some)) + "}" for some in groups)) or "nobody"


def _survivor(case: Case, override: str | None, run: Simulation) -> list[str]:
    """Whether a customer that was created at ``survivor_created_ts`` still has that id."""
    created = case.survivor_created_ts
    if created is None:
        return []
    before, after = Simulation(case, override), Simulation(case, override)
    for event in sorted(case.events, key=lambda event: event.time):
        for each, reached in ((before, event.time < created), (after, event.time <= created)):
            if reached:
                each.take(event)
    new = set(after.customers()) - set(before.customers())
    if new & set(run.customers()):
        return []
    return [f"expected the customer created at {created:g} to survive; {len(new)} were created then, and all are gone"]


def _orders(case: Case, override: str | None, run: Simulation) -> list[str]:
    """Whether the events of ``permute_ts`` may arrive in any order."""
    events, moving = list(case.events), set(case.permute_ts)
    places = [number for number, event in enumerate(events) if event.ts in moving]
    for order in _permutations(places) if places else ():
        shuffled = list(events)
        for place, source in zip(places, order, strict=True):
            shuffled[place] = events[source]
        other = Simulation(case, override)
        for event in shuffled:
            other.take(event)
        times = ", ".join(f"{event.ts:g}" for event in shuffled)
        if other.groups() != run.groups():
            return [f"arriving as {times}: got {_shown(other.groups())} instead of {_shown(run.groups())}"]
        if other.customers() != run.customers():
            return [f"arriving as {times}: the customers have other ids"]
    return []


def _permutations(places: Sequence[int]) -> Iterator[Sequence[int]]:
    if factorial(len(places)) <= ORDERS:
        return permutations(places)
    random = Random(0)  # fixed: the same file gives the same answer
    return islice(iter(lambda: random.sample(places, len(places)), None), ORDERS)
