"""How many examples properties look at: what they promise, and in the gate, which has little time, fewer."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

#: Whether the gate runs.
GATE: Final = "TOUCHSTREAM_CI_RUN" in os.environ
_MOST: Final = 20 if GATE else 1_000_000


def examples(promised: int) -> int:
    """How many examples to try of so many."""
    return min(promised, _MOST)


thorough = settings(max_examples=examples(1_000), deadline=None)
