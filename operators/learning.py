"""The learn flow's core: from matured examples to published models. A pure function of the example log.

Examples wait in a small buffer and are learned in the order of their ids' hashes, so that a burst of one
class (a shop's quiet Sunday matures at once) does not drag the weights. Each is predicted before it is
learned: the prequential loss is an honest one. Same examples in the same order, same bytes::

    learning = Learning()
    content = learning.on_example(example, offset, churn)    # bytes when a model is to be published
    restored = Learning.from_bytes(learning.to_bytes())      # goes on as if nothing had happened
"""

from __future__ import annotations

from hashlib import blake2b
from math import isfinite, log

import msgspec

from operators.churn import Learner
from operators.features import FEATURES, VERSION
from schemas.config import Churn
from schemas.outputs import Example

#: Examples shuffled together, at most.
BUFFER = 64
#: A probability counts as no surer than this, so that one confident error costs 34.5 and not infinity.
_LEAST = 1e-15


class Waiting(msgspec.Struct, array_like=True):
    """What the buffer keeps of an example: no customer, no times; ``place``: see `_shuffled`."""

    place: bytes
    features: list[float]
    label: bool
    served: float


class Progress(msgspec.Struct, array_like=True):
    """Everything beside the learner. ``clock`` is the highest ``at`` seen, ``published_at`` that of the
    last publication (ms, 0 before the first).

    ``learned``, ``skipped`` (another feature list or a vector that is none) and ``restarts`` (learning broke
    numerically and began anew) only grow; ``positives`` and ``negatives`` count since the learner began, the
    rest since the last publication.
    """

    learned: int = 0
    skipped: int = 0
    restarts: int = 0
    clock: int = 0
    published_at: int = 0
    positives: int = 0
    negatives: int = 0
    fresh: int = 0
    fresh_positives: int = 0
    loss: float = 0.0
    served_loss: float = 0.0
    buffer: list[Waiting] = []


class _State(msgspec.Struct, array_like=True):
    learner: bytes
    progress: Progress


_decoder = msgspec.msgpack.Decoder(_State)


class Learning:
    """A learner with its buffer and its counters."""

    def __init__(self, learner: Learner | None = None, progress: Progress | None = None) -> None:
        self.learner = learner or Learner()
        self.progress = progress or Progress()

    def to_bytes(self) -> bytes:
        """All state, exactly."""
        return msgspec.msgpack.encode(_State(self.learner.to_bytes(), self.progress))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Learning:
        """Raises `MissingContent` if ``raw`` was learned from another feature list."""
        state = _decoder.decode(raw)
        return cls(Learner.from_bytes(state.learner), state.progress)

    def on_example(self, example: Example, offset: int, churn: Churn) -> bytes | None:
        """Take the example at ``offset``; the content of a new model when it is time to publish one.

        It is time when ``publish_examples`` have been learned and ``publish_seconds`` of the log's time have
        passed since the last publication, and both classes have been seen.
        """
        progress = self.progress
        progress.clock = max(progress.clock, example.at)
        if example.features_version != VERSION or not _usable(example.features):
            progress.skipped += 1
            return None
        progress.buffer.append(Waiting(_shuffled(example.id), example.features, example.label, example.probability))
        if len(progress.buffer) >= _batch(churn.publish_examples):
            self._learn_buffer()
        return self._publish(offset + 1) if self._due(churn) else None

    def metrics(self) -> dict[str, float]:
        """Since the last publication: examples, base rate, and mean log loss of what the learner expected
        just before learning and of what was served a horizon ago; ``learned`` counts from the start."""
        progress, count = self.progress, max(1, self.progress.fresh)
        return {
            "examples": float(progress.fresh),
            "learned": float(progress.learned),
            "base_rate": progress.fresh_positives / count,
            "log_loss": progress.loss / count,
            "served_log_loss": progress.served_loss / count,
        }

    def _learn_buffer(self) -> None:
        waiting, self.progress.buffer = self.progress.buffer, []
        for example in sorted(waiting, key=lambda each: each.place):
            self._learn(example)
        if not self.learner.sound():
            self._restart()

    def _learn(self, example: Waiting) -> None:
        progress, label = self.progress, example.label
        progress.loss += log_loss(self.learner.probability(example.features), label)
        progress.served_loss += log_loss(example.served, label)
        self.learner.learn(example.features, label)
        progress.learned += 1
        progress.fresh += 1
        progress.fresh_positives += label
        progress.positives += label
        progress.negatives += not label

    def _restart(self) -> None:
        """What is broken stays broken: begin anew, and count it."""
        self.learner = Learner()
        self.progress.restarts += 1
        self.progress.positives = self.progress.negatives = 0
        self._measure_anew()

    def _due(self, churn: Churn) -> bool:
        progress = self.progress
        waited = not progress.published_at or progress.clock - progress.published_at >= churn.publish_seconds * 1000
        both = progress.positives > 0 and progress.negatives > 0
        return both and waited and progress.fresh >= churn.publish_examples

    def _publish(self, next_offset: int) -> bytes:
        content = self.learner.content(next_offset, self.metrics())
        self.progress.published_at = self.progress.clock
        self._measure_anew()
        return content

    def _measure_anew(self) -> None:
        progress = self.progress
        progress.fresh = progress.fresh_positives = 0
        progress.loss = progress.served_loss = 0.0


def log_loss(probability: float, label: bool) -> float:
    """-ln of the probability given to what happened."""
    return -log(min(1.0, max(_LEAST, probability if label else 1.0 - probability)))


def _batch(publish_examples: int) -> int:
    """Examples to shuffle together, so that a whole number of batches fills a publication."""
    batches = -(-publish_examples // BUFFER)
    return -(-publish_examples // batches)


def _usable(vector: list[float]) -> bool:
    return len(vector) == len(FEATURES) and all(map(isfinite, vector))


def _shuffled(example_id: str) -> bytes:
    """Where an example stands among those it waits with: by the hash of its id, for ever the same."""
    return blake2b(example_id.encode(), digest_size=8).digest()
