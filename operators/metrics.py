"""The metrics of every flow process; docs/metrics.md is made from these definitions.

Base units (seconds, records, bytes), counters end in ``_total``. Labels are bounded: flow, topic, partition,
play, reason code; never a customer, an identifier or any other value of a record.
Served by `flows.process` under ``/metrics``; build a label's child once, count once a batch::

    applied = RECORDS.labels("engage", "applied")
    applied.inc(len(batch))

What can be looked up is not counted but `Sampled`, when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple
from weakref import WeakMethod

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

#: Around the promise of a trigger within a second, p99 below 0.2 s.
LATENCY_BUCKETS: Final = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: One batch of up to 1,000 records takes 5 to 20 ms.
STAGE_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
#: A call of Redis takes 0.1 to 5 ms.
REDIS_BUCKETS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
BATCH_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
#: A tick comes four times a second, and waits for the watermark.
TIMER_BUCKETS: Final = (0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)


class Row(NamedTuple):
    """One metric, as the table shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


#: Every metric that is defined here, in the order of the table.
METRICS: Final[list[Row]] = []

#: What the values of labels are.
LABELS: Final = {
    "by": "of a model key: `base` or a challenger, expecting examples before learning them; `served`: what scores said",
    "cache": "bodies, clusters, homes, identifiers, persons (stitch); profiles (engage)",
    "code": "`emitted`, or the step of governance that held or stopped the decision",
    "dimension": "completeness, validity, consistency, timeliness, uniqueness",
    "flow": "stitch, engage, learn, kpis, dashboard, or rewards (the other half of the learn process)",
    "kind": "of a take-over: fresh (first start), crash (R >= K), rollback (R < K: Redis lost its last moments); "
    "of an identity change: created, linked, merged, moved, split, quarantined, released, refused, erased, expired; "
    "of an alert: what it is about",
    "key": "the customers that a churn model is of, as in `churn.keys`; `default`: all",
    "measure": "examples, base_rate, auc, average_precision, log_loss, brier, ece",
    "operation": "a command of Redis in lower case; of a pipeline, its first",
    "partition": "of the topic; for engage that is the shard",
    "play": "a play by name",
    "reason": "why a record is a dead letter",
    "route": "a path of the web service, with its parameters' names; `pages`: all others",
    "result": "of a record: stitched, dead, erased, suppressed (stitch); applied, duplicates, erased, forwarded, "
    "absorbed (engage); of a goal: converted, not_converted, not_observed, erased",
    "since": "`event`: the touchpoint's own time; `append`: the broker's time of its record",
    "stage": "stitch, commit; load, decide, commit; learn, commit; sum, commit; and in each commit publish",
    "status": "of HTTP; 0: the client went away before it was answered",
    "topic": "with its prefix",
}


def counter(name: str, meaning: str, *labels: str) -> Counter:
    """Define a counter."""
    METRICS.append(Row(name, "counter", labels, meaning))
    return Counter(name, meaning, labels)


def gauge(name: str, meaning: str, *labels: str) -> Gauge:
    """Define a gauge."""
    METRICS.append(Row(name, "gauge", labels, meaning))
    return Gauge(name, meaning, labels)


def histogram(name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
    """Define a histogram."""
    METRICS.append(Row(name, "histogram", labels, meaning))
    return Histogram(name, meaning, labels, buckets=buckets)


#: Values of labels, and of the metric.
Sample = tuple[Sequence[str], float]


class Sampled(Collector):
    """A metric that is looked up when it is scraped, in the thread of whoever scrapes.

    Sources are methods; one whose object is gone is forgotten.
    """

    def __init__(self, type: str, name: str, meaning: str, *labels: str) -> None:
        METRICS.append(Row(name, type, labels, meaning))
        self._family = CounterMetricFamily if type == "counter" else GaugeMetricFamily
        self._name, self._meaning, self._labels = name, meaning, labels
        self._sources: list[WeakMethod[Callable[[], Iterable[Sample]]]] = []
        REGISTRY.register(self)

    def source(self, method: Callable[[], Iterable[Sample]]) -> None:
        """Ask ``method`` too."""
        self._sources.append(WeakMethod(method))

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Its name, without asking anybody."""
        return [self._family(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Ask all sources."""
        family = self._family(self._name, self._meaning, labels=self._labels)
        for reference in self._sources.copy():
            method = reference()
            if method is None:
                self._sources.remove(reference)
                continue
            for labels, value in method():
                family.add_metric(labels, value)
        return [family]


_BUILD: Final = "Versions of touchstream, Python and Bytewax, and the flow that runs."
BUILD: Final = Info("touchstream_build", _BUILD)
METRICS.append(Row("touchstream_build_info", "gauge", ("flow", "version", "bytewax", "python"), _BUILD))

# -- throughput ----------------------------------------------------------------------------------------------

RECORDS_CONSUMED: Final = counter("touchstream_records_consumed_total", "Records read.", "flow", "topic")
RECORDS: Final = counter("touchstream_records_total", "Records by what became of them.", "flow", "result")
RECORDS_PUBLISHED: Final = counter(
    "touchstream_records_published_total",
    "Records written, in committed transactions: triggers, decisions, scores, alerts and all others.",
    "flow",
    "topic",
)
ALERTS: Final = counter("touchstream_alerts_total", "Alerts written to the topic `alerts`.", "kind")
BATCH_SECONDS: Final = histogram(
    "touchstream_batch_seconds", "Time a batch spends in a stage.", STAGE_BUCKETS, "flow", "stage"
)
BATCH_RECORDS: Final = histogram("touchstream_batch_records", "Records in a batch.", BATCH_BUCKETS, "flow")
TRIGGER_LATENCY: Final = histogram(
    "touchstream_trigger_latency_seconds",
    "From the touchpoint to its trigger, committed to Kafka; triggers of timers left out.",
    LATENCY_BUCKETS,
    "since",
)

# -- lag -----------------------------------------------------------------------------------------------------

LAG_RECORDS: Final = Sampled(
    "gauge", "touchstream_lag_records", "Records appended but not yet read.", "flow", "topic", "partition"
)
LAG_SECONDS: Final = Sampled(
    "gauge",
    "touchstream_lag_seconds",
    "Age of the oldest record not yet processed; of the last progress, where that is unknown or the process is stuck.",
    "flow",
    "topic",
    "partition",
)
STABLE_AGE: Final = Sampled(
    "gauge",
    "touchstream_last_stable_offset_age_seconds",
    "How long the last stable offset has stood still behind the end: an open transaction holds up the readers.",
    "flow",
    "topic",
)
WATERMARK: Final = gauge(
    "touchstream_watermark_timestamp_seconds", "Log time up to which all sources are stitched, as engage reads it."
)

# -- commits -------------------------------------------------------------------------------------------------

COMMITS: Final = counter("touchstream_commits_total", "Batches committed.", "flow")
LAST_COMMIT: Final = gauge(
    "touchstream_last_commit_timestamp_seconds", "Unix time of the last commit; at first, of the start.", "flow"
)
COMMIT_CONFLICTS: Final = counter(
    "touchstream_commit_conflicts_total", "Commits refused because another owner was first.", "flow"
)
TAKEOVERS: Final = counter("touchstream_takeovers_total", "Partitions taken over.", "flow", "kind")
REBALANCES: Final = counter("touchstream_rebalances_total", "Assignments of partitions received.", "flow")
TRANSACTIONS_ABORTED: Final = counter(
    "touchstream_transactions_aborted_total", "Kafka transactions aborted and repeated.", "flow"
)
DELIVERY_FAILURES: Final = counter(
    "touchstream_delivery_failures_total", "Records in transactions that failed; they are written again.", "flow"
)
PRODUCER_QUEUE: Final = Sampled(
    "gauge", "touchstream_producer_queue_records", "Records handed to the producer and not yet acknowledged.", "flow"
)

# -- Redis and caches ----------------------------------------------------------------------------------------

REDIS_SECONDS: Final = histogram(
    "touchstream_redis_seconds", "Time of a round trip to Redis.", REDIS_BUCKETS, "flow", "operation"
)
REDIS_ERRORS: Final = counter("touchstream_redis_errors_total", "Failed round trips to Redis.", "flow", "operation")
REDIS_EVICTED: Final = Sampled(
    "counter", "touchstream_redis_evicted_keys_total", "Keys that Redis has evicted, which it must never do.", "flow"
)
REDIS_MEMORY: Final = Sampled("gauge", "touchstream_redis_memory_bytes", "Memory that Redis says it uses.", "flow")
CACHE_HITS: Final = Sampled("counter", "touchstream_cache_hits_total", "Found in the cache.", "flow", "cache")
CACHE_MISSES: Final = Sampled("counter", "touchstream_cache_misses_total", "Not found in the cache.", "flow", "cache")

# -- identity and data quality -------------------------------------------------------------------------------

IDENTITY_CHANGES: Final = counter(
    "touchstream_identity_changes_total", "Identity changes applied by engage, quarantines among them.", "kind"
)
IDENTIFIERS_UNUSABLE: Final = counter(
    "touchstream_identifiers_unusable_total", "Identifiers dropped as malformed, blocked or junk."
)
DEAD_LETTERS: Final = counter("touchstream_dead_letters_total", "Records that could not be used.", "reason")
SOURCE_RECORDS: Final = counter(
    "touchstream_source_records_total", "Touchpoints of a source, each counted when first stitched.", "topic"
)
SOURCE_DEFECTS: Final = counter(
    "touchstream_source_defects_total",
    "Touchpoints of a source with a defect: completeness (no channel, or an unusable identifier), validity (a dead "
    "letter), consistency (more than 30 s in the future, or identifiers of several people), timeliness (late: written "
    "more than 5 minutes after it happened), uniqueness (a duplicate, as engage finds it).",
    "topic",
    "dimension",
)

# -- shards and timers ---------------------------------------------------------------------------------------

SHARD_CUSTOMERS: Final = Sampled(
    "gauge", "touchstream_shard_customers", "Customers with a profile, without merged and erased ones.", "partition"
)
SHARD_TIMERS: Final = Sampled("gauge", "touchstream_shard_timers", "Customers with a timer.", "partition")
TICKS: Final = counter("touchstream_ticks_total", "Ticks appended.")
TIMER_LATENESS: Final = histogram(
    "touchstream_timer_lateness_seconds", "How late the first timer of a tick fired.", TIMER_BUCKETS
)
TIMERS_OVERDUE: Final = gauge(
    "touchstream_timers_overdue_seconds", "How long the oldest timer is due that has not fired; 0 if none is."
)
PARKED_TIMEOUTS: Final = counter(
    "touchstream_parked_timeouts_total", "Merged customers that went on without the hand-over."
)

# -- plays and models ----------------------------------------------------------------------------------------

TRIGGERS: Final = counter("touchstream_triggers_total", "Triggers emitted.", "play")
DECISIONS: Final = counter("touchstream_decisions_total", "Decisions by the step that settled them.", "play", "code")
OUTCOMES: Final = counter("touchstream_outcomes_total", "Goals of decisions by what became of them.", "play", "result")
JOURNEYS_REFUSED: Final = counter(
    "touchstream_journeys_refused_total", "Journeys not begun, since the customer is on too many."
)
MODEL_ACTIVATIONS: Final = counter(
    "touchstream_model_activations_total", "Models activated by control records, in each shard."
)
MODEL_QUALITY: Final = gauge(
    "touchstream_model_quality", "How good a churn model's latest predictions were.", "key", "by", "measure"
)

# -- the web service -----------------------------------------------------------------------------------------

HTTP_SECONDS: Final = histogram(
    "touchstream_http_seconds", "Time until a request was answered.", REDIS_BUCKETS, "route", "status"
)

# -- process -------------------------------------------------------------------------------------------------

IDLE: Final = Sampled(
    "gauge", "touchstream_loop_idle_seconds", "Since the loop came round; /healthz fails beyond 60.", "flow"
)


#: What these labels can be. A counter is to be there, at 0, before its first count: else nobody sees that come.
KINDS: Final[dict[Counter, tuple[str, ...]]] = {
    ALERTS: ("quarantined", "play_error", "model_drift", "model_broken", "model_promoted"),
    IDENTITY_CHANGES: (
        "created",
        "linked",
        "merged",
        "moved",
        "split",
        "quarantined",
        "released",
        "refused",
        "erased",
        "expired",
    ),
}


def expect(counters: Iterable[Counter]) -> None:
    """Let these be there at 0, by all their kinds."""
    for each in counters:
        for kind in KINDS[each]:
            each.labels(kind)


class Commits:
    """Counts the commits of one flow, and what happens to them."""

    def __init__(self, flow: str) -> None:
        self._done, self._last = COMMITS.labels(flow), LAST_COMMIT.labels(flow)
        self._last.set_to_current_time()
        self._taken = {kind: TAKEOVERS.labels(flow, kind) for kind in ("fresh", "crash", "rollback")}
        self._conflicts = COMMIT_CONFLICTS.labels(flow)

    def done(self) -> None:
        """A batch was committed."""
        self._done.inc()
        self._last.set_to_current_time()

    def refused(self) -> None:
        """Somebody else has committed."""
        self._conflicts.inc()

    def taken(self, kind: str) -> None:
        """A partition was taken over."""
        self._taken[kind].inc()


def redis_observer(flow: str) -> Callable[[str, float, bool], None]:
    """Counts the round trips of one flow: operation, seconds, whether it failed."""
    children: dict[str, tuple[Histogram, Counter]] = {}

    def observe(operation: str, seconds: float, failed: bool) -> None:
        known = children.get(operation)
        if known is None:
            names = flow, operation.lower()
            known = children[operation] = REDIS_SECONDS.labels(*names), REDIS_ERRORS.labels(*names)
        known[0].observe(seconds)
        if failed:
            known[1].inc()

    return observe
