"""What is believed of the variants of plays, learned from outcomes; how it is used stands in `operators.bandit`.

A file of its own: river takes long to load, and only the learn flow needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from river import proba

from schemas.outputs import Outcome


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
