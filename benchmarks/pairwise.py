"""Pairwise figures: of the pairs that were found, how many are right, and of the right ones, how many were found.

>>> pairs(["ann", "ann", "ann", "bob"], str)
3
>>> rates(true=3, claimed=4, found=3, wanted=6)
{'precision': 0.75, 'recall': 0.5, 'f1': 0.6}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def pairs(items: Iterable[Item], key: Callable[[Item], Hashable]) -> int:
    """How many pairs agree in ``key``."""
    return sum(count * (count - 1) // 2 for count in Counter(map(key, items)).values())


def rates(*, true: int, claimed: int, found: int, wanted: int) -> dict[str, float]:
    """Precision: ``true`` of the ``claimed`` pairs; recall: ``found`` of the ``wanted``. 1 where there are none."""
    precision = true / claimed if claimed else 1.0
    recall = found / wanted if wanted else 1.0
    f1 = 2 * precision * recall / ((precision + recall) or 1.0)
    return {"precision": round(precision, 6), "recall": round(recall, 6), "f1": round(f1, 6)}
