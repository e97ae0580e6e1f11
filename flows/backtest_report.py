"""What a backtest says: counted while it runs, put together at its end, and two sets of plays compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import msgspec

from operators.playbook import PlayBook
from operators.replaying import Replay
from operators.succession import MAX_HOPS
from operators.texts import rfc3339
from schemas.config import Config
from schemas.topics import topic_name
from state.shards import Output

#: What a decision comes to at the step of the caps or behind it; without a code it is sent.
_CAPPED = "frequency_cap"
_REACHED_CAPS = frozenset(
    (None, _CAPPED, "budget", "quiet_hours", "holdout_global", "holdout_play", "unreachable", "shadow")
)  # fmt: skip


class _Told(msgspec.Struct):
    """What is counted of a decision."""

    id: str
    play: str
    customer: str
    outcome: str
    at: int
    code: str | None = None
    channel: str | None = None


_told = msgspec.json.Decoder(_Told)


class OfPlay(msgspec.Struct):
    """One play: ``shadow``: what was not sent for its mode alone; ``stopped`` by code; ``waiting`` messages that are
    still held at the end. ``cap_pressure``: which share of the decisions that came as far as the caps was stopped by
    them; None if none came."""

    messages: int = 0
    customers: int = 0
    held_out: int = 0
    shadow: int = 0
    stopped: dict[str, int] = {}
    waiting: int = 0
    cap_pressure: float | None = None


class OfPlays(msgspec.Struct):
    """One set of plays. Days are those of UTC. ``customers``: who was sent anything."""

    version: str
    messages: int
    customers: int
    held_out: int
    shadow: int
    stopped: int
    waiting: int
    per_play: dict[str, OfPlay]
    per_channel: dict[str, int]
    per_day: dict[str, int]


class Message(msgspec.Struct):
    """One message: the id of its trigger."""

    id: str
    play: str
    channel: str
    at: str


class OfCustomer(msgspec.Struct):
    """The messages of a customer that one of two sets sends alone."""

    customer: str
    only_plays: list[Message]
    only_against: list[Message]


class Difference(msgspec.Struct):
    """``plays`` less ``against``; what is the same is left out. ``only_*``: customers that just one of both reaches."""

    messages: int
    customers: int
    only_plays: int
    only_against: int
    per_play: dict[str, int]
    per_channel: dict[str, int]
    per_day: dict[str, int]


class Report(msgspec.Struct):
    """What plays would have done. ``time``: ``recorded`` (on the log's own ticks, as it was) or ``virtual``.
    ``start`` and ``end`` of what is counted; ``touchpoints`` in it, ``customers`` at its end. ``notes``: what else to
    know."""

    time: str
    start: str
    end: str
    touchpoints: int
    duplicates: int
    customers: int
    plays: OfPlays
    against: OfPlays | None = None
    difference: Difference | None = None
    customer_by_customer: list[OfCustomer] | None = None
    notes: list[str] = []


class Tally:
    """Counts what one set of plays decides at or after ``since`` (ms); ``keep``: every message, not only how many."""

    def __init__(self, config: Config, since: int, *, keep: bool = False) -> None:
        self._decisions = topic_name(config, "decisions")
        self._since, self._keep = since, keep
        self._outcomes: Counter[tuple[str, str, str | None]] = Counter()
        self._channels: Counter[str] = Counter()
        self._days: Counter[str] = Counter()
        self._reached: defaultdict[str, set[str]] = defaultdict(set)
        self._messages: defaultdict[str, list[Message]] = defaultdict(list)

    def take(self, output: Output) -> None:
        """Count one output of a replay."""
        if output.topic != self._decisions:
            return
        told = _told.decode(output.value)
        if told.at < self._since:
            return
        self._outcomes[told.play, told.outcome, told.code] += 1
        if told.outcome == "emitted" and told.channel is not None:
            self._channels[told.channel] += 1
            self._days[rfc3339(told.at)[:10]] += 1
            self._reached[told.customer].add(told.play)
            if self._keep:
                self._messages[told.customer].append(Message(told.id, told.play, told.channel, rfc3339(told.at)))

    def report(self, book: PlayBook, replay: Replay) -> OfPlays:
        """What it came to, when ``replay`` is at its end."""
        reached = self.reached(replay)
        customers = Counter(play for plays in reached.values() for play in plays)
        waiting = Counter(
            held.play for shard in replay.shards for each in shard.profiles.values() for held in each.held
        )
        names = dict.fromkeys([*book.plays, *sorted({play for play, _, _ in self._outcomes} - book.plays.keys())])
        per_play = {name: self._of_play(name, customers[name], waiting[name]) for name in names}
        every = per_play.values()
        return OfPlays(
            book.version,
            sum(each.messages for each in every),
            len(reached),
            sum(each.held_out for each in every),
            sum(each.shadow for each in every),
            sum(sum(each.stopped.values()) for each in every),
            sum(each.waiting for each in every),
            per_play,
            dict(sorted(self._channels.items())),
            dict(sorted(self._days.items())),
        )

    def _of_play(self, name: str, customers: int, waiting: int) -> OfPlay:
        found = {(outcome, code): count for (play, outcome, code), count in self._outcomes.items() if play == name}
        outcomes: Counter[str] = Counter()
        stopped: dict[str, int] = {}
        came = 0
        for (outcome, code), count in sorted(found.items(), key=str):
            outcomes[outcome] += count
            if outcome == "stopped":
                stopped[code or ""] = count
            # What is held is decided anew, and counts then.
            came += count if outcome != "held" and code in _REACHED_CAPS else 0
        return OfPlay(
            outcomes["emitted"],
            customers,
            outcomes["held_out"],
            outcomes["shadow"],
            stopped,
            waiting,
            round(stopped.get(_CAPPED, 0) / came, 4) if came else None,
        )

    def reached(self, replay: Replay) -> dict[str, set[str]]:
        """Whom which plays were sent to, by the ids that customers have at the end."""
        found: dict[str, set[str]] = {}
        for customer, plays in self._reached.items():
            found.setdefault(_current(customer, replay), set()).update(plays)
        return found

    def messages(self, replay: Replay) -> dict[str, list[Message]]:
        """Everything that was sent, by the ids that customers have at the end."""
        found: dict[str, list[Message]] = {}
        for customer, messages in self._messages.items():
            found.setdefault(_current(customer, replay), []).extend(messages)
        return found


def _current(customer: str, replay: Replay) -> str:
    """Who a customer has become."""
    for _ in range(MAX_HOPS):
        profile = replay.profile(customer)
        if profile is None or not profile.alias:
            break
        customer = profile.alias
    return customer


def difference(plays: OfPlays, against: OfPlays, reached: set[str], other: set[str]) -> Difference:
    """One set of plays less the other; ``reached`` and ``other``: their customers."""
    return Difference(
        plays.messages - against.messages,
        plays.customers - against.customers,
        len(reached - other),
        len(other - reached),
        _less(
            {name: each.messages for name, each in plays.per_play.items()},
            {name: each.messages for name, each in against.per_play.items()},
        ),
        _less(plays.per_channel, against.per_channel),
        _less(plays.per_day, against.per_day),
    )


def _less(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """By name, where they differ."""
    names = [*one, *[name for name in other if name not in one]]
    found = {name: one.get(name, 0) - other.get(name, 0) for name in names}
    return {name: count for name, count in found.items() if count}


def customer_by_customer(plays: Mapping[str, list[Message]], against: Mapping[str, list[Message]]) -> list[OfCustomer]:
    """Who gets what from one set alone, the same message on another channel included."""
    found = []
    for customer in sorted(plays.keys() | against.keys()):
        mine, theirs = plays.get(customer, []), against.get(customer, [])
        only = _without(mine, theirs), _without(theirs, mine)
        if any(only):
            found.append(OfCustomer(customer, *only))
    return found


def _without(messages: list[Message], others: list[Message]) -> list[Message]:
    known = {(each.id, each.channel) for each in others}
    return [each for each in messages if (each.id, each.channel) not in known]
