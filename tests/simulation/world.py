"""A deployment in one thread: its processes take turns, and whose turn it is, and what goes wrong, a plan says.

A process is a greenlet that runs a flow's shell. It stops before everything that others can see or that can fail, and
goes on when it is told to, so that it can be killed or left standing between any two effects.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from random import Random
from typing import Any, Final, NamedTuple, cast
from unittest.mock import patch
from zlib import crc32

import msgspec
import redis
from greenlet import GreenletExit, getcurrent, greenlet

from flows import plays_control
from operators import engagement, ownership, reception, subscription, topicids, transactions
from operators.engagement import Engagement
from operators.kafka import group_id
from operators.playbook import PlayBook
from operators.reception import Reception
from operators.transactions import Fenced
from schemas.config import Config, Identity, Keys, Topics
from schemas.topics import COMMANDS, STITCHED, inputs, topic_name, topics
from state.identity import IdentityStore, read_source
from state.shards import ShardStore
from tests.simulation.clients import Admin, Consumer, Producer
from tests.simulation.log import Entry, Log
from tests.simulation.plans import Plan
from tests.simulation.store import Client, Store
from tests.system import reading
from tests.system.feed import EXPECT, START_MS, Feed
from tests.system.oracle import judge
from tests.system.pipeline import PLAYS, chaotic

#: What a deployment may take to come to rest (effects), and how often it is looked at.
PATIENCE: Final = 30_000
LOOK: Final = 25
#: From effect to effect at most (ms of the processes' clock); when there is nothing more to come they wait for time.
PASSES_MS, PASSES_AT_REST_MS = 40, 800
#: How likely a process goes on in the midst of its work, and another record is sent, at an effect.
GOES_ON, SENT = 0.8, 0.15
#: Effects that a fault can hit.
_HITS: Final = {
    "lost": ("redis", "kafka"),
    "unheard": ("redis", "kafka"),
    "refused": ("kafka",),
}
#: Requests of Kafka that can fail; reading goes on for ever, as that of librdkafka does.
_WRITES: Final = ("produce", "offsets", "commit")
_TIMED: Final = (engagement, ownership, reception, subscription, transactions)


class Outcome(NamedTuple):
    """``faults``: empty when every promise held. ``trace``: every effect, in order."""

    faults: list[str]
    trace: list[str]
    figures: dict[str, Any]


class Process:
    """One process of a flow."""

    def __init__(self, name: str, flow: str, run: Callable[[Process], None]) -> None:
        self.name, self.flow = name, flow
        self.draining = self.killed = self.frozen = False
        self.asks = ("start", "")
        self.clients: list[Consumer | Producer] = []
        self.error: Exception | None = None
        self._run = run
        self.thread = greenlet(self._live)

    @property
    def dead(self) -> bool:
        """Whether it has ended, however."""
        return self.killed or bool(self.thread.dead)

    def _live(self, verdict: str) -> None:
        try:
            self._run(self)
        except Exception as error:
            self.error = error


class World:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.log, self.store = Log(), Store()
        self.config = _config(plan)
        self.trace: list[str] = []
        self.effects = 0
        self._rng = Random(f"{plan.seed}/turns")
        self._now = START_MS / 1_000
        self._hub = getcurrent()
        self._processes: list[Process] = []
        self._current: Process | None = None
        self._named = 0
        self._later: list[tuple[int, int, Callable[[], object]]] = []
        self._left = list(plan.faults)
        self._hitting: list[str] = []
        self._cut: set[Process] = set()
        self._broken: list[str] = []
        feed = Feed(plan.seed, plan.people, scattered=plan.scattered)
        self._input = [feed.record(START_MS + number * plan.pace) for number in range(plan.records)]
        self._sent = 0
        self._ending = False

    # -- what the clients ask --------------------------------------------------------------------------------

    def effect(self, kind: str, what: str) -> str:
        """Stop here until it is this process' turn; how it goes. Nobody else waits."""
        thread = getcurrent()
        if thread is self._hub:
            return "go"
        process = self._current
        if process is None or process.killed or process.thread is not thread:
            raise GreenletExit
        process.asks = (kind, what)
        return cast(str, self._hub.switch())

    def name(self) -> str:
        """A name that nobody had before; later ones sort behind."""
        self._named += 1
        return f"{self._named:06d}"

    def some(self, most: int) -> int:
        """A number from 1 to ``most``."""
        return self._rng.randint(1, most)

    @property
    def wall_ms(self) -> int:
        """The processes' clock (ms)."""
        return int(self._now * 1_000)

    # -- the clock, in the place of the module ``time`` -------------------------------------------------------

    def monotonic(self) -> float:
        return self._now

    time = perf_counter = monotonic

    def time_ns(self) -> int:
        return int(self._now * 1_000_000_000)

    def sleep(self, seconds: float) -> None:
        self.effect("wait", "a little")

    # -- the run ---------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Do what the plan says, come to rest, and be judged."""
        with self._installed():
            for topic in topics(self.config):
                self.log.create(topic.name, topic.partitions)
            plays_control.apply(self.config, PLAYS)
            for flow in ("stitch", "stitch", "engage", "engage"):
                self._start(flow)
            try:
                rested = self._until(self._at_rest)
                self._ending = True
                for process in self._processes:
                    process.draining = True
                rested = rested and self._until(lambda: not self._later and all(each.dead for each in self._processes))
                if not rested:
                    self._broken.append(f"not at rest after {PATIENCE} effects: {self._standing()}")
                verdict = judge(self.config, self._client()) if rested and not self._broken else None
            finally:
                for process in self._processes:
                    self._kill(process)
        faults = self._broken + (verdict.faults if verdict else [])
        return Outcome(faults, self.trace, verdict.figures if verdict else {})

    def _client(self) -> redis.Redis:
        return cast(redis.Redis, Client(self.store, self.effect))

    @contextmanager
    def _installed(self) -> Iterator[None]:
        """Everything below the flows is ours; what is random follows from the seed."""
        with ExitStack() as stack:
            for target, name, ours in (
                (topicids, "AdminClient", lambda properties: Admin()),
                (subscription, "Consumer", partial(self._made, Consumer)),
                (transactions, "Producer", partial(self._made, Producer)),
                (reading, "Consumer", partial(self._made, Consumer)),
                (plays_control, "connect", lambda config: self._client()),
                (PlayBook, "from_bytes", _book),
                (plays_control, "PlayBook", lambda file: _BOOK),
                (os, "urandom", Random(f"{self.plan.seed}/bytes").randbytes),
                *((module, "time", self) for module in _TIMED),
            ):
                stack.enter_context(patch.object(target, name, ours))
            before = logging.root.manager.disable
            logging.disable(logging.CRITICAL)
            stack.callback(logging.disable, before)
            yield

    def _made(self, kind: Callable[..., Any], properties: dict[str, Any]) -> Any:
        client = kind(self, properties)
        if self._current is not None and getcurrent() is not self._hub:
            self._current.clients.append(client)
        return client

    # -- processes -------------------------------------------------------------------------------------------

    def _start(self, flow: str) -> None:
        if self._ending:
            return
        number = sum(each.flow == flow for each in self._processes)
        run = self._stitch if flow == "stitch" else self._engage
        self._processes.append(Process(f"{flow}-{number}", flow, run))

    def _stitch(self, process: Process) -> None:
        """As `flows.stitch` wires it."""
        shell = Reception(self.config, self._client())
        while not process.draining:
            shell.commit(shell.stitch(shell.poll(0.02)))
        shell.close()

    def _engage(self, process: Process) -> None:
        """As `flows.engage` wires it."""
        shell = Engagement(self.config, self._client())
        while not process.draining:
            shell.commit(shell.decide(shell.load(shell.poll(0.02))))
        shell.close()

    def _kill(self, process: Process) -> None:
        if not process.dead:
            process.killed = True
            process.thread.throw(GreenletExit)

    def _lapse(self, process: Process) -> None:
        """Its session and its transactions end: nobody hears of it."""
        for client in process.clients:
            client.lapse()

    # -- turns -----------------------------------------------------------------------------------------------

    def _until(self, done: Callable[[], bool]) -> bool:
        """Take turns until ``done``, which is looked at now and then; whether that was in time."""
        end = self.effects + PATIENCE
        while self.effects < end and not self._broken:
            if self.effects % LOOK == 0 and done():
                return True
            self._turn()
        return False

    def _turn(self) -> None:
        self.effects += 1
        self._now += self._rng.random() * (PASSES_AT_REST_MS if self._quiet else PASSES_MS) / 1_000
        if self._sent < len(self._input) and self._rng.random() < SENT:
            self._send()
        while self._later and self._later[0][0] <= self.effects:
            heapq.heappop(self._later)[2]()
        ready = [each for each in self._processes if not each.dead and not each.frozen]
        if not ready:
            return
        process = self._current
        if process not in ready or process.asks[1] == "read" or self._rng.random() > GOES_ON:
            process = self._rng.choice(ready)
        assert process is not None
        while self._left and self._left[0].at <= self.effects:
            fault = self._left.pop(0)
            self._harm(process, fault.kind, fault.long)
        if not process.dead and not process.frozen:
            self._go_on(process)

    def _go_on(self, process: Process) -> None:
        """Let a process do what it is about to do, and come to the next."""
        verdict = self._verdict(process)
        self._note(process, " ".join((*process.asks, *([f"-> {verdict}"] if verdict in _HITS else []))))
        self._current = process
        process.thread.switch(verdict)
        if process.thread.dead:
            self._ended(process)

    def _verdict(self, process: Process) -> str:
        kind, what = process.asks
        if kind == "redis" and process in self._cut:
            self._cut.discard(process)
            return "lost"
        fits = kind == "redis" or what.startswith(_WRITES)
        for hit in self._hitting:
            if fits and kind in _HITS[hit]:
                self._hitting.remove(hit)
                return hit
        return "all" if what == "read" and self._quiet else "go"

    def _ended(self, process: Process) -> None:
        """Whoever ends is started again, as by a supervisor, unless it was told to end."""
        error = process.error
        self._note(process, f"ends: {error!r}")
        if error is not None:
            self._lapse_later(process, self._rng.randint(1, 60))
            self._after(self._rng.randint(1, 60), lambda: self._start(process.flow))
            if not isinstance(error, Fenced):
                self._broken.append(f"{process.name} ended: {error!r}")

    # -- harm ------------------------------------------------------------------------------------------------

    def _harm(self, process: Process, kind: str, long: int) -> None:
        self._note(process, f"*** {kind} {long}")
        if kind == "kill":
            self._kill(process)
            self._lapse_later(process, long)
            self._after(self._rng.randint(1, 2 * long), lambda: self._start(process.flow))
        elif kind == "freeze":
            process.frozen = True
            self._lapse_later(process, long)
            self._after(self._rng.randint(1, 4 * long), lambda: setattr(process, "frozen", False))
        elif kind == "drain":
            process.draining = True
            self._after(long, lambda: self._start(process.flow))
        elif kind == "join":
            self._start(process.flow)
        elif kind == "forget":
            if not self._begun():
                return
            held = self.store.snapshot()
            self._after(long, lambda: self._forget(held))
        else:
            self._hitting.append(kind)

    def _begun(self) -> bool:
        """Whether every partition has had its first offset for as long as Redis may forget: that it has lost one which
        it had is a clear error."""
        config = self.config
        shards = ShardStore(self._client(), config.prefix).read(range(config.topics.shards))
        sources = IdentityStore(self._client(), config.prefix).sources()
        lanes = sum(len(self.log.topics[topic]) for topic in inputs(config))
        return all(each.r is not None for each in shards) and len(sources) == lanes

    def _forget(self, held: dict[bytes, Any]) -> None:
        self._note(None, "*** Redis forgets")
        self.store.values = held
        self._cut = {each for each in self._processes if not each.dead}

    def _lapse_later(self, process: Process, long: int) -> None:
        """Unless it is heard of again by then."""
        self._after(long, lambda: self._lapse(process) if process.dead or process.frozen else None)

    def _after(self, effects: int, act: Callable[[], object]) -> None:
        heapq.heappush(self._later, (self.effects + effects, self.effects * 100 + len(self._later), act))

    # -- the end ---------------------------------------------------------------------------------------------

    @property
    def _quiet(self) -> bool:
        """Whether nothing is to be sent, and no more harm is to be done."""
        return self._sent == len(self._input) and not self._left and not self._later

    def _send(self) -> None:
        config, fed = self.config, self._input[self._sent]
        topic = topic_name(config, config.topics.sources[0])
        number = crc32(fed.key) % config.topics.source_partitions
        headers = [(EXPECT, b"good" if fed.good else b"bad")]
        self.log.lane((topic, number)).append(Entry(fed.key, fed.value, headers, self.wall_ms, None))
        self._sent += 1

    def _at_rest(self) -> bool:
        """Whether all is stitched and engaged, and nothing is due."""
        return self._quiet and not self._standing()

    def _standing(self) -> list[str]:
        """What is not done yet."""
        config, log = self.config, self.log
        (source,) = [topic_name(config, name) for name in config.topics.sources]
        stitched = log.group(group_id(config, "stitch")).offsets
        left = [
            f"{source}/{number} is stitched to {stitched.get((source, number))} of {len(lane.entries)}"
            for number, lane in enumerate(log.topics[source])
            if stitched.get((source, number), (0, ""))[0] < len(lane.entries)
        ]
        positions = IdentityStore(self._client(), config.prefix).sources()
        left += [
            f"{source}/{number} stands at R {read_source(packed).position}"
            for (topic, number), packed in positions.items()
            if topic == source and read_source(packed).position < len(log.topics[source][number].entries)
        ]
        topic, engaged = topic_name(config, STITCHED), log.group(group_id(config, "engage")).offsets
        shards, client = ShardStore(self._client(), config.prefix), self._client()
        watermark = IdentityStore(client, config.prefix).watermark(topic_name(config, COMMANDS)) or 0
        for number, (lane, held) in enumerate(
            zip(log.topics[topic], shards.read(range(config.topics.shards)), strict=True)
        ):
            last = max((offset for offset, _ in lane.read(0, len(lane.entries))[0]), default=-1)
            k = engaged.get((topic, number), (0, ""))[0]
            if lane.open or not last < (held.r or 0) <= k:
                left.append(f"shard {number} stands at R {held.r}, K {k} of {last + 1}")
            if any(due <= watermark for due, _ in shards.timers({number: 1})[number]):
                left.append(f"shard {number} has timers due")
        return left

    def _note(self, process: Process | None, what: str) -> None:
        self.trace.append(f"{self.effects:6} {process.name if process else '':10} {what}")


#: Compiling plays takes longer than all the rest of a run.
_book = cache(PlayBook.from_bytes)
_BOOK: Final = PlayBook(PLAYS)


def _config(plan: Plan) -> Config:
    """As small as it can be with something to share out."""
    keys = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
    identity = Identity(rules="retail" if plan.retail else "union")
    config = chaotic(Config(keys=keys, topics=Topics(source_partitions=2, shards=4), identity=identity))
    limits = msgspec.structs.replace(config.limits, batch=16, cached_bytes=40_000)
    return msgspec.structs.replace(config, limits=limits)
