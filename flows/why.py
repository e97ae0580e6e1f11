"""Why a customer was sent something, or was not: decisions with every check that was made, from what was recorded.

The last decisions stand in the customer's profile, what they rest on and older ones on the topic ``decisions``; what
brought one about is read from ``stitched``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import redis

from flows.identity_lookup import Lookup
from flows.plays_control import content
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
from schemas.topics import STITCHED, topic_name
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
        self._redis = client
        self._lookup = Lookup(config, client)
        self._store = ShardStore(client, config.prefix)

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
        return self._told(found)

    def play(self, profile: Profile, play: str) -> Told | Standing:
        """The latest decision of a play on a customer or, if there is none, how the play stands with it now."""
        ids = {each.id for each in profile.decided if each.play == play}
        names = {profile.customer, *profile.births}
        found = self._find(lambda each: each.play == play and (each.customer in names or each.id in ids))
        return self._told(found) if found is not None else self._standing(profile, play)

    def _find(self, wanted: Callable[[Decision], bool]) -> Decision | None:
        """The last one on the topic."""
        found, seen = None, 0
        with Progress("decisions read") as progress:
            for messages in read(self._config, topic_name(self._config, "decisions"), start=0, follow=False):
                for decision in [_decisions.decode(message.value() or b"") for message in messages]:
                    # A held decision is taken anew under its id: what came of it counts.
                    if wanted(decision) and (found is None or decision.at >= found.at):
                        found = decision
                seen += len(messages)
                progress.update(seen)
        return found

    def _told(self, decision: Decision) -> Told:
        versions = {decision.play_version, decision.limits_version or decision.play_version}
        books = {each: PlayBook(content(self._config, self._redis, each)) for each in versions}
        play = books[decision.play_version].plays.get(decision.play)
        of_product = play is not None and play.watch is not None
        return Told(decision, reasons.checks(decision, books), self._happened(decision, of_product))

    def _happened(self, decision: Decision, of_product: bool) -> Happened | None:
        if decision.touchpoint.startswith(("score:", "segment:")):
            return None
        topic = topic_name(self._config, STITCHED)
        key = f"product:{decision.business_key}" if of_product else decision.customer
        shard = shard_of(key, self._config.topics.shards)
        mark, seen = decision.touchpoint.encode(), 0
        with Progress("records read") as progress:
            for messages in read(self._config, topic, start=0, follow=False, partition=shard):
                for raw in [message.value() or b"" for message in messages]:
                    record = stitched.decode(raw) if mark in raw else None
                    if isinstance(record, Event) and record.eid == decision.touchpoint:
                        return Happened(
                            record.type, record.source, record.time, record.src, record.ids, record.customer
                        )
                seen += len(messages)
                progress.update(seen)
        return None

    def _standing(self, profile: Profile, play: str) -> Standing:
        shards = self._config.topics.shards
        number = shard_of(profile.customer, shards)
        (stored,) = self._store.read([number])
        state = state_of(stored.state)
        if not state.plays:
            raise TouchstreamError("no plays are in force; `touchstream plays apply FILE` puts some in force")
        book = PlayBook(content(self._config, self._redis, state.plays))
        if play not in book.plays:
            raise TouchstreamError(f"no play {play!r} is in force; there are: {', '.join(book.plays)}")
        left = budget_left(book.plays[play], number, shards, state)
        checks = standing(play, profile, book, state.at, left)
        if not {play, stitched.EVERY}.isdisjoint(state.paused):
            checks.insert(0, Check("paused", False, "the play is paused"))
        return Standing(profile.customer, play, book.version, state.at, checks)


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
