"""The models of one key: a champion, which is published, and challengers, which learn the same beside it.

Whatever is learned is predicted first, by each of them, so that they are compared on what none has seen. A challenger
takes the champion's place at an operator's word or, where ``churn.promote`` is ``better``, by the rule of
`operators.duel`; never silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import NamedTuple

import msgspec

from operators import quality
from operators.churn import LEARNING_RATE, Learner, content_hash, project
from operators.drift import Watch, observe
from operators.duel import BLOCK, Duel
from operators.features import FEATURES, VERSION
from operators.quality import Quality
from schemas.config import Challenger, Churn

#: The contender that every key has.
BASE = "base"
LOSS = "log loss"
#: No contender may have this name: so what was served is called beside them.
SERVED = "served"


class Lesson(NamedTuple):
    """What is to be learned: features of the list ``version``, whether a message came between, the label, and what was
    served."""

    features: list[float]
    version: str
    treated: bool
    label: bool
    served: float


class Published(NamedTuple):
    """A model that serves ``key`` from now on. ``content`` is None where it was stored before."""

    key: str
    hash: str
    content: bytes | None


class Noticed(NamedTuple):
    """Something a person should look at, as in `schemas.outputs.Alert`."""

    kind: str
    text: str


Said = Published | Noticed


class Contender(msgspec.Struct, array_like=True):
    """What is kept of a learner: its bytes, how good it was lately, both classes since it began, how often it began
    anew, and how it does against the champion."""

    learner: bytes = b""
    quality: Quality = msgspec.field(default_factory=Quality)
    positives: int = 0
    negatives: int = 0
    restarts: int = 0
    duel: Duel = msgspec.field(default_factory=Duel)


class Standing(msgspec.Struct, array_like=True):
    """All that is kept of a key. ``served``: how good what was served to those left alone was; ``fresh`` examples since
    the last publication, of ``version`` at ``published_at`` (ms of the log, 0 before the first); ``held``: an operator
    went back to that version, and nothing is published until told to. ``block`` counts the examples of the block that
    is being filled, ``sums`` what is watched for drift over it: log loss, labels, features."""

    champion: str = BASE
    contenders: dict[str, Contender] = {}
    served: Quality = msgspec.field(default_factory=Quality)
    learned: int = 0
    fresh: int = 0
    published_at: int = 0
    version: str = ""
    held: str = ""
    block: int = 0
    sums: list[float] = []
    watches: list[Watch] = []


_standings = msgspec.msgpack.Decoder(Standing)
standing_of = _standings.decode


class Contest:
    """The learners of one key. Same lessons in the same order, same bytes."""

    def __init__(self, key: str, churn: Churn, standing: Standing | None = None) -> None:
        """Raises `MissingContent` if the champion was learned from features that this program does not know."""
        self.key = key
        self.standing = standing or Standing()
        self._churn = churn
        self._learners: dict[str, Learner] = {}
        self._noticed: list[Said] = []
        self._line_up({BASE: Challenger(), **churn.challengers})

    def to_bytes(self) -> bytes:
        """All state, exactly."""
        for name, learner in self._learners.items():
            self.standing.contenders[name].learner = learner.to_bytes()
        return msgspec.msgpack.encode(self.standing)

    @classmethod
    def from_bytes(cls, key: str, churn: Churn, raw: bytes) -> Contest:
        """What `to_bytes` gave, with the challengers that are configured now."""
        return cls(key, churn, standing_of(raw))

    def knows(self, version: str, length: int) -> bool:
        """Whether some learner reads features of this list, of so many."""
        learners = self._learners.values()
        return any([learner.version == version and len(learner.features) == length for learner in learners])

    def learn(self, lesson: Lesson) -> None:
        """Let all of them predict, and then learn."""
        standing, label = self.standing, lesson.label
        standing.learned += 1
        standing.fresh += 1
        if not lesson.treated:
            quality.add(standing.served, lesson.served, label)
        against = self._taught(standing.champion, lesson)
        for name in self._learners:
            if name != standing.champion:
                lost = self._taught(name, lesson)
                if lost is not None and against is not None:
                    standing.contenders[name].duel.filling += against - lost
        if against is not None:
            self._sum_up(lesson, against)

    def _taught(self, name: str, lesson: Lesson) -> float | None:
        """Teach a learner; the log loss of what it had expected. None if it does not know these features."""
        learner, known = self._learners[name], self.standing.contenders[name]
        vector = _seen(lesson, learner)
        if vector is None:
            return None
        expected, label = learner.probability(vector, lesson.treated), lesson.label
        learner.learn(vector, label, lesson.treated)
        known.positives += label
        known.negatives += not label
        if expected != expected:  # it is broken, which `settle` will see
            return None
        return quality.add(known.quality, expected, label)

    def settle(self, offset: int, clock: int) -> list[Said]:
        """After some lessons, the last of which came at ``offset``, at ``clock`` (ms): what is to be said."""
        said, self._noticed = [*self._noticed, *self._mend()], []
        if self._churn.promote == "better":
            said += self._challenged(offset, clock)
        if self._due(clock):
            said.append(self._publish(offset, clock))
        return said

    # -- published -----------------------------------------------------------------------------------------

    def _due(self, clock: int) -> bool:
        standing, churn = self.standing, self._churn
        champion = standing.contenders[standing.champion]
        waited = not standing.published_at or clock - standing.published_at >= churn.publish_seconds * 1000
        enough = min(champion.positives, champion.negatives) >= churn.publish_each
        return enough and waited and standing.fresh >= churn.publish_examples and not standing.held

    def _publish(self, offset: int, clock: int) -> Published:
        standing = self.standing
        content = self._learners[standing.champion].content(offset + 1, self.metrics(), self.key, standing.champion)
        standing.published_at, standing.fresh = clock, 0
        standing.version = content_hash(content)
        return Published(self.key, standing.version, content)

    def metrics(self) -> dict[str, float]:
        """How good the champion was lately, expecting each example just before learning it, and (``served_``) what was
        served to those left alone, a horizon before; ``learned`` counts from the start."""
        champion = quality.measures(self.standing.contenders[self.standing.champion].quality)
        served = {f"served_{name}": value for name, value in quality.measures(self.standing.served).items()}
        return {"learned": float(self.standing.learned), **champion, **served}

    # -- champion and challengers --------------------------------------------------------------------------

    def _line_up(self, recipes: Mapping[str, Challenger]) -> None:
        """Bring the learners that are kept in line with what is configured. A name whose list of features is another
        now begins anew; but a champion stays, under a name that says its features, until it is beaten."""
        standing, kept = self.standing, self.standing.contenders
        standing.contenders = {}
        for name, known in kept.items():
            recipe = recipes.get(name)
            learner = Learner.from_bytes(known.learner, recipe.rate if recipe else LEARNING_RATE)
            if recipe is not None and learner.features == (recipe.features or FEATURES):
                self._enter(name, known, learner)
            elif name == standing.champion:
                standing.champion = f"{name.partition('@')[0]}@{learner.version[:8]}"
                self._enter(standing.champion, known, learner)
        for name, recipe in recipes.items():
            if name not in standing.contenders:
                self._enter(name, Contender(), Learner(recipe.features or FEATURES, recipe.rate))

    def _enter(self, name: str, known: Contender, learner: Learner) -> None:
        self.standing.contenders[name], self._learners[name] = known, learner

    def promote(self, name: str, offset: int, clock: int) -> list[Said]:
        """Make a challenger the champion and publish it, at an operator's word."""
        if name == self.standing.champion:
            return [Noticed("model_refused", f"{self.key}: {name} is the champion already")]
        if name not in self._learners or not self.standing.contenders[name].positives:
            known = ", ".join(self._learners)
            return [
                Noticed("model_refused", f"{self.key}: no contender {name} has learned anything; there are {known}")
            ]
        return self._crown(name, "at an operator's word", offset, clock)

    def hold(self, version: str, at: int) -> list[Said]:
        """Go back to a version that was published before, and stay there."""
        self.standing.held = self.standing.version = version
        self.standing.published_at = at
        return [Published(self.key, version, None), Noticed("model_held", f"{self.key} is held at {version}")]

    def release(self, offset: int, clock: int) -> list[Said]:
        """Publish again what is learned."""
        self.standing.held = ""
        self.standing.published_at = 0
        self.standing.fresh = max(self.standing.fresh, self._churn.publish_examples)
        return [Noticed("model_released", f"{self.key} follows what is learned"), *self.settle(offset, clock)]

    def _challenged(self, offset: int, clock: int) -> list[Said]:
        """Judge the challengers that have met the champion for long enough."""
        churn, rivals = self._churn, self.standing.contenders
        best: tuple[float, str, str] = (churn.promote_margin, "", "")
        for name, known in rivals.items():
            if name == self.standing.champion or known.duel.blocks * BLOCK < churn.promote_examples:
                continue
            low, high = known.duel.interval()
            why = f"log loss lower by {known.duel.mean:.4f} ({low:.4f} to {high:.4f}) over {known.duel.blocks * BLOCK}"
            if low > best[0] and min(known.positives, known.negatives) >= churn.publish_each:
                best = low, name, f"{why} examples"
            known.duel = Duel()
        return self._crown(best[1], best[2], offset, clock) if best[1] and not self.standing.held else []

    def _crown(self, name: str, why: str, offset: int, clock: int) -> list[Said]:
        standing, before = self.standing, self.standing.champion
        standing.champion, standing.held = name, ""
        for known in standing.contenders.values():
            known.duel = Duel()
        if before not in {BASE, *self._churn.challengers}:
            del standing.contenders[before], self._learners[before]
        noticed = Noticed("model_promoted", f"{self.key}: {name} takes the place of {before}, {why}")
        return [noticed, self._publish(offset, clock)]

    def _mend(self) -> list[Said]:
        """What is numerically broken stays broken: begin anew, and say so."""
        said: list[Said] = []
        for name, learner in self._learners.items():
            if not learner.sound():
                known = self.standing.contenders[name]
                self.standing.contenders[name] = Contender(restarts=known.restarts + 1)
                self._learners[name] = Learner(learner.features, self._rate(name))
                said.append(Noticed("model_broken", f"{self.key}: {name} broke numerically and begins anew"))
        return said

    def _rate(self, name: str) -> float:
        recipe = self._churn.challengers.get(name)
        return recipe.rate if recipe else LEARNING_RATE

    # -- drift ---------------------------------------------------------------------------------------------

    def _sum_up(self, lesson: Lesson, lost: float) -> None:
        """Add to the block that is being filled."""
        standing = self.standing
        values = [lost, float(lesson.label), *(lesson.features if lesson.version == VERSION else ())]
        if len(standing.sums) != len(values):
            standing.sums, standing.watches, standing.block = [0.0] * len(values), [Watch() for _ in values], 0
        standing.sums = list(map(add, standing.sums, values))
        standing.block += 1
        if standing.block == BLOCK:
            self._close_block()

    def _close_block(self) -> None:
        standing = self.standing
        for name, known in standing.contenders.items():
            if name != standing.champion:
                known.duel.close()
        for name, watch, total in zip((LOSS, "base rate", *FEATURES), standing.watches, standing.sums, strict=False):
            drift = observe(watch, total / BLOCK)
            # A loss that falls is what learning is for.
            if drift is not None and (name != LOSS or drift.lately > drift.usual):
                text = f"{self.key}: {name} is {drift.lately:.4g} lately, {drift.usual:.4g} was usual"
                self._noticed.append(Noticed("model_drift", text))
        standing.sums, standing.block = [0.0] * len(standing.sums), 0


def _seen(lesson: Lesson, learner: Learner) -> list[float] | None:
    """What a learner reads of a lesson; None if it does not know its features."""
    if lesson.version == learner.version:
        return lesson.features
    return project(lesson.features, learner.features) if lesson.version == VERSION else None
