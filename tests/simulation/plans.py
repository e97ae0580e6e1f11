"""What a seed stands for: what is sent, and the harm that is done while it is processed."""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

#: Effects that a record takes until it is engaged, about: harm is done within the time that all of them take.
EFFECTS_PER_RECORD: Final = 12
#: What can happen, and how often. ``kill``, ``freeze``, ``drain``: of the process whose turn it is; it is replaced, or
#: goes on after its session has ended. ``join``: of one more. ``lost``: a request is not carried out, ``unheard``: it
#: is, but its answer is lost; ``refused``: a transaction is. ``forget``: Redis comes back as it was a while before.
KINDS: Final = {
    "kill": 8, "freeze": 4, "join": 1, "drain": 2, "lost": 3, "unheard": 3, "refused": 2, "forget": 2,
}  # fmt: skip


class Fault(NamedTuple):
    """Harm done at the how manieth effect (of a request: at the first that fits from there on), and how many effects it
    lasts, or lies back."""

    at: int
    kind: str
    long: int


class Plan(NamedTuple):
    """``pace``: from record to record by the log's clock (ms). ``scattered``: see `tests.system.feed`."""

    seed: int
    records: int
    people: int
    pace: int
    scattered: bool
    retail: bool
    faults: tuple[Fault, ...]


def plan(seed: int) -> Plan:
    """What happens under a seed."""
    rng = Random(seed)
    records = rng.randint(10, 60)
    end = records * EFFECTS_PER_RECORD
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=rng.randint(1, 8))
    faults = sorted(Fault(rng.randrange(end), kind, rng.randint(10, 150)) for kind in kinds)
    scattered = rng.random() < 0.5
    pace = rng.choice((20_000, 300_000, 3_600_000))
    people = rng.randint(1, 4)
    return Plan(seed, records, people, pace, scattered, rng.random() < 0.5, tuple(faults))
