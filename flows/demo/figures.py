"""What the demo knows of the run: plain data, filled by the feed and the sampler, read by the page."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.outputs import DeadLetter, Score, Trigger

#: Latencies shown live are those of the last triggers; the account's, of the whole run (its last 200,000).
RECENT, KEPT, LISTED = 500, 200_000, 200


class Emitted(NamedTuple):
    """One trigger as shown: ``at`` is the log's clock (ms), ``latency`` in ms, None when a timer gave birth to it."""

    at: int
    play: str
    customer: str
    channel: str
    latency: int | None
    detail: str


class Latency(NamedTuple):
    """Touchpoint to trigger, in ms; None without one."""

    p50: int | None
    p99: int | None


@dataclass
class Figures:
    """``counts`` is engage's account in Redis, ``lag`` the records each flow is behind (None: not known),
    ``written`` the retailer's own count, known at the end, ``url`` where the live screens are (empty: not yet)."""

    began: float = field(default_factory=time.monotonic)
    phase: str = "starting"
    running_since: float | None = None
    written: dict[str, int] = field(default_factory=dict)
    clock: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    learned: int = 0
    models: int = 0
    lag: dict[str, int | None] = field(default_factory=dict)
    per_second: float = 0.0
    restarts: int = 0
    url: str = ""
    triggers: Counter[str] = field(default_factory=Counter)
    last: dict[str, Emitted] = field(default_factory=dict)
    emitted: deque[Emitted] = field(default_factory=lambda: deque(maxlen=LISTED))
    dead: Counter[str] = field(default_factory=Counter)
    bands: dict[str, str] = field(default_factory=dict)
    _latencies: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    _seen: set[str] = field(default_factory=set)

    # -- what comes in -------------------------------------------------------------------------------------

    def on_trigger(self, trigger: Trigger, written_at: int) -> Emitted | None:
        """Count a trigger; None if it was seen before (the embedded broker shows aborted transactions)."""
        if trigger.id in self._seen:
            return None
        self._seen.add(trigger.id)
        data = trigger.data
        latency = max(0, written_at - data.touchpoint_ts) if data.touchpoint_ts else None
        if latency is not None:
            self._latencies.append(latency)
            self._recent.append(latency)
        emitted = Emitted(data.decided_at, data.play, data.customer, data.channel, latency, _detail(trigger))
        self.triggers[data.play] += 1
        self.last[data.play] = emitted
        self.emitted.append(emitted)
        self.clock = max(self.clock, data.decided_at)
        return emitted

    def on_dead_letter(self, letter: DeadLetter) -> None:
        """Count a dead letter by its reason, once per source record."""
        position = f"{letter.topic}/{letter.partition}/{letter.offset}"
        if position not in self._seen:
            self._seen.add(position)
            self.dead[letter.reason] += 1

    def on_score(self, score: Score) -> None:
        """Remember a customer's band."""
        self.bands[score.customer] = score.band
        self.clock = max(self.clock, score.at)

    # -- what is made of it --------------------------------------------------------------------------------

    @property
    def finished(self) -> int:
        """Touchpoints whose way has ended."""
        return sum(self.counts.get(name, 0) for name in ("applied", "duplicates", "erased")) + self.dead.total()

    @property
    def merges(self) -> int:
        """Customers that turned out to be another."""
        return self.counts.get("identity_merged", 0)

    @property
    def customers(self) -> int:
        """Customers known now."""
        return self.counts.get("identity_created", 0) - self.merges

    @property
    def plays(self) -> list[str]:
        """Every play that has decided anything, the one with the most triggers first."""
        decided = {name.split("/")[1] for name in self.counts if name.startswith("decision/")}
        return sorted(decided | self.triggers.keys(), key=lambda play: (-self.triggers[play], play))

    def decided(self, play: str) -> dict[str, int]:
        """Decisions of a play by code, ``emitted`` among them."""
        start = f"decision/{play}/"
        return {name.removeprefix(start): n for name, n in self.counts.items() if name.startswith(start)}

    @property
    def decided_triggers(self) -> int:
        """Triggers that engage has committed."""
        return sum(self.decided(play).get("emitted", 0) for play in self.plays)

    @property
    def total_lag(self) -> int | None:
        """Records that stitch and engage are behind, together."""
        known = [lag for flow, lag in self.lag.items() if lag is not None and flow != "learn"]
        return sum(known) if len(known) == 2 else None

    @property
    def latency(self) -> Latency:
        """Of the whole run."""
        return percentiles(self._latencies)

    @property
    def recent_latency(self) -> Latency:
        """Of the last triggers."""
        return percentiles(self._recent)

    @property
    def measured(self) -> int:
        """Triggers that a touchpoint gave birth to."""
        return len(self._latencies)

    @property
    def running_seconds(self) -> float:
        """Since the first touchpoint was asked for."""
        return time.monotonic() - self.running_since if self.running_since is not None else 0.0


def percentiles(values: Sequence[int] | deque[int]) -> Latency:
    """Median and 99th percentile by nearest rank."""
    if not values:
        return Latency(None, None)
    ranked = sorted(values)
    return Latency(ranked[(len(ranked) - 1) // 2], ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)])


def _detail(trigger: Trigger) -> str:
    """What the play says of this case, in a few words."""
    data = trigger.data
    parts = [f"{name} {value}" for name, value in data.values.items()]
    if data.score is not None:
        parts.append(f"p(leaves) {data.score:.2f}")
    return ", ".join(parts)
