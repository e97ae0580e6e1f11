"""What is true of a run, as NDJSON: one header, the identifiers that are nobody's or several people's, the customers.

``{"record":"retailer", ...}`` the arguments; ``{"record":"identifier","identifier","kind","owners"}`` with kind
``shared``, ``kiosk`` or ``junk``; ``{"record":"customer", ...}`` with the identifiers that are this customer's
alone, those shared, the hazard per day and the times (ms, null for never) of first touchpoint, sign-up and leaving.
Identifiers are ``namespace:value`` in normal form (phone E.164, e-mail in lower case). Some never show up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict

from flows.retailer.encode import to_json
from flows.retailer.faults import JUNK
from flows.retailer.population import KIOSKS, Person, Population


def truth(population: Population, end: int) -> Iterator[bytes]:
    """The lines, without line ends, for everybody who comes before ``end`` (ms)."""
    tablets = _tablets(population, end)
    yield to_json({
        "record": "retailer",
        "seed": population.seed,
        "customers": population.places,
        "start": population.start,
        "end": end,
        "rates": asdict(population.rates),
    })  # fmt: skip
    for ns, value in JUNK:
        yield _identifier(f"{ns}:{value}", "junk", [])
    for kiosk in KIOSKS:
        yield _identifier(f"device:{kiosk}", "kiosk", [])
    for tablet, owners in tablets.items():
        if len(owners) > 1:
            yield _identifier(f"device:{tablet}", "shared", owners)
    for person in population.people(end):
        yield _customer(person, end, len(tablets.get(person.tablet or "", ())) > 1)


def _tablets(population: Population, end: int) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = defaultdict(list)
    for person in population.people(end):
        if person.tablet:
            owners[person.tablet].append(person.name)
    return owners


def _identifier(identifier: str, kind: str, owners: list[str]) -> bytes:
    return to_json({"record": "identifier", "identifier": identifier, "kind": kind, "owners": owners})


def _customer(person: Person, end: int, shares: bool) -> bytes:
    tablet = [f"device:{person.tablet}"] if person.tablet else []
    return to_json({
        "record": "customer",
        "customer": person.name,
        "identifiers": person.identifiers(end) + ([] if shares else tablet),
        "shared": tablet if shares else [],
        "hazard": person.hazard,
        "first_at": person.born,
        "signup_at": person.signup_at,
        "left_at": person.left_at if person.left_at < end else None,
        "consent": person.wishes,
    })  # fmt: skip
