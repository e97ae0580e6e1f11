"""Which variant to say: Thompson sampling over what came of earlier decisions.

Every variant of a play has a Beta distribution over its conversion rate, learned by `river.proba.Beta` from closed
goals, both classes at the close of the window. A decision draws from each and takes the highest (W. R. Thompson, *On
the likelihood that one unknown probability exceeds another*, Biometrika 25, 1933). Draws are seeded by the decision's
id: whoever takes it again draws the same. One in ten is drawn evenly instead: that traffic carries the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from random import Random
from typing import Any, Final

import msgspec
from river import proba

from operators.chance import share, weighted
from schemas.outputs import Outcome
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


class _Kept(msgspec.Struct, array_like=True):
    """What is kept between runs: the parameters by play and variant, when each play was published (ms), and those with
    news since."""

    beliefs: dict[str, dict[str, tuple[int, int]]] = {}
    published: dict[str, int] = {}
    fresh: list[str] = []


_kept = msgspec.msgpack.Decoder(_Kept)


class Beliefs:
    """What is believed of the variants of all plays, learned outcome by outcome. The same outcomes, the same bytes."""

    def __init__(self, kept: _Kept | None = None) -> None:
        kept = kept or _Kept()
        self._betas = {
            play: {variant: proba.Beta(*each) for variant, each in variants.items()}
            for play, variants in kept.beliefs.items()
        }
        self._published, self._fresh = kept.published, dict.fromkeys(kept.fresh)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Beliefs:
        """As `to_bytes` has left it; new ones of nothing."""
        return cls(_kept.decode(raw) if raw else None)

    def to_bytes(self) -> bytes:
        """All state, exactly."""
        beliefs = {
            play: {variant: (int(beta.alpha), int(beta.beta)) for variant, beta in variants.items()}
            for play, variants in self._betas.items()
        }
        return msgspec.msgpack.encode(_Kept(beliefs, self._published, list(self._fresh)))

    def learn(self, outcome: Outcome) -> None:
        """Learn from one outcome, if a bandit has chosen what was sent and the window was watched to its end."""
        if outcome.explored is None or outcome.variant is None or outcome.outcome != "emitted" or not outcome.observed:
            return
        variants = self._betas.setdefault(outcome.play, {})
        beta: Any = variants.setdefault(outcome.variant, proba.Beta(1, 1))
        beta.update(outcome.converted)
        self._fresh[outcome.play] = None

    def due(self, at: int, every: int) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
        """The plays to publish at ``at`` (ms), at most once in ``every`` (ms) each: conversions and others by
        variant."""
        for play in [each for each in self._fresh if at - self._published.get(each, -every) >= every]:
            self._published[play] = at
            del self._fresh[play]
            yield play, {name: (int(beta.alpha) - 1, int(beta.beta) - 1) for name, beta in self._betas[play].items()}
