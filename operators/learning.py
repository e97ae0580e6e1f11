"""The learn flow's core: from matured examples to published models. A pure function of the log of examples.

Examples wait in a small buffer and are learned in the order of their ids' hashes, so that a burst of one
class (a shop's quiet Sunday matures at once) does not drag the weights. Each is learned for all customers, and for
those alike (`operators.keys`) in a contest of their own. Same examples in the same order, same bytes::

    learning = Learning(churn)
    said = learning.on_example(example, offset)    # models to be published, and what a person should look at
    restored = Learning(churn, learning.state(), learning.changed())    # goes on as if nothing had happened
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import isfinite

import msgspec

from operators.contest import Contest, Lesson, Noticed, Said
from operators.features import FEATURES, VERSION
from operators.keys import GAP, ROOT
from schemas.config import Churn
from schemas.outputs import Example
from schemas.stitched import Control

#: Examples shuffled together, at most.
BUFFER = 64
#: Keys that have models of their own; customers of any further one are learned with their parents alone.
MAX_KEYS = 200


class Waiting(msgspec.Struct, array_like=True):
    """What the buffer keeps of an example: no customer, no times; ``place``: see `_shuffled`."""

    place: bytes
    features: list[float]
    version: str
    treated: bool
    keys: list[str]
    #: By target: what begins its keys, the label, and what was served.
    targets: list[tuple[str, bool, float]]


class Progress(msgspec.Struct, array_like=True):
    """Everything beside the contests. ``clock`` is the highest ``at`` seen (ms); ``learned`` and ``skipped`` (an
    unknown feature list, or a vector that is none) only grow; ``keys``: those that have models of their own."""

    learned: int = 0
    skipped: int = 0
    clock: int = 0
    buffer: list[Waiting] = []
    keys: list[str] = []


_decoder = msgspec.msgpack.Decoder(Progress)


class Learning:
    """The contests of all keys, and the buffer before them."""

    def __init__(self, churn: Churn, state: bytes = b"", contests: Mapping[str, bytes] | None = None) -> None:
        """``state`` and ``contests``, by key: what `state` and `changed` gave, if anything. Raises `MissingContent` if
        it was learned from features that this program does not know."""
        self._churn = churn
        self.progress = progress_of(state)
        self.contests = {key: Contest.from_bytes(key, churn, raw) for key, raw in (contests or {}).items()}
        self._changed: set[str] = set()

    def state(self) -> bytes:
        """Everything but the contests, exactly."""
        return msgspec.msgpack.encode(self.progress)

    def changed(self) -> dict[str, bytes]:
        """The contests that have changed since this was last asked, exactly, by key."""
        changed, self._changed = sorted(self._changed), set()
        return {key: self.contests[key].to_bytes() for key in changed}

    def on_example(self, example: Example, offset: int) -> list[Said]:
        """Take the example at ``offset``."""
        progress = self.progress
        progress.clock = max(progress.clock, example.at)
        if not self._usable(example):
            progress.skipped += 1
            return []
        progress.buffer.append(
            Waiting(
                _shuffled(example.id),
                example.features,
                example.features_version,
                example.treated,
                [ROOT, *example.keys],
                _targets(example),
            )
        )
        return self._learn_buffer(offset) if len(progress.buffer) >= _batch(self._churn.publish_examples) else []

    def on_control(self, control: Control, offset: int) -> list[Said]:
        """Obey the operator whose word stands at ``offset``: `promote`, `hold` or `release` a key."""
        progress, contest = self.progress, self.contests.get(control.key)
        progress.clock = max(progress.clock, control.at)
        if contest is None:
            return [Noticed("model_refused", f"nothing was learned of {control.key}")]
        self._changed.add(control.key)
        if control.what == "promote":
            return contest.promote(control.hash, offset, progress.clock)
        if control.what == "hold":
            return contest.hold(control.hash, progress.clock)
        return contest.release(offset, progress.clock)

    def _learn_buffer(self, offset: int) -> list[Said]:
        progress = self.progress
        waiting, progress.buffer = progress.buffer, []
        learned: dict[str, None] = {}
        for each in sorted(waiting, key=lambda each: each.place):
            progress.learned += 1
            for target, label, served in each.targets:
                lesson = Lesson(each.features, each.version, each.treated, label, served)
                for key in [target + key for key in each.keys]:
                    if (contest := self._contest(key)) is not None:
                        contest.learn(lesson)
                        learned[key] = None
        self._changed.update(learned)
        return [said for key in learned for said in self.contests[key].settle(offset, progress.clock)]

    def _contest(self, key: str) -> Contest | None:
        contest = self.contests.get(key)
        if contest is None and len(self.contests) < MAX_KEYS:
            contest = self.contests[key] = Contest(key, self._churn)
            self.progress.keys.append(key)
        return contest

    def _usable(self, example: Example) -> bool:
        """Whether somebody can learn from it."""
        if example.features_version == VERSION:
            known = len(example.features) == len(FEATURES)
        else:
            known = any(
                [each.knows(example.features_version, len(example.features)) for each in self.contests.values()]
            )
        return known and all(map(isfinite, example.features))


def _targets(example: Example) -> list[tuple[str, bool, float]]:
    """What an example teaches of."""
    found = [("", example.label, example.probability)]
    if example.lapsed is not None and example.lapse is not None:
        found.append((GAP, example.lapsed, example.lapse))
    return found


def progress_of(state: bytes) -> Progress:
    """What `Learning.state` gave; nothing yet if it is empty."""
    return _decoder.decode(state) if state else Progress()


def _batch(publish_examples: int) -> int:
    """Examples to shuffle together, so that a whole number of batches fills a publication."""
    batches = -(-publish_examples // BUFFER)
    return -(-publish_examples // batches)


def _shuffled(example_id: str) -> bytes:
    """Where an example stands among those it waits with: by the hash of its id, for ever the same."""
    return blake2b(example_id.encode(), digest_size=8).digest()
