"""Which variant to say: Thompson sampling over what came of earlier decisions.

Every variant of a play has a Beta distribution over its conversion rate, learned in `operators.beliefs` from closed
goals, both classes at the close of the window. A decision draws from each and takes the highest (W. R. Thompson, *On
the likelihood that one unknown probability exceeds another*, Biometrika 25, 1933). Draws are seeded by the decision's
id: whoever takes it again draws the same. One in ten is drawn evenly instead: that traffic carries the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from random import Random
from typing import Final

from operators.chance import share, weighted
from schemas.plays import Variant

#: The share that is drawn evenly.
EXPLORED: Final = 0.1
#: What is left of a variant's draw for each time that the customer has not taken its offer.
REFUSED: Final = 0.5
#: Variant -> how many converted, how many did not.
Arms = Mapping[str, tuple[int, int]]


def choose(variants: Mapping[str, Variant], arms: Arms, refused: Mapping[str, int], id: str) -> tuple[str | None, bool]:
    """The variant of decision ``id``, and whether it was drawn evenly. ``refused``: how often in a row the customer has
    not taken an offer, by its class."""
    if share("explore", id) < EXPLORED:
        return weighted(dict.fromkeys(variants, 1), "evenly", id), True
    draws = {
        name: _draw(arms.get(name, (0, 0)), id, name) * REFUSED ** refused.get(variant.offer or "", 0)
        for name, variant in variants.items()
    }
    return max(draws, key=lambda name: (draws[name], name), default=None), False


def _draw(arm: tuple[int, int], id: str, name: str) -> float:
    seed = blake2b(f"{id}\x1f{name}".encode(), digest_size=8).digest()
    return Random(int.from_bytes(seed, "big")).betavariate(1 + arm[0], 1 + arm[1])
