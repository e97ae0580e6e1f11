"""Why a customer was sent something, or was not: decisions with every check that was made, from what was recorded.

The last decisions stand in the customer's profile, what they rest on and older ones on the topic ``decisions``; what
brought one about is read from ``stitched``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator

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
from schemas.errors import TouchstreamError
from schemas.outputs import Decision
from schemas.stitched import Event, shard_of
from schemas.topics import PLAYS, STITCHED, topic_name
from state.profile import Profile
from state.shards import ShardStore

_decisions = msgspec.json.Decoder(Decision)


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
    """One decision, why it came out so, and what brought it about (None: a score, or no longer kept)."""

    decision: Decision
    checks: list[Check]
    happened: Happened | None


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
    """Answers about one deployment. Raises `TouchstreamError`, `redis.RedisError`."""

    def __init__(self, config: Config, client: redis.Redis) -> None:
        self._config = config
        self._lookup = Lookup(config, client)
        self._store = ShardStore(client, config.prefix)
        self._books = Contents(config, PLAYS, PlayBook.from_bytes)

    def customer(self, subject: str) -> Profile | None:
        """Whom an id, old or new, or ``namespace:value`` means; None for an id that no customer has."""
        if ":" in subject:
            meant, held = self._lookup.seen(subject)
            subject = held.cluster.partition().get(meant.token, "")
        profile = self._lookup.profile(subject)
        if profile is not None and profile.erased:
            raise TouchstreamError(f"customer {subject} was erased ({rfc3339(profile.erased)}); nothing is kept of it")
        return profile

    def last(self, profile: Profile) -> list[Line]:
        """The latest decisions on a customer, the newest first."""
        return [Line(each.id, each.at, each.play, each.code) for each in reversed(profile.decided)]

    def decision(self, id: str) -> Told:
        """Why a decision came out as it did."""
        found = self._find(lambda decision: decision.id == id)
        if found is None:
            raise TouchstreamError(f"{id} is neither a customer nor a decision that is still kept")
        return self.told([found])[0]

    def play(self, profile: Profile, play: str) -> Told | Standing:
        """The latest decision of a play on a customer or, if there is none, how the play stands with it now."""
        ids = {each.id for each in profile.decided if each.play == play}
        names = {profile.customer, *profile.births}
        found = self._find(lambda each: each.play == play and (each.customer in names or each.id in ids))
        return self.told([found])[0] if found is not None else self._standing(profile, play)

    def _find(self, wanted: Callable[[Decision], bool]) -> Decision | None:
        """The last one on the topic."""
        found, seen = None, 0
        with Progress("decisions read") as progress:
            for messages in read(self._config, topic_name(self._config, "decisions"), start=0, follow=False):
                for decision in [_decisions.decode(message.value() or b"") for message in messages]:
                    if wanted(decision) and (found is None or _counts(decision, found)):
                        found = decision
                seen += len(messages)
                progress.update(seen)
        return found

    def told(self, decisions: Collection[Decision]) -> list[Told]:
        """Why decisions came out as they did. What brought them about is looked for in the log, which is read once."""
        asked: defaultdict[int, set[str]] = defaultdict(set)
        for each in decisions:
            # What is of a time or score has a colon; tokens of touchpoints have none.
            for number in self._shards(each) if ":" not in each.touchpoint else ():
                asked[number].add(each.touchpoint)
        happened: dict[str, Happened] = {}
        for number, touchpoints in asked.items():
            if wanted := touchpoints - happened.keys():
                happened |= self._happened(number, wanted)
        # Whoever was split off goes on with what was written in a name that is not its own.
        everything = set[str]().union(*asked.values())
        for number in range(self._config.topics.shards):
            if wanted := everything - happened.keys():
                happened |= self._happened(number, wanted)
        return [Told(each, reasons.checks(each, self._books), happened.get(each.touchpoint)) for each in decisions]

    def _shards(self, decision: Decision) -> set[int]:
        """Where what brought it about may have been written: in the name of a product, or in any of the customer's."""
        play = self._books[decision.play_version].plays.get(decision.play)
        if play is not None and play.watch is not None:
            names = [f"product:{decision.business_key}"]
        else:
            names = [decision.customer, *(decision.grounds.births if decision.grounds else ())]
        return {shard_of(name, self._config.topics.shards) for name in names}

    def _happened(self, number: int, touchpoints: Collection[str]) -> dict[str, Happened]:
        """Those touchpoints of a shard that are still kept."""
        marks, seen = [each.encode() for each in touchpoints], 0
        found: dict[str, Happened] = {}
        with Progress("records read") as progress:
            topic = topic_name(self._config, STITCHED)
            for messages in read(self._config, topic, start=0, follow=False, partition=number):
                for raw in [message.value() or b"" for message in messages]:
                    record = stitched.decode(raw) if any([mark in raw for mark in marks]) else None
                    if isinstance(record, Event) and record.eid in touchpoints and record.eid not in found:
                        found[record.eid] = Happened(
                            record.type, record.source, record.time, record.src, record.ids, record.customer
                        )
                seen += len(messages)
                progress.update(seen)
                if len(found) == len(marks):
                    break
        return found

    def _standing(self, profile: Profile, play: str) -> Standing:
        shards = self._config.topics.shards
        number = shard_of(profile.customer, shards)
        (stored,) = self._store.read([number])
        state = state_of(stored.state)
        if not state.plays:
            raise TouchstreamError("no plays are in force; `touchstream plays apply FILE` puts some in force")
        book = self._books[state.plays]
        if play not in book.plays:
            raise TouchstreamError(f"no play {play!r} is in force; there are: {', '.join(book.plays)}")
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
