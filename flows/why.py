"""Why a customer was sent something, or was not: decisions with every check that was made, from what was recorded.

The last decisions stand in the customer's profile, what they rest on and older ones on the topic ``decisions``; what
brought one about is read from ``stitched``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from math import inf
from typing import Final

import msgspec
import redis

from flows.contents import Contents
from flows.identity_lookup import Lookup
from flows.progress import Progress
from flows.reading import read
from operators import reasons
from operators.deciding import budget_left
from operators.playbook import PlayBook
from operators.reasons import Check
from operators.shard import state_of
from operators.standing import standing
from operators.texts import rfc3339
from schemas import stitched
from schemas.config import Config
from schemas.errors import NoCustomer, TouchstreamError
from schemas.outputs import Decision
from schemas.stitched import Event, shard_of
from schemas.topics import PLAYS, STITCHED, topic_name
from state.profile import Profile
from state.shards import ShardStore

_decisions = msgspec.json.Decoder(Decision)
#: Kafka may say of a record that it is older than its writer's clock said, by this much (ms): twice the skew.
_SKEW: Final = 60_000


class Overdue(TouchstreamError):
    """There was not enough time to read what the answer stands in."""


class NoPlay(TouchstreamError):
    """The play that is asked about is not in force, and has decided nothing."""


class Happened(msgspec.Struct, frozen=True):
    """The touchpoint that a decision is about, and the identifiers (tokens) that made it this customer's. Times in ms;
    ``position`` in the source."""

    type: str
    source: str
    time: int
    position: str
    identifiers: list[str]
    customer: str


class Told(msgspec.Struct, frozen=True):
    """One decision, why it came out so, and what brought it about (None: a score, or no longer kept; or not
    ``complete``: there was no time to look everywhere)."""

    decision: Decision
    checks: list[Check]
    happened: Happened | None
    complete: bool = True


class Standing(msgspec.Struct, frozen=True):
    """A play that has decided nothing about a customer, evaluated at ``at`` (ms)."""

    customer: str
    play: str
    play_version: str
    at: int
    checks: list[Check]


class Line(msgspec.Struct, frozen=True):
    """One of the last decisions on a customer, as its profile keeps them."""

    id: str
    at: int
    play: str
    code: str


class Why:
    """Answers about one deployment. Raises `TouchstreamError`, `redis.RedisError`.

    ``seconds``: so long it may read topics from now on, then raises `Overdue`, and shows no progress. It may share a
    ``lookup`` and ``books`` with others.
    """

    def __init__(
        self,
        config: Config,
        client: redis.Redis,
        *,
        seconds: float | None = None,
        lookup: Lookup | None = None,
        books: Contents[PlayBook] | None = None,
    ) -> None:
        self._config = config
        self._lookup = lookup or Lookup(config, client)
        self._store = ShardStore(client, config.prefix)
        self._books = Contents(config, PLAYS, PlayBook.from_bytes) if books is None else books
        self._seconds = seconds
        self._deadline = inf if seconds is None else time.monotonic() + seconds

    def customer(self, subject: str) -> Profile | None:
        """Whom an id, old or new, or ``namespace:value`` means; None for an id that no customer has."""
        if ":" in subject:
            meant, held = self._lookup.seen(subject)
            customer = held.cluster.partition().get(meant.token)
            profile = self._lookup.own(customer) if customer else None
        else:
            profile = self._lookup.profile(subject)
        if profile is not None and profile.erased:
            text = f"customer {subject} was erased ({rfc3339(profile.erased)}); nothing is kept of it"
            raise NoCustomer(text, erased=True)
        return profile

    def last(self, profile: Profile) -> list[Line]:
        """The latest decisions on a customer, the newest first."""
        return [Line(each.id, each.at, each.play, each.code) for each in reversed(profile.decided)]

    def decision(self, id: str, at: int | None = None) -> Told:
        """Why a decision came out as it did, which was taken not before ``at`` (ms), if that is known."""
        found = self._find(lambda decision: decision.id == id, at)
        if found is None:
            raise NoCustomer(f"{id} is neither a customer nor a decision that is still kept")
        return self.told([found])[0]

    def play(self, profile: Profile, play: str) -> Told | Standing:
        """The latest decision of a play on a customer or, if there is none, how the play stands with it now."""
        known = {each.id: each.at for each in profile.decided if each.play == play}
        names = {profile.customer, *profile.births}
        wanted: Callable[[Decision], bool] = lambda each: (  # noqa: E731
            each.play == play and (each.customer in names or each.id in known)
        )
        found = self._find(wanted, max(known.values(), default=None))
        return self.told([found])[0] if found is not None else self._standing(profile, play)

    def _find(self, wanted: Callable[[Decision], bool], at: int | None) -> Decision | None:
        """The last one on the topic, of ``at`` (ms) or later."""
        found = None
        for raw in self._read("decisions", "decisions read", at):
            decision = _decisions.decode(raw)
            if wanted(decision) and (found is None or _counts(decision, found)):
                found = decision
        return found

    def _read(self, name: str, what: str, at: int | None, partition: int | None = None) -> Iterator[bytes]:
        """What stands on a topic; only what was written at ``at`` (ms, the deployment's clock) or later, where that is
        the clock of Kafka, too."""
        since = at - _SKEW if at is not None and self._config.clock == "process" else None
        topic, seen = topic_name(self._config, name), 0
        with Progress(what, shown=self._seconds is None) as progress:
            for messages in read(self._config, topic, start=0, follow=False, partition=partition, since=since):
                if time.monotonic() > self._deadline:
                    raise Overdue(f"{topic} could not be read within {self._seconds:g} s")
                yield from [message.value() or b"" for message in messages]
                seen += len(messages)
                progress.update(seen)

    def told(self, decisions: Collection[Decision]) -> list[Told]:
        """Why decisions came out as they did. What brought them about is looked for in the log, which is read once."""
        asked: defaultdict[int, set[str]] = defaultdict(set)
        for each in decisions:
            # What is of a time or score has a colon; tokens of touchpoints have none.
            for number in self._shards(each) if ":" not in each.touchpoint else ():
                asked[number].add(each.touchpoint)
        happened: dict[str, Happened] = {}
        try:
            self._search(asked, happened, min([each.at for each in decisions], default=0))
            complete = True
        except Overdue:
            complete = False
        return [self._told(each, happened.get(each.touchpoint), complete) for each in decisions]

    def _told(self, decision: Decision, happened: Happened | None, complete: bool) -> Told:
        return Told(decision, reasons.checks(decision, self._books), happened, complete or happened is not None)

    def _search(self, asked: Mapping[int, set[str]], happened: dict[str, Happened], at: int) -> None:
        """Look for touchpoints by shard: first near ``at`` (ms), where most are, then in all there is of these shards,
        then in the others, since whoever was split off goes on with what was written in a name that is not its own."""
        everything = set[str]().union(*asked.values())
        for since in (at, None) if self._config.clock == "process" else (None,):
            for number, touchpoints in asked.items():
                if wanted := touchpoints - happened.keys():
                    self._happened(number, wanted, happened, since)
        for number in range(self._config.topics.shards):
            if wanted := everything - happened.keys():
                self._happened(number, wanted, happened, None)

    def _shards(self, decision: Decision) -> set[int]:
        """Where what brought it about may have been written: in the name of a product, or in any of the customer's."""
        play = self._books[decision.play_version].plays.get(decision.play)
        if play is not None and play.watch is not None:
            names = [f"product:{decision.business_key}"]
        else:
            names = [decision.customer, *(decision.grounds.births if decision.grounds else ())]
        return {shard_of(name, self._config.topics.shards) for name in names}

    def _happened(
        self, number: int, touchpoints: Collection[str], found: dict[str, Happened], since: int | None
    ) -> None:
        """Add those touchpoints of a shard that are still kept."""
        marks, left = [each.encode() for each in touchpoints], set(touchpoints)
        for raw in self._read(STITCHED, "records read", since, number):
            record = stitched.decode(raw) if any([mark in raw for mark in marks]) else None
            if isinstance(record, Event) and record.eid in left:
                left.discard(record.eid)
                found[record.eid] = Happened(
                    record.type, record.source, record.time, record.src, record.ids, record.customer
                )
                if not left:
                    return

    def _standing(self, profile: Profile, play: str) -> Standing:
        shards = self._config.topics.shards
        number = shard_of(profile.customer, shards)
        (stored,) = self._store.read([number])
        state = state_of(stored.state)
        if not state.plays:
            raise NoPlay("no plays are in force; `touchstream plays apply FILE` puts some in force")
        book = self._books[state.plays]
        if play not in book.plays:
            raise NoPlay(f"no play {play!r} is in force; there are: {', '.join(book.plays)}")
        left = budget_left(book.plays[play], number, shards, state)
        checks = standing(play, profile, book, state.at, left)
        if not {play, stitched.EVERY}.isdisjoint(state.paused):
            checks.insert(0, Check("paused", False, "the play is paused"))
        return Standing(profile.customer, play, book.version, state.at, checks)


def _counts(decision: Decision, before: Decision) -> bool:
    """Whether what was decided later counts. A held decision is taken anew under its id; what would be decided twice
    only repeats the id."""
    repeats = decision.id == before.id and decision.code == "duplicate"
    return decision.at >= before.at and not repeats


def readable(answer: Told | Standing) -> Iterator[str]:
    """Lines for people."""
    if isinstance(answer, Standing):
        yield f"{answer.play} has decided nothing on {answer.customer}. As of {rfc3339(answer.at)}:"
    else:
        yield from _decided(answer.decision)
        if answer.happened is not None:
            yield from _touchpoint(answer.happened)
        yield "checks"
    for check in answer.checks:
        yield f"  {'ok  ' if check.passed else 'STOP'} {check.step:14} {check.text}"


def _decided(it: Decision) -> Iterator[str]:
    what = f"by {it.code}" if it.code else f"on {it.channel}"
    until = f" until {rfc3339(it.until)}" if it.until else ""
    yield f"{it.play}: {it.outcome} {what}{until}"
    yield f"  decision   {it.id} at {rfc3339(it.at)}, plays {it.play_version}"
    yield f"  customer   {it.customer}"
    yield f"  about      {it.business_key}" + (f", variant {it.variant}" if it.variant else "")
    if it.step:
        yield f"  message    {it.step + 1} of a journey"


def _touchpoint(it: Happened) -> Iterator[str]:
    yield f"  touchpoint {it.type} of {it.source} at {rfc3339(it.time)}, {it.position}"
    yield f"  known by   {', '.join(it.identifiers)}"
