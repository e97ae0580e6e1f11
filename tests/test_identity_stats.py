"""The arithmetic of `identity stats`."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from flows.identity_stats import Hub, Sizes, Stats, readable, sizes, unification_rate

SHOWN = Stats(
    prefix="ts",
    identifiers=101,
    customers=25,
    clusters=26,
    unification_rate=0.75,
    identifiers_per_customer=Sizes(3, 6, 9, 14),
    identifiers_per_cluster=Sizes(3, 7, 10, 15),
    namespaces={f"ns{n}": 40 - n for n in range(22)},
    pending=2,
    nobody=1,
    hubs=1,
    top_hubs=[Hub("device:4Bj2rV…", 31)],
    erased=4,
)


def test_quantiles_are_sizes_that_so_many_do_not_exceed() -> None:
    assert sizes(Counter({1: 50, 2: 40, 3: 9, 70: 1})) == Sizes(1, 2, 3, 70)
    assert sizes(Counter({5: 1})) == Sizes(5, 5, 5, 5)
    assert sizes(Counter()) == Sizes(0, 0, 0, 0)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=300))
def test_quantiles_are_those_of_the_list(some: list[int]) -> None:
    ordered, found = sorted(some), sizes(Counter(some))
    expected = [ordered[ceil(len(some) * percent / 100) - 1] for percent in (50, 90, 99, 100)]
    assert [found.p50, found.p90, found.p99, found.max] == expected


def test_the_unification_rate() -> None:
    assert [unification_rate(*pair) for pair in ((4, 1), (4, 4), (0, 0))] == [0.75, 0.0, 0.0]


def test_what_people_read() -> None:
    assert "\n".join(readable(SHOWN)).startswith("""\
identifiers    101 in 26 clusters
customers      25, of 100 identifiers
unification    0.75 (1 - customers / their identifiers)
a customer has 3 identifiers (median), 6 (p90), 9 (p99), 14 (most)
a cluster has  3 identifiers (median), 7 (p90), 10 (p99), 15 (most)
nobody's       1, of which 1 are hubs
  device:4Bj2rV… has met 31
pending        2 changes not known to be published
erased         4
namespaces
  ns0: 40
""")
    assert list(readable(SHOWN))[-1] == "  2 others: 39"
