"""The CDNOW converter, on invented rows in the file's format and on the sums of the real file."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cdnow import Purchase, convert, main, purchases, touchpoint
from schemas.errors import TouchstreamError
from schemas.touchpoint import Order, decode, decode_body, decode_identifiers
from tests import datasets

if TYPE_CHECKING:
    from pathlib import Path

HEAD = " customer_id  date number_of_cds  dollar_value\n"
ROWS = [HEAD, " 90001 20010203  1   10.10\n", " 90001 20010201  3   20.00\n", "\n", " 90002 20010203  0    0.00\n"]


def test_rows_are_numbered_and_read_exactly() -> None:
    assert [(p.row, p.customer, p.units, p.dollars) for p in purchases(ROWS)] == [
        (1, "90001", 1, Decimal("10.10")),
        (2, "90001", 3, Decimal("20.00")),
        (3, "90002", 0, Decimal("0.00")),
    ]


def test_a_row_becomes_an_order() -> None:
    found = decode(next(convert(ROWS)))
    assert (found.id, found.source, found.type) == ("2", "cdnow", "Order Completed")
    assert found.time == found.at == 981_028_800_000  # 2001-02-01 12:00 UTC
    assert [(i.ns, i.value) for i in decode_identifiers(found.identifiers)] == [("member", "90001")]
    order = decode_body(found.type, found.data)
    assert isinstance(order, Order)
    assert (order.order_id, order.revenue, order.currency) == ("2", 20.0, "USD")
    assert [(line.sku, line.quantity, line.price) for line in order.lines] == [("cd", 3, 6.666667)]


def test_rows_come_out_by_date() -> None:
    assert [decode(line).id for line in convert(ROWS)] == ["2", "1", "3"]


@pytest.mark.parametrize("row", ["9 20010203 1", "9 20011303 1 1.00", "9 20010203 x 1.00", "9 20010203 1 x"])
def test_a_bad_line_is_named(row: str) -> None:
    with pytest.raises(TouchstreamError, match=r"line 2: expected 4 columns"):
        list(purchases([HEAD, row]))


@given(st.integers(1, 200), st.integers(0, 1_000_000))
def test_price_times_quantity_is_the_revenue(units: int, cents: int) -> None:
    dollars = Decimal(cents) / 100
    order = decode_body("Order Completed", touchpoint(Purchase(1, "90001", 981_028_800_000, units, dollars)).data)
    assert isinstance(order, Order)
    assert Decimal(str(order.revenue)) == dollars
    assert round((order.lines[0].price or 0) * units, 2) == order.revenue


def test_the_command_writes_lines(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("".join(ROWS))
    main([str(file)])
    assert capsysbinary.readouterr().out == b"".join(convert(ROWS))


@pytest.mark.system
def test_the_real_file_keeps_its_sums() -> None:
    with datasets.cdnow().open() as lines:
        rows = [line.split() for line in lines][1:]
    with datasets.cdnow().open() as lines:
        orders = [decode(line) for line in convert(lines)]
    bodies = [body for found in orders if isinstance(body := decode_body(found.type, found.data), Order)]
    assert len(orders) == len(bodies) == len(rows) == 69_659
    assert {found.id for found in orders} == {str(n) for n in range(1, 69_660)}
    assert len({decode_identifiers(found.identifiers)[0].value for found in orders}) == 23_570
    assert sum(Decimal(str(order.revenue)) for order in bodies) == sum(Decimal(row[3]) for row in rows)
    assert sum(line.quantity for order in bodies for line in order.lines) == sum(int(row[2]) for row in rows)
