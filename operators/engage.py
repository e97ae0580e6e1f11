"""Engage, the pure core: a function of the ``stitched`` log alone.

`Engage.apply` takes one record of a shard in log order and changes the shard in memory: alias check →
dedupe → fold → timers → score → plays → governance → outputs. No I/O, no clock but the records' ``at``.
Replaying a log gives the same outputs, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from operators import (
    feedback,
    fold,
    outcomes,
    parts,
    products,
    progress,
    scoring,
    segments,
    silence,
    tally,
    windows,
    yearly,
)  # fmt: skip
from operators.churn import Model
from operators.deciding import Decider
from operators.outcomes import Outcomes
from operators.playbook import NO_PLAYS, PlayBook
from operators.plays import LATE, Candidate, crossed, gone, unasked
from operators.shard import Shard
from operators.signals import SIGNAL, Signals
from operators.succession import MAX_HOPS, Succession
from schemas import stitched
from schemas.config import Config
from schemas.stitched import EVERY, Absorb, Change, Control, Event, Gist, Signal, Step, Tick, Visit
from schemas.topics import PARTIALS, topic_name
from schemas.touchpoint import OF_PRODUCTS, REPEATING, Body, Message, decode_body
from state.profile import OpenExample, Profile, Timer

#: Bodies remembered where they repeat.
CACHED = 20_000

_repeated = lru_cache(CACHED)(decode_body)


class _Shown(msgspec.Struct):
    """The identifiers that a touchpoint carried, and where it comes from."""

    ids: list[str] = []
    src: str = ""


_shown = msgspec.json.Decoder(_Shown)


def _body(event: Event | Gist) -> Body | None:
    """The typed body, shared and not to be changed; None for a type this version does not know."""
    return _repeated(event.type, bytes(event.data)) if event.type in REPEATING else decode_body(event.type, event.data)


class Engage:
    """The rules of one deployment. ``models`` and ``books`` hold what is loaded, by hash."""

    def __init__(self, config: Config, models: Mapping[str, Model], books: Mapping[str, PlayBook]) -> None:
        self._config = config
        self._priority = {name: place for place, name in enumerate(config.identity.policy().priority)}
        self._succession = Succession(config, self._touch)
        self._books = books
        self._decider = Decider(config, books)
        self._outcomes = Outcomes(config)
        self._scorer = scoring.Scorer(config, models)
        self._segments = segments.Segments(config)
        self._silence = silence.Silence(config)
        self._partials = topic_name(config, PARTIALS)
        self.signals = Signals(config, books, self._decider, self._schedule, self._advance)
        self._handlers: dict[type, Callable[..., None]] = {
            Gist: self._event,
            Event: self._event,  # whoever has the whole of it may apply that
            Change: self._change,
            Absorb: self._absorb,
            Control: self._control,
            Visit: lambda shard, record, raw: self.visit(shard, record),
            Signal: lambda shard, record, raw: self.signals.apply(shard, record),
            Step: lambda shard, record, raw: self.signals.apply(shard, record),
        }

    def apply(self, shard: Shard, record: stitched.Record, raw: bytes) -> None:
        """Apply one record, ticks aside. The profiles of its customers have been loaded."""
        self._advance(shard, record.at)
        self._handlers[type(record)](shard, record, raw)

    def tick(self, shard: Shard, record: Tick) -> list[str]:
        """Advance the clock; the customers whose timers fire now. Load them, then call `fire` for each."""
        self._advance(shard, record.at)
        return shard.timers.due(record.watermark, self._config.limits.timers_per_tick)

    def visit(self, shard: Shard, record: Visit) -> None:
        """Look at customers under the plays in force. They have been loaded."""
        state, book = shard.state, self._book(shard)
        for customer in record.customers:
            profile = shard.profiles.get(customer)
            if profile is not None and not (profile.alias or profile.erased or profile.parks):
                self._settle(shard, shard.profile(customer))
                if woken := self._notice(shard, profile, book):
                    self._decider.decide(shard, profile, woken, book)
                self._schedule(shard, profile)
        state.visited = max(state.visited, record.done)

    def fire(self, shard: Shard, customer: str, watermark: int) -> None:
        """Fire all timers of one customer that are due at ``watermark``."""
        profile = shard.profile(customer)
        if any(park.until <= watermark for park in profile.parks):
            self._succession.give_up_waiting(shard, profile)
            self._settle(shard, profile)
        elif not profile.parks:
            self._fire(shard, profile, watermark)
        self._schedule(shard, profile)

    def _fire(self, shard: Shard, profile: Profile, watermark: int) -> None:
        book = self._book(shard)
        woken = self._notice(shard, profile, book)
        due = sorted((each for each in profile.timers if each.due <= watermark), key=_by_due)
        for timer in due:
            fold.set_timer(profile, timer.kind, timer.key, None)
            if timer.kind == progress.WAIT:
                woken += self._waited(shard, profile, *progress.waiting(timer))
            elif timer.kind == progress.STEP:
                woken += self._decider.step(shard, profile, *progress.waiting(timer), book)
            elif timer.kind == yearly.YEARLY:
                play = book.plays.get(timer.key)
                told = yearly.speak(profile, play, timer.due, book, shard.state.at) if play and play.yearly else None
                woken += [told] if told else []
            elif timer.kind == progress.GOAL:
                self._outcomes.close(shard, profile, watermark)
            elif timer.kind == SIGNAL:
                self.signals.end(shard, profile)
            elif timer.kind == "undo":
                self._succession.forget_parts(shard, profile)
            elif timer.kind == silence.TIMER:
                self._silence.look(shard, profile, watermark)
            elif timer.kind == segments.TIMER:
                woken += self._segments.timed(shard, profile, book, timer.due)
            elif timer.kind != progress.HELD:
                woken += self._score_timer(shard, profile, timer.kind, timer.due)
        if woken:
            self._decider.decide(shard, profile, [_in_time(each, shard.state.at, book) for each in woken], book)
        released = [each for each in profile.held if each.until <= watermark]
        if released:
            self._decider.release(shard, profile, released, book)

    # -- events ------------------------------------------------------------------------------------------

    def _event(self, shard: Shard, event: Event | Gist, raw: bytes) -> None:
        profile = shard.profile(event.customer)
        if profile.erased:
            shard.count("erased")
            return
        if profile.alias and event.hops < MAX_HOPS:
            self._succession.forward_event(shard, raw, profile.alias)
            return
        if profile.parks and self._succession.park(shard, profile, raw):
            return
        self._touch(shard, profile, event, raw)
        self._schedule(shard, profile)

    def _touch(self, shard: Shard, profile: Profile, event: Event | Gist, raw: bytes) -> None:
        """One touchpoint of a customer who is who he is: the heart of it all."""
        first = not profile.seen
        if fold.seen(profile, event.eid):
            shard.count("duplicates")
            tally.duplicate(shard, event)
            topic = _shown.decode(raw).src.partition("/")[0]
            shard.repeated[topic] = shard.repeated.get(topic, 0) + 1
            return
        shard.count("applied")
        body, book = _body(event), self._book(shard)
        tally.touchpoint(shard, profile, event, body, first=first)
        woken = [] if first else self._segments.settle(shard, profile, book)
        was = products.before(profile, body) if event.type in OF_PRODUCTS else None
        self._fold(shard, profile, event, body, raw)
        if was is not None and (book.watching or profile.signalled) and products.move(profile, was, event, book):
            self.signals.tell(shard, profile)
        woken += self._notice(shard, profile, book, event.type)
        if profile.journeys or profile.held:
            self._decider.exit(shard, profile, event, body, book)
        woken += progress.observe(profile, event, body, book, shard.note)
        part = self._side(shard, profile, raw) if profile.parted else None
        if part is not None and not fold.seen(part, event.eid):
            self._fold(shard, part, event, body, raw)
            self._notice(shard, part, book, event.type)
            progress.observe(part, event, body, book)
        for candidate in woken:
            if candidate.play.times and candidate.stop is None:
                self._begin_anew(shard, profile, candidate.play.name, candidate.business_key)
        if event.type == "Order Completed":
            woken += self._score(shard, profile, event.time, warn=event.at - event.time <= book.start_within)
            if all(timer.kind != "grid" for timer in profile.timers):
                scoring.schedule_grid(profile, shard.state.at, self._config.churn)
        woken += self._segments.touched(shard, profile, book, event, first=first)
        if woken:
            self._decider.decide(shard, profile, woken, book)

    def _fold(self, shard: Shard, profile: Profile, event: Event | Gist, body: Body | None, raw: bytes) -> None:
        """Let a profile know of a new touchpoint."""
        book = self._book(shard)
        fold.fold(profile, event, body)
        if isinstance(body, Message):
            bounced = event.type == "Message Bounced"
            feedback.observe(profile, event, body, book, _shown.decode(raw).ids if bounced else ())
        if counting := book.segments.counting.get(event.type):
            windows.observe(profile, event, body, counting, shard.state.at)
        if profile.goals:
            outcomes.observe(profile, event, body, book)

    def _notice(self, shard: Shard, profile: Profile, book: PlayBook, type: str = "") -> list[Candidate]:
        """Let what follows from the plays in force follow, if others are since the customer was last looked at, or if a
        touchpoint may have told a day of its; the plays that speak to whom they find."""
        before, now = profile.applied, shard.state.applied
        if before == now and type not in book.dating:
            return []
        profile.applied = now
        yearly.follow(profile, book, shard.state.at)
        return self._greeted(shard, profile, book, before) if shard.state.greeting and before != now else []

    def _greeted(self, shard: Shard, profile: Profile, book: PlayBook, before: int) -> list[Candidate]:
        """The plays that have come in force since ``before`` and speak to those who are in their segment already."""
        at, greeting = shard.state.at, shard.state.greeting
        return [
            unasked(play, profile, name, str(abs(since)), f"segment:{name}/{abs(since)}", at, at)
            for name, since in profile.segments.items()
            for play in book.crossings.get(("entered", name), ())
            if greeting.get(play.name, 0) > before
        ]

    def _book(self, shard: Shard) -> PlayBook:
        """The plays in force in a shard."""
        return self._books[shard.state.plays] if shard.state.plays else NO_PLAYS

    def _side(self, shard: Shard, profile: Profile, raw: bytes) -> Profile:
        """The part of a merged customer that sent a touchpoint."""
        last = len(self._priority)
        ids = sorted(
            _shown.decode(raw).ids, key=lambda token: (self._priority.get(token.partition(":")[0], last), token)
        )
        return parts.side(shard.kept_parts(profile.customer), ids).profile

    def _begin_anew(self, shard: Shard, profile: Profile, play: str, key: str) -> None:
        """What the customer was told of, no part of it is told of again."""
        for kept in shard.kept_parts(profile.customer) if profile.parted else ():
            progress.clear(kept.profile, play, key)

    # -- timers and scores -------------------------------------------------------------------------------

    def _waited(self, shard: Shard, profile: Profile, name: str, key: str) -> list[Candidate]:
        """What a play waited for has not happened."""
        before = progress.clear(profile, name, key)
        self._begin_anew(shard, profile, name, key)
        if before is None or not before.due:
            return []
        (time,), play = before.times, self._book(shard).plays.get(name) or gone(name)
        return [
            Candidate(
                play, key, str(time), before.touchpoint, time, 0, before.values, worth=before.worth, due=before.due
            )
        ]

    def _score_timer(self, shard: Shard, profile: Profile, kind: str, due: int) -> list[Candidate]:
        churn, woken = self._config.churn, []
        examples = shard.open_examples(profile.customer)
        if kind == "label":
            self._scorer.mature(shard, profile, examples, due, self._book(shard))
        else:
            # As of now, not of the grid point: what has happened since is in the profile and would tell the label.
            woken = self._segments.settle(shard, profile, self._book(shard), due - 1)
            woken += self._score(shard, profile, shard.state.at, warn=True, examples=examples)
            woken += self._segments.scored(shard, profile, self._book(shard))
            scoring.schedule_grid(profile, shard.state.at, churn)
        scoring.schedule_label(profile, examples, churn)
        return woken

    def _score(
        self, shard: Shard, profile: Profile, time: int, *, warn: bool, examples: list[OpenExample] | None = None
    ) -> list[Candidate]:
        """Score a customer; the plays that wait for the band it has crossed into, if it is to ``warn``."""
        before = profile.band
        score = self._scorer.score(shard, profile, time, examples)
        return [
            unasked(play, profile, "churn", str(time), f"score:{time}", time, time)._replace(
                score=score.probability, reasons=score.reasons
            )
            for play in self._book(shard).scored
            if warn and play.band is not None and crossed(play.band, before, score.band)
        ]

    def _schedule(self, shard: Shard, profile: Profile) -> None:
        """Tell the index the customer's earliest timer, if it moved, and the levels its band."""
        tally.level(shard, profile)
        self._silence.follow(shard, profile)
        due: int | None = None
        if profile.parks:
            due = min([park.until for park in profile.parks])
        elif profile.timers:
            due = min([timer.due for timer in profile.timers])
        if due != profile.due:
            profile.due = due
            shard.timers.set(profile.customer, due)

    def _advance(self, shard: Shard, at: int) -> None:
        tally.advance(shard, at, self._partials)

    # -- identity, control -------------------------------------------------------------------------------

    def _change(self, shard: Shard, change: Change, raw: bytes) -> None:
        self._succession.change(shard, change)
        if change.customer not in shard.profiles:
            return  # it has expired
        # By its name: a hand-over has put an alias in the profile's place.
        self._settle(shard, shard.profile(change.customer))
        self._schedule(shard, shard.profile(change.customer))

    def _absorb(self, shard: Shard, absorb: Absorb, raw: bytes) -> None:
        self._succession.absorb(shard, absorb)
        self._settle(shard, shard.profile(absorb.customer))
        self.signals.index(shard, shard.profile(absorb.customer))
        self._schedule(shard, shard.profile(absorb.customer))

    def _settle(self, shard: Shard, profile: Profile) -> None:
        """Judge a customer whom definitions, a merge or a split have changed, once all of it has come."""
        if not profile.parks:
            book = self._book(shard)
            if woken := self._segments.settle(shard, profile, book):
                self._decider.decide(shard, profile, woken, book)

    def _control(self, shard: Shard, control: Control, raw: bytes) -> None:
        state = shard.state
        if control.what == "model":
            state.models[control.key] = control.hash
            shard.count("activations")
        elif control.what == "plays":
            state.forgotten = self.signals.forgotten(shard)
            state.plays = control.hash
            state.applied += 1
            plays = self._books.get(control.hash, NO_PLAYS).plays
            greeting = [name for name, play in plays.items() if play.greets]
            state.greeting = {name: state.greeting.get(name, state.applied) for name in greeting}
            state.failed.clear()
        elif control.what == "bandit":
            state.bandits.setdefault(control.key, {})[control.part] = control.arms
        elif control.what == "pause":
            state.paused = sorted({*state.paused, control.key})
            state.paused_at[control.key] = state.at
        elif control.what == "resume":
            every = control.key == EVERY
            state.paused = [] if every else [each for each in state.paused if each != control.key]
            state.failed = {} if every else {each: n for each, n in state.failed.items() if each != control.key}


def _in_time(candidate: Candidate, at: int, book: PlayBook) -> Candidate:
    """A candidate that a timer has woken, stopped if it is too late for its play at ``at`` (ms)."""
    late = candidate.play.drops_late and at - candidate.due > book.start_within
    return candidate._replace(stop=LATE) if late else candidate


def _by_due(timer: Timer) -> tuple[int, str, str]:
    return timer.due, timer.kind, timer.key
