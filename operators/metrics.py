"""The metrics of every flow process: lag, rates, latency, errors, commits.

Base units (seconds, records), counters end in ``_total``. Labels are bounded: flow, topic, partition,
play, reason code; never a customer, an identifier or any other value of a record.
Served by `flows.process` under ``/metrics``; build a label's child once, outside the hot loop::

    applied = RECORDS.labels("engage", "applied")
    applied.inc(len(batch))
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Info

#: Around the promise of a trigger within a second, p99 below 0.2 s.
LATENCY_BUCKETS: Final = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: One batch of up to 1,000 records takes 5 to 20 ms.
STAGE_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
BATCH_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)

BUILD: Final = Info("touchstream_build", "Version of touchstream, Python and Bytewax, and the flow that runs.")

RECORDS_CONSUMED: Final = Counter("touchstream_records_consumed_total", "Records read from a topic.", ["flow", "topic"])
#: result: applied, duplicate, erased, dead, stitched, suppressed, forwarded.
RECORDS: Final = Counter("touchstream_records_total", "Records by what became of them.", ["flow", "result"])
DEAD_LETTERS: Final = Counter("touchstream_dead_letters_total", "Records that could not be used.", ["reason"])
IDENTITY_CHANGES: Final = Counter("touchstream_identity_changes_total", "Identity changes written.", ["kind"])

TRIGGERS: Final = Counter("touchstream_triggers_total", "Triggers emitted.", ["play"])
#: outcome: emitted, stopped; code: the step that stopped it, empty when emitted.
DECISIONS: Final = Counter("touchstream_decisions_total", "Decisions by outcome.", ["play", "outcome", "code"])
#: result: converted, not_converted, not_observed (closed early), erased.
OUTCOMES: Final = Counter(
    "touchstream_outcomes_total", "Goals of decisions by what became of them.", ["play", "result"]
)
TRIGGER_LATENCY: Final = Histogram(
    "touchstream_trigger_latency_seconds",
    "From the broker's time of the touchpoint to the decision.",
    buckets=LATENCY_BUCKETS,
)

#: stage: decode, resolve, seal, fold, commit, publish ...
BATCH_SECONDS: Final = Histogram(
    "touchstream_batch_seconds", "Time a batch spends in a stage.", ["flow", "stage"], buckets=STAGE_BUCKETS
)
BATCH_RECORDS: Final = Histogram("touchstream_batch_records", "Records in a batch.", ["flow"], buckets=BATCH_BUCKETS)
LAG: Final = Gauge("touchstream_lag_records", "Records appended but not yet processed.", ["flow", "topic", "partition"])

COMMITS: Final = Counter("touchstream_commits_total", "Batches committed.", ["flow"])
COMMIT_CONFLICTS: Final = Counter(
    "touchstream_commit_conflicts_total", "Commits refused because another owner was first.", ["flow"]
)
#: kind: fresh (first start), crash (R >= K), rollback (R < K: Redis lost its last moments).
TAKEOVERS: Final = Counter("touchstream_takeovers_total", "Shards or partitions taken over.", ["flow", "kind"])
TRANSACTIONS_ABORTED: Final = Counter(
    "touchstream_transactions_aborted_total", "Kafka transactions aborted and repeated.", ["flow"]
)
REDIS_ERRORS: Final = Counter("touchstream_redis_errors_total", "Failed calls to Redis.", ["flow"])
REBALANCES: Final = Counter("touchstream_rebalances_total", "Changes of the assigned partitions.", ["flow"])
LAST_COMMIT: Final = Gauge("touchstream_last_commit_timestamp_seconds", "Unix time of the last commit.", ["flow"])

WATERMARK: Final = Gauge("touchstream_watermark_seconds", "Log time up to which all sources are stitched (Unix time).")
TICKS: Final = Counter("touchstream_tick_total", "Ticks appended.")
PARKED_TIMEOUTS: Final = Counter(
    "touchstream_parked_timeouts_total", "Merged customers that went on without the hand-over."
)
MODEL_ACTIVATIONS: Final = Counter("touchstream_model_activations_total", "Models activated by control records.")
