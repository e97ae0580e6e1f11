"""What plays cost in the core alone, without servers: conditions, and many plays beside few.

``python -m benchmarks.plays --json`` times every condition of the starter set on a touchpoint that it looks at
(nanoseconds, the median of several runs), and applies touchpoints that wake no play with 5 and with 500 plays in force
(CPU microseconds a touchpoint, alternating, so that the machine's mood meets both).
"""

from __future__ import annotations

import argparse
import json
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import msgspec

from flows import playfile
from operators.engage import Engage
from operators.expressions import Condition
from operators.playbook import PlayBook
from operators.shard import Shard, ShardState
from schemas import stitched
from schemas.config import Config, Keys
from schemas.plays import PlayFile
from schemas.stitched import Gist
from schemas.touchpoint import TYPES, decode_body
from state.profile import Profile

CALLS = 20_000
NOW = 1_760_000_000_000
_PRODUCT = {"sku": "tea", "category": "drinks", "price": 120.0}
#: A body of every kind that conditions look at.
BODIES: dict[str, dict[str, Any]] = {
    "view": {"product": _PRODUCT},
    "cart": {"cart_id": "c", "product": _PRODUCT, "value": 640.0},
    "order": {"order_id": "o", "revenue": 310.0, "lines": [_PRODUCT]},
    "service": {"ticket_id": "t", "satisfaction": 3},
    "loyalty": {"points": 5, "tier": "gold"},
}


def main() -> int:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--touchpoints", type=int, default=50_000, help="applied in each round (default 50,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    options = parser.parse_args()
    conditions = dict(measured_conditions(playfile.load()))
    few, many = beside(options.touchpoints, options.rounds)
    result = {
        "condition_ns_median": round(median(conditions.values())),
        "condition_ns_max": round(max(conditions.values())),
        "five_plays_us": few,
        "five_hundred_plays_us": many,
        "ratio": round(many / few, 3),
    }
    if options.json:
        print(json.dumps(result))
        return 0
    for path, ns in sorted(conditions.items(), key=lambda each: -each[1]):
        print(f"{ns:8.0f} ns  {path}")
    print("\n".join(f"{name:24} {value}" for name, value in result.items()))
    return 0


def measured_conditions(file: PlayFile) -> Iterator[tuple[str, float]]:
    """Nanoseconds a call of each condition of a file."""
    book, profile = PlayBook(file), Profile("customer")
    for type, reactions in book.reactions.items():
        raw = msgspec.json.encode(BODIES.get(TYPES[type][0], {})) if type in TYPES else b"{}"
        event = Gist(NOW, "customer", "e", NOW, NOW, type, "web")
        for number, reaction in enumerate(reactions):
            if reaction.where is not None:
                given = (event, decode_body(type, raw), profile, NOW, "", 0)
                yield f"{reaction.play.name}.{reaction.role}.{type}.{number}", timed(reaction.where, *given)
    for play in book.plays.values():
        if (who := play.who) is not None:
            yield f"{play.name}.who", timed(_asked, who, profile)


def _asked(who: Condition, profile: Profile) -> bool:
    return who.holds(who.read(None, None, profile, NOW, "", 0), NOW)


def timed(function: Callable[..., object], *given: object) -> float:
    """CPU nanoseconds a call, with the loop around it: the median of seven runs."""
    call = partial(function, *given)
    return median(timeit.repeat(call, timer=time.process_time, repeat=7, number=CALLS)) / CALLS * 1e9


def beside(touchpoints: int, rounds: int) -> tuple[float, float]:
    """CPU microseconds a touchpoint that wakes none of 5, and none of 500 plays."""
    found: dict[int, list[float]] = {5: [], 500: []}
    for _ in range(rounds):
        for count, times in found.items():
            times.append(_apply(count, touchpoints) / touchpoints * 1e6)
    return round(median(found[5]), 3), round(median(found[500]), 3)


def _apply(plays: int, touchpoints: int) -> float:
    """CPU seconds of the core on product views, with so many plays that wait for something else."""
    play = {"when": {"event": {"event": "Order Completed"}}, "channels": ["sms"], "cool_down": "1d"}
    file = msgspec.convert({"plays": {f"play_{n}": play for n in range(plays)}}, PlayFile)
    book = PlayBook(file)
    config = Config(keys=Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32}))
    engage = Engage(config, {}, {book.version: book})
    shard = Shard(0, 0, None, ShardState(plays=book.version), 0)
    data = msgspec.Raw(msgspec.json.encode(BODIES["view"]))
    records = [
        Gist(NOW + n, f"customer-{n % 1_000}", f"event-{n:010}", NOW + n, NOW + n, "Product Viewed", "web", data=data)
        for n in range(touchpoints)
    ]
    raw = stitched.encode(records[0])
    before = time.process_time()
    for record in records:
        engage.apply(shard, record, raw)
    return time.process_time() - before


if __name__ == "__main__":
    raise SystemExit(main())
