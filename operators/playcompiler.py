"""One play, compiled from what is written: its conditions and keys as functions, and what wakes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, time
from difflib import get_close_matches
from typing import Any

import msgspec

from operators.compiling import Compiling, types_of
from operators.dates import Offset
from operators.expressions import Condition, compile_condition
from operators.language import Name, Scope
from operators.plays import ALWAYS, INTEREST, Exit, Goal, Play, Reaction, Role, Value, Watch
from operators.scope import COUNT, KEY, PRODUCT, event_names, scope
from operators.segmentbook import SegmentBook
from schemas import plays as written
from schemas.plays import milliseconds


def faults_of(name: str, play: written.Play, segments: SegmentBook) -> list[str]:
    """What is wrong with one play of a file that cannot be used as a whole."""
    return PlayCompiler(name, play, segments).faults


class PlayCompiler(Compiling):
    """One play: its `Play`, its reactions by type of touchpoint, and what is wrong with it."""

    def __init__(self, name: str, given: written.Play, segments: SegmentBook) -> None:
        super().__init__(f"plays.{name}")
        self.reactions: list[tuple[str, Reaction]] = []
        #: Those that note who is interested in which product.
        self.interest: list[tuple[str, Reaction]] = []
        self._given = given
        self._segments = segments
        when = given.when
        kinds = written.kinds_of(when)
        if len(kinds) != 1:
            there, known = " and ".join(kinds) or "nothing", ", ".join(written.When.__struct_fields__)
            self.fault("when", f"has {there}; allowed: exactly one of {known}")
        self.play = Play(
            name=name,
            channels=tuple(dict.fromkeys(given.channels)),
            purpose=given.purpose,
            category=given.category,
            cool_down=milliseconds(given.cool_down),
            once=given.once,
            who=self._condition("who", given.who),
            values=self._values(),
            times=when.count.times if when.count else 0,
            within=_within(when),
            date=self._date(),
            offset=_offset(when.date or when.yearly),
            yearly=when.yearly.day if when.yearly else None,
            band=when.score,
            group=given.group,
            priority=given.priority,
            worth=self.compiled("worth", given.worth, self._scope(self._telling()), "number"),
            budget=(given.budget.messages, milliseconds(given.budget.per)) if given.budget else None,
            holdout=given.holdout,
            variants=given.variants,
            bandit=given.choose == "bandit",
            skips=given.skips,
            prefer=given.prefer,
            goal=self._goal(),
            expires=milliseconds(given.expires) if given.expires else None,
            valid=self._valid(),
            mode=given.mode,
            drops_late=given.late == "drop",
            greets=given.on_activate == "send",
            exit=self._exit(),
            crossing=self._crossing(when.segment),
            watch=self._watch(),
            treats=given.category == "marketing" if given.treats is None else given.treats,
        )
        steps = [self._step(number, step) for number, step in enumerate(given.steps, 1)]
        self.play = self.play._replace(steps=tuple(steps))
        if given.choose == "bandit" and (given.goal is None or len(given.variants) < 2):
            self.fault("choose", "bandit needs a goal to learn from, and at least two variants")
        if given.on_activate == "send" and not (given.when.segment and given.when.segment.entered):
            self.fault("on_activate", "send has a meaning only for plays that wait for a segment to be entered")
        if given.variants and not any(variant.weight for variant in given.variants.values()):
            self.fault("variants", "none has any weight; allowed: at least one above 0")
        self._react()

    def _scope(self, names: Mapping[str, Name]) -> Scope:
        return scope(names, self._segments.names)

    def _react(self) -> None:
        when = self._given.when
        if when.event:
            self._pattern("when.event", "event", when.event)
        if when.count:
            self._pattern("when.count.of", "count", when.count.of)
            if when.count.reset:
                self._pattern("when.count.reset", "reset", when.count.reset, beside=when.count.of)
        if when.absence:
            self._pattern("when.absence.after", "after", when.absence.after)
            self._pattern("when.absence.without", "without", when.absence.without, beside=when.absence.after)
        if when.delay:
            self._pattern("when.delay.after", "after" if when.delay.after.by else "each", when.delay.after)
        if when.silence:
            self._pattern("when.silence.of", "after", when.silence.of)
            if when.silence.of.by:
                self.fault("when.silence.of.by", "has no meaning: it is the customer who is silent; leave it out")
        if self._given.exit and (when.absence or when.delay or when.silence or when.date):
            self._pattern("exit", "without", self._given.exit)
        if when.date:
            self._pattern("when.date.of", "after" if when.date.of.by else "each", when.date.of)
            if when.date.without:
                self._pattern("when.date.without", "without", when.date.without, beside=when.date.of)
        for date in (when.date, when.yearly):
            if date is not None and date.before and date.after:
                self.fault("when", "has before and after; allowed: one of them, or none")
        if when.product:
            wanted = when.product.interested
            self._pattern("when.product.interested.of", "interest", wanted.of)
            if not wanted.of.by:
                self.fault("when.product.interested.of.by", "is missing; allowed: the product, as event.product.sku")
            if wanted.unless:
                self._pattern("when.product.interested.unless", "reset", wanted.unless, beside=wanted.of)
            self.interest, self.reactions = self.reactions, []
        if when.score and (when.score.rises_to is None) == (when.score.falls_to is None):
            self.fault("when.score", "allowed: exactly one of rises_to, falls_to")

    def _watch(self) -> Watch | None:
        given = self._given.when.product
        if given is None:
            return None
        kinds = ("price_drop", "back_in_stock", "low_stock")
        there = [kind for kind in kinds if getattr(given, kind) is not None]
        if len(there) != 1:
            has = " and ".join(there) or "none"
            self.fault("when.product", f"has {has}; allowed: exactly one of {', '.join(kinds)}")
        asked = msgspec.json.encode((given.interested.of, given.interested.unless), order="deterministic")
        return Watch(
            # No play can be called so.
            interest=f"{INTEREST}{hashlib.blake2b(asked, digest_size=5).hexdigest()}",
            within=milliseconds(given.interested.within),
            price_drop=given.price_drop,
            per_unit=given.back_in_stock.per_unit if given.back_in_stock else 0,
            low_stock=given.low_stock,
        )

    def _pattern(self, path: str, role: Role, pattern: written.Pattern, beside: written.Pattern | None = None) -> None:
        """What a pattern does. ``beside``: the one whose keys it ends; with keys where that has none it would end
        nothing."""
        types, where, by = self._looked_for(path, pattern)
        if beside is not None and pattern.by and not beside.by:
            self.fault(f"{path}.by", "ends what has no key; give both a key, or none")
        self.reactions += [(type, Reaction(self.play, role, where, by)) for type in types]

    def _looked_for(
        self, path: str, pattern: written.Pattern
    ) -> tuple[tuple[str, ...], Callable[..., bool] | None, Callable[..., Any] | None]:
        """Compile a pattern: types, condition, key."""
        types = self.types(path, pattern)
        names = self._scope(event_names(types))
        where = self.compiled(f"{path}.where", pattern.where, names, "bool")
        by = self.compiled(f"{path}.by", pattern.by, names, "text", "texts")
        return types, where, by

    def _goal(self) -> Goal | None:
        given, waking = self._given.goal, _waking(self._given.when)
        if given is None:
            return None
        if given.event.by and (waking is None or not waking.by):
            self.fault("goal.event.by", "asks for the key of the decision, but what wakes the play gives none")
        types, where, by = self._looked_for("goal.event", given.event)
        names = event_names(types)
        revenue = given.revenue or ("event.revenue" if "event.revenue" in names else None)
        brought = self.compiled("goal.revenue", revenue, self._scope(names), "number")
        return Goal(frozenset(types), milliseconds(given.within), where, by, brought)

    def _crossing(self, given: written.Crossing | None) -> tuple[str, str] | None:
        """What a play waits for: ``entered`` or ``left``, and the segment."""
        if given is None:
            return None
        change, name = ("entered", given.entered) if given.entered else ("left", given.left)
        if name is None or (given.entered and given.left):
            self.fault("when.segment", "allowed: exactly one of entered, left")
            return None
        named = self._segments.named
        if name not in named:
            near = get_close_matches(name, named, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(named) or 'none'}"
            self.fault(f"when.segment.{change}", f"{name!r} is not among segments; {meant}")
        return change, name

    def _step(self, number: int, step: written.Step) -> Play:
        """A further message: the play without what wakes it, and without what only its first message has to pass."""
        path = f"steps[{number - 1}]"
        return self.play._replace(
            step=number,
            watch=None,
            within=milliseconds(step.wait),
            channels=tuple(dict.fromkeys(step.channels)) or self.play.channels,
            who=self._condition(f"{path}.who", step.who) or self.play.who,
            values=self._said(f"{path}.values", step.values, KEY),
            once=False,
            skips=(*self.play.skips, "cool_down"),
        )

    def _exit(self) -> Exit | None:
        exit, when = self._given.exit, self._given.exit_when
        condition = self._condition("exit_when", when)
        if exit is None:
            return Exit(frozenset(), None, None, condition) if condition else None
        types, where, by = self._looked_for("exit", exit)
        return Exit(frozenset(types), where, by, condition)

    def _date(self) -> Callable[..., int | None] | None:
        date = self._given.when.date
        if date is None:
            return None
        return self.compiled("when.date.time", date.time, self._scope(event_names(types_of(date.of))), "time")

    def _valid(self) -> tuple[int, int]:
        start, end = self._given.valid_from, self._given.valid_until
        valid = (_ms(start) if start else ALWAYS[0], _ms(end) if end else ALWAYS[1])
        if valid[0] >= valid[1]:
            self.fault("valid_until", f"{end} is not after valid_from, {start}")
        return valid

    def _telling(self) -> dict[str, Name]:
        """What a message can tell of."""
        if self._given.when.product:
            return {**PRODUCT, **KEY}
        waking = _waking(self._given.when)
        names: dict[str, Name] = event_names(types_of(waking)) if waking else {}
        names |= KEY if waking and waking.by else {}
        return names | (COUNT if self._given.when.count else {})

    def _values(self) -> tuple[tuple[str, Callable[..., Value | None]], ...]:
        return self._said("values", self._given.values, self._telling())

    def _said(
        self, path: str, values: Mapping[str, str], names: Mapping[str, Name]
    ) -> tuple[tuple[str, Callable[..., Value | None]], ...]:
        found, known = [], self._scope(names)
        for name, text in values.items():
            function = self.compiled(f"{path}.{name}", text, known, "text", "number", "bool")
            if function is not None:
                found.append((name, function))
        return tuple(found)

    def _condition(self, path: str, text: str | None) -> Condition | None:
        return None if text is None else self.noted(path, text, lambda: compile_condition(text, self._scope({})))


def _offset(date: written.Date | written.Yearly | None) -> Offset:
    """How far from a date a play speaks; whole days are those of the calendar."""
    if date is None:
        return Offset()
    sign, distance = (-1, date.before) if date.before else (1, date.after)
    days = int(distance[:-1]) if distance and distance[-1] == "d" else 0
    ms = milliseconds(distance) if distance and not days else 0
    return Offset(sign * days, sign * ms, time.fromisoformat(date.at) if date.at else None)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _waking(when: written.When) -> written.Pattern | None:
    """The touchpoints whose fields, or whose key at least, a message can tell of."""
    if when.product is not None:
        return when.product.interested.of
    waits = when.absence or when.delay
    if waits is not None:
        return waits.after
    counts = when.count or when.silence or when.date
    return counts.of if counts is not None else when.event


def _within(when: written.When) -> int:
    """The time that a play counts over or waits (ms)."""
    bounded, waits = when.count or when.absence, when.delay or when.silence
    if bounded is not None:
        return milliseconds(bounded.within)
    return milliseconds(waits.wait) if waits is not None else 0
