"""CDNOW's real purchases as touchpoints: ``python -m benchmarks.cdnow CDNOW_master.txt > cdnow.ndjson``.

The file (69,659 purchases of 23,570 customers of a CD shop, January 1997 to June 1998; published by Fader and
Hardie) has a head line and one purchase a line: customer id, date as YYYYMMDD, number of CDs, dollars paid.
It is in the wheel of ``lifetimes`` 0.11.3 as ``lifetimes/datasets/CDNOW_master.txt``.

Each row becomes an ``Order Completed``: id and order id are the row's number (from 1), the identifier is
``member:CUSTOMER``, the time noon UTC of the date. One line carries all units at their average price. Rows come
out by date, as they happened (the file is ordered by customer); `at` is their time, so that a deployment
with the log's clock lives through the eighteen months.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from schemas.errors import TouchstreamError
from schemas.touchpoint import Identifier, Order, Product, Touchpoint

SOURCE = "cdnow"
COLUMNS = 4


class Purchase(msgspec.Struct, frozen=True):
    """One row: ``time`` in epoch milliseconds, ``dollars`` exactly as written."""

    row: int
    customer: str
    time: int
    units: int
    dollars: Decimal


def purchases(lines: Iterable[str]) -> Iterator[Purchase]:
    """The rows after the head line, blank lines left out. Raises `TouchstreamError` naming a bad line."""
    rows = ((number, line.split()) for number, line in enumerate(lines, 1) if number > 1)
    for row, (number, fields) in enumerate(((n, f) for n, f in rows if f), 1):
        try:
            customer, date, units, dollars = fields
            time = datetime.strptime(date, "%Y%m%d").replace(hour=12, tzinfo=UTC)
            yield Purchase(row, customer, round(time.timestamp() * 1000), int(units), Decimal(dollars))
        except (ValueError, InvalidOperation):
            raise TouchstreamError(
                f"line {number}: expected {COLUMNS} columns (customer, YYYYMMDD, units, dollars), got {fields}"
            ) from None


def order(purchase: Purchase) -> Order:
    """The purchase as an order. Price times quantity is the revenue when rounded to cents."""
    revenue = float(purchase.dollars)
    price = round(revenue / purchase.units, 6) if purchase.units else None
    return Order(
        order_id=str(purchase.row),
        revenue=revenue,
        currency="USD",
        lines=[Product(sku="cd", price=price, quantity=purchase.units)],
    )


def touchpoint(purchase: Purchase) -> Touchpoint:
    """The purchase as a touchpoint."""
    return Touchpoint(
        id=str(purchase.row),
        source=SOURCE,
        type="Order Completed",
        time=purchase.time,
        at=purchase.time,
        identifiers=msgspec.Raw(msgspec.json.encode([Identifier("member", purchase.customer)])),
        data=msgspec.Raw(msgspec.json.encode(order(purchase))),
    )


def convert(lines: Iterable[str]) -> Iterator[bytes]:
    """The rows of a CDNOW file as JSON lines, by date."""
    for purchase in sorted(purchases(lines), key=lambda purchase: (purchase.time, purchase.row)):
        yield msgspec.json.encode(touchpoint(purchase)) + b"\n"


def main(arguments: list[str] | None = None) -> None:
    """Write the touchpoints to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cdnow", description="CDNOW purchases as touchpoints")
    parser.add_argument("file", type=Path, help="CDNOW_master.txt")
    with parser.parse_args(arguments).file.open() as lines:
        sys.stdout.buffer.writelines(convert(lines))


if __name__ == "__main__":
    main()
