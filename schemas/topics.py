"""The topics of a deployment: name, partitions, retention, compaction. One table, read by all."""

from __future__ import annotations

import msgspec

from schemas.config import Config


class Topic(msgspec.Struct, frozen=True):
    """One topic. ``compact`` keeps the last value per key for ever instead of a time; ``append_time``: records carry
    the broker's time, against which writers check their clocks; ``max_message_bytes``: None is the broker's default."""

    name: str
    partitions: int
    retention_ms: int
    compact: bool = False
    fixed: bool = False
    append_time: bool = False
    max_message_bytes: int | None = None


#: What the flows write may be this large: a sealed dead letter is a third larger than the record it holds.
LARGEST_OUTPUT = 16_000_000
#: Outputs, keyed by customer (audit: by command).
OUTPUTS = (
    "triggers", "decisions", "outcomes", "segments", "scores", "identity.changes", "audit", "alerts", "churn.examples",
)  # fmt: skip
STITCHED, DEAD_LETTERS, DATA_KEYS, MODELS, PLAYS = "stitched", "dead-letters", "data-keys", "models", "plays"
#: What operators decide of identity; only touchstream's own commands may write there.
COMMANDS = "commands"
AUDIT, ALERTS, ALIASES, SEGMENTS = "audit", "alerts", "aliases", "segments"
#: What the shards have counted, and the figures of the shop that it adds up to.
PARTIALS, KPIS = "kpi.partials", "kpis"
_DAY = 86_400_000
#: So long (ms) at least it can be told who saw and did what.
AUDIT_KEPT = 400 * _DAY
#: Partitions of outputs at most: of triggers, whose readers call others for each and so are several, and of what is
#: read and no more. A transaction takes .3 to .5 ms longer for each partition it writes to, however little.
_ACTED_ON, _READ = 8, 2


def outcome_partitions(config: Config) -> int:
    """The partitions of ``outcomes``, fixed: what was learned is kept by them."""
    return min(config.topics.shards, 8)


def topic_name(config: Config, name: str) -> str:
    """The deployment's own name of ``name``: ``PREFIX.NAME``."""
    return f"{config.prefix}.{name}"


def inputs(config: Config) -> list[str]:
    """What stitch reads: the sources, and what operators decide."""
    return [topic_name(config, name) for name in (*config.topics.sources, COMMANDS)]


def topics(config: Config) -> list[Topic]:
    """Every topic the deployment needs. What flows keep by partition is fixed in these."""
    keep = config.topics.retention_days * _DAY
    wide = config.topics.shards

    def own(
        name: str, partitions: int, *, compact: bool = False, fixed: bool = False, append_time: bool = False
    ) -> Topic:
        kept = max(keep, AUDIT_KEPT) if name == AUDIT else keep
        return Topic(topic_name(config, name), partitions, kept, compact, fixed, append_time, LARGEST_OUTPUT)

    return [
        *(Topic(topic_name(config, name), config.topics.source_partitions, keep) for name in config.topics.sources),
        own(COMMANDS, 1, fixed=True),
        own(STITCHED, wide, fixed=True, append_time=True),
        own("churn.examples", 1, fixed=True),
        own(PARTIALS, 1, fixed=True),
        own(KPIS, 1, fixed=True),
        own(DEAD_LETTERS, 1),
        own(DATA_KEYS, 1, compact=True),
        own(MODELS, 1, compact=True),
        own(PLAYS, 1, compact=True),
        own(ALIASES, 1, compact=True),
        own("outcomes", outcome_partitions(config), fixed=True),
        own("triggers", min(wide, _ACTED_ON)),
        *(own(name, min(wide, _READ)) for name in ("decisions", SEGMENTS, "scores", "identity.changes")),
        # Few records, read by people: one partition keeps them in order.
        *(own(name, 1) for name in (AUDIT, ALERTS)),
    ]
