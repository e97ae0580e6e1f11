"""Engage's shell: shards in memory, loaded and committed batch by batch around the pure core.

One batch: `poll` → `load` (a few Redis round trips for all that the batch needs) → `decide` (the core) → `commit`
(one round trip, then one Kafka transaction).
"""

from __future__ import annotations

import time

import redis

from operators import metrics, observing
from operators.access import raise_if_denied
from operators.churn import Model
from operators.clock import WallClock
from operators.engage import Engage
from operators.failpoints import failpoint
from operators.loading import Batch, Books, Entry, Loader
from operators.ownership import Ownership
from operators.shard import Shard, state_of
from operators.starting import Start
from operators.subscription import Received, Subscription
from operators.timers import KEPT
from operators.visits import Visits
from schemas import stitched
from schemas.config import Config
from schemas.errors import Conflict
from schemas.stitched import Signal, Step, Tick
from schemas.topics import COMMANDS, MODELS, PLAYS, STITCHED, topic_name
from state.contents import ContentStore
from state.identity import IdentityStore
from state.profile import pack
from state.shards import Commit, Output, ShardStore, Size, Stored

FLOW = "engage"
#: What a shard has counted is told after so long (ms) if nothing else moves its clock.
TELL_AFTER = 1_000
#: How often the sizes of shards are looked up (seconds).
MEASURE_EVERY = 15.0


class Engagement:
    """The shards of engage that this process owns. Not thread-safe; everything runs in Bytewax's worker."""

    def __init__(self, config: Config, client: redis.Redis, *, initialise: bool = False) -> None:
        self._config = config
        self._now_ms = WallClock(config)
        self._identity = IdentityStore(client, config.prefix)
        self._store = ShardStore(client, config.prefix)
        contents = {kind: ContentStore(client, config.prefix, kind) for kind in (MODELS, PLAYS)}
        models, books = dict[str, Model](), Books(contents[PLAYS])
        self._engage = Engage(config, models, books)
        self._loader = Loader(config, self._store, self._engage, models, books, contents[MODELS])
        self._topic = topic_name(config, STITCHED)
        self._commands = topic_name(config, COMMANDS)
        self.shards: dict[int, Shard] = {}
        self._visits = Visits(config, self._store, books)
        self._ticked: dict[int, float] = {}
        self._watermark: int | None = None
        self._watermark_at = 0.0
        self._sizes: dict[int, Size] = {}
        self._measured_at = 0.0
        metrics.expect([metrics.IDENTITY_CHANGES])
        metrics.SHARD_CUSTOMERS.source(self._customers)
        metrics.SHARD_TIMERS.source(self._timers)
        metrics.CACHE_HITS.source(self._hits)
        metrics.CACHE_MISSES.source(self._misses)
        self._ownership = Ownership(
            config, FLOW, self._topic, self._store, self._open, self._drop, initialise=initialise
        )
        self._ownership.check_partitions(config.topics.shards)

    def poll(self, wait: float) -> list[Received]:
        """The next batch of messages, possibly none."""
        self._measure()
        return self._ownership.poll(self._config.limits.batch, wait)

    def load(self, messages: list[Received]) -> Batch:
        """Decode a batch and load what it names: profiles, examples, timers, models. Empty if Redis failed."""
        batch: Batch = {}
        decode = stitched.decode_gist
        for message in messages:
            raw, number = message.value(), message.partition()
            entry = Entry(message.offset(), decode(raw), raw)
            entries = batch.get(number)
            if entries is None:
                batch[number] = [entry]
            else:
                entries.append(entry)
        try:
            self._loader.load(self.shards, batch)
        except redis.RedisError as error:
            self._ownership.stumble(error)
            return {}
        failpoint("engage.loaded")
        return batch

    def decide(self, batch: Batch) -> Batch:
        """Apply every record to its shard, in log order. Empty if Redis failed on the way."""
        try:
            for number, entries in batch.items():
                self._apply(self.shards[number], entries)
        except redis.RedisError as error:
            # Half applied, in memory only: it is dropped with everything else.
            self._ownership.stumble(error)
            return {}
        return batch

    def _apply(self, shard: Shard, entries: list[Entry]) -> None:
        apply = self._engage.apply
        for entry in entries:
            shard.r = entry.offset
            record = entry.record
            if type(record) is Tick:
                self._tick(shard, record)
            elif type(record) is Signal or type(record) is Step:
                self._step(shard, record)
            else:
                apply(shard, record, entry.raw)
        shard.r = entries[-1].offset + 1

    def commit(self, batch: Batch) -> None:
        """Commit the batch and publish what it made, together with the ticks that are due."""
        touched = [self.shards[number] for number in batch]
        commits = [self._commit(shard) for shard in touched]
        ticks = self._due_ticks()
        if not self._ownership.commit(commits, [*ticks, *self._visits.due(self.shards)]):
            return
        metrics.TICKS.inc(len(ticks))
        observing.engaged(touched, self._now_ms())
        cached = self._config.limits.cached_bytes // max(1, len(self.shards))
        for shard in touched:
            shard.settle(cached)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it reads."""
        return [self._ownership.subscription]

    def close(self) -> None:
        """Leave cleanly."""
        self._ownership.close()

    # -- measuring ---------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Look up now and then how large the shards are, and whether Redis holds them as they were left: where nothing
        happens no commit would tell that it has forgotten something."""
        if self.shards and time.monotonic() - self._measured_at >= MEASURE_EVERY:
            self._measured_at = time.monotonic()
            try:
                self._sizes = self._store.sizes(sorted(self.shards))
                astray = [number for number, size in self._sizes.items() if size.r != self.shards[number].stored]
                if astray:
                    raise Conflict(f"shards {astray}: Redis does not hold what was committed")
            except (Conflict, redis.RedisError) as error:
                self._ownership.stumble(error)

    def _customers(self) -> list[metrics.Sample]:
        return [((str(number),), size.customers) for number, size in self._sizes.items()]

    def _timers(self) -> list[metrics.Sample]:
        return [((str(number),), size.timers) for number, size in self._sizes.items()]

    def _hits(self) -> list[metrics.Sample]:
        return [((FLOW, "profiles"), self._loader.found)]

    def _misses(self) -> list[metrics.Sample]:
        return [((FLOW, "profiles"), self._loader.missed)]

    def _overdue(self) -> float:
        """For how long (seconds) the oldest timer has been due by the clock of this deployment."""
        now = self._now_ms() if self._config.clock == "process" else self._watermark
        due = [each for shard in self.shards.values() if (each := shard.timers.next_due()) is not None]
        return max(0, now - min(due)) / 1000 if due and now is not None else 0.0

    # -- applying ----------------------------------------------------------------------------------------

    def _tick(self, shard: Shard, record: Tick) -> None:
        """Fire what is due; the customers concerned are only known for sure now."""
        due = shard.timers.next_due()
        customers = self._engage.tick(shard, record)
        if customers and due is not None:
            metrics.TIMER_LATENESS.observe(max(0, shard.state.at - due) / 1000)
            failpoint("engage.firing")
        self._loader.woken(shard, customers)
        for customer in customers:
            self._engage.fire(shard, customer, record.watermark)

    def _step(self, shard: Shard, record: Signal | Step) -> None:
        """Work off a step of what a product has woken; who is interested is only known for sure now."""
        step = self._engage.signals.begin(shard, record)
        if step is None:
            return
        failpoint("engage.stepping")
        self._loader.interest(shard, step.product)
        page = self._engage.signals.page(shard, step)
        del shard.interested[step.product]  # it may be large, and this was what it was read for
        self._loader.told(shard, [customer for _, customer in page])
        self._engage.signals.work(shard, step, page)

    def _open(self, number: int, start: Start, stored: Stored) -> None:
        state = state_of(stored.state)
        for digest in state.models.values():
            self._loader.content("model", digest)
        if state.plays:
            self._loader.content("plays", state.plays)
        shard = self.shards[number] = Shard(number, start.offset, stored.r, state, start.floor)
        shard.timers.fill(self._store.timers({number: KEPT})[number], KEPT)

    def _drop(self) -> None:
        self.shards.clear()
        self._sizes = {}
        self._measured_at = 0.0
        self._visits.begin_anew()

    # -- committing --------------------------------------------------------------------------------------

    def _commit(self, shard: Shard) -> Commit:
        return Commit(
            shard.number,
            shard.stored,
            shard.r,
            pack(shard.state),
            shard.packed(),
            shard.timers.changed,
            shard.counters,
            shard.outbox,
            self._engage.signals.noted(shard),
        )

    def _due_ticks(self) -> list[Output]:
        """A tick for each owned shard with a due timer, at most one per shard and ``tick_ms``."""
        now = time.monotonic()
        interval = self._config.limits.tick_ms / 1000
        if now - self._watermark_at >= interval:
            self._watermark, self._watermark_at = self._read_watermark(), now
            metrics.TIMERS_OVERDUE.set(self._overdue())
        watermark = self._watermark
        if watermark is None:
            return []
        at = watermark if self._config.clock == "log" else self._now_ms()
        due = [shard for shard in self.shards.values() if self._needs_tick(shard, watermark, at, now - interval)]
        self._ticked.update((shard.number, now) for shard in due)
        value = stitched.encode(Tick(at=at, watermark=watermark))
        return [Output(shard.r, self._topic, shard.number, None, value) for shard in due]

    def _needs_tick(self, shard: Shard, watermark: int, at: int, last: float) -> bool:
        """Whether something is due, or was counted and has had to wait for a second to be told."""
        due = shard.timers.next_due()
        waits = bool(shard.state.tally) and at - shard.state.at >= TELL_AFTER
        return (waits or (due is not None and due <= watermark)) and self._ticked.get(shard.number, 0.0) <= last

    def _read_watermark(self) -> int | None:
        """The lowest time up to which every source partition is stitched; overridden when far behind."""
        try:
            # Commands are no touchpoints: nothing of a customer's history lies between them.
            watermark = self._identity.watermark(self._commands)
        except redis.RedisError as error:
            raise_if_denied(error)
            return self._watermark
        if watermark is None:
            return None
        if self._config.clock == "process":
            watermark = max(watermark, self._now_ms() - self._config.limits.watermark_override_minutes * 60_000)
        metrics.WATERMARK.set(watermark / 1000)
        return watermark
