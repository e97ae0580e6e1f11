"""The configuration, as frozen structs. ``touchstream.yaml`` holds them; `flows.settings` loads them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from schemas.policy import POLICIES, Namespace, Policy

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Key256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Pem = Annotated[str, msgspec.Meta(pattern=r"^-----BEGIN ")]
Name = Annotated[str, msgspec.Meta(min_length=1)]

#: Values that hold passwords and keys: never shown.
SECRET: Final = (
    "keys", "kafka.properties", "kafka.private_key", "kafka.password", "redis.url", "redis.private_key",
    "redis.password", "dashboard.private_key",
)  # fmt: skip


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: frozen, and an unknown key is a fault."""


class Kafka(Section):
    """``ca``, ``certificate`` and ``private_key`` are PEM texts, mostly given as files (``ca_file``). ``properties`` go
    to every client as they are."""

    bootstrap: Name = "localhost:9092"
    tls: bool = False
    ca: Pem | None = None
    certificate: Pem | None = None
    private_key: Pem | None = None
    sasl: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] | None = None
    user: Name | None = None
    password: Name | None = None
    properties: dict[str, str | int | bool] = {}
    session_timeout_ms: Annotated[int, msgspec.Meta(ge=1000, le=300_000)] = 6_000
    transaction_timeout_ms: Annotated[int, msgspec.Meta(ge=1000, le=10_000)] = 10_000

    def __repr__(self) -> str:
        """Never passwords: representations end up in logs and test reports."""
        return f"Kafka(bootstrap={self.bootstrap!r}, tls={self.tls}, sasl={self.sasl!r}, ...)"


class Redis(Section):
    """TLS is what a ``rediss://`` URL asks for; PEM texts as in `Kafka`. ``cluster``: the URL is that of any node of a
    Redis Cluster."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(redis|rediss|unix)://")] = "redis://localhost:6379/0"
    user: Name | None = None
    password: Name | None = None
    ca: Pem | None = None
    certificate: Pem | None = None
    private_key: Pem | None = None
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    cluster: bool = False

    def __repr__(self) -> str:
        """Never passwords, of which the URL may hold one."""
        return f"Redis(user={self.user!r}, ...)"


class Topics(Section):
    """``sources`` are read by stitch; ``shards`` is the partition count of ``stitched``, fixed at creation."""

    sources: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("touchpoints",)
    source_partitions: Positive = 8
    shards: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    replication: Positive = 1
    retention_days: Positive = 30


class Keys(Section):
    """256-bit keys in hex. ``index`` never rotates; ``master`` wraps data keys, the last one is current."""

    index: Key256
    dead_letters: Key256
    master: Annotated[dict[str, Key256], msgspec.Meta(min_length=1)]

    def __repr__(self) -> str:
        """Never the keys themselves: representations end up in logs and test reports."""
        return f"Keys(master={list(self.master)}, ...)"


class Identity(Section):
    """``blocked`` adds ``namespace:value`` entries to the default junk list, ``blocked_patterns`` ``namespace:regular
    expression``, ``own_domains`` the shop's own e-mail domains. At the domains ``email_tags`` and ``email_dots`` ("*":
    all) sub-addresses and dots of an address do not matter. ``rules`` is a policy of
    `schemas.policy`, of which ``namespaces`` replaces single namespaces and ``priority``, if given, the order. A merge
    can be undone for ``undo_days``. ``customer_number``: the namespace of the retailer's own number of a customer,
    which travels with triggers, sealed. Who is known by identifiers of the namespaces ``anonymous`` alone and has been
    silent for ``anonymous_days`` is forgotten (0: nobody is)."""

    default_country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$")] = "CN"
    blocked: tuple[str, ...] = ()
    blocked_patterns: tuple[str, ...] = ()
    own_domains: tuple[str, ...] = ()
    email_tags: tuple[str, ...] = ()
    email_dots: tuple[str, ...] = ()
    rules: Literal["retail", "union"] = "retail"
    priority: tuple[str, ...] = ()
    namespaces: dict[str, Namespace] = {}
    undo_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 30
    customer_number: str | None = "member"
    anonymous: tuple[str, ...] = ("device", "cookie", "advertising_id", "household")
    anonymous_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0

    def policy(self) -> Policy:
        """The policy that these settings make."""
        base = POLICIES[self.rules]
        return msgspec.structs.replace(
            base, priority=self.priority or base.priority, namespaces={**base.namespaces, **self.namespaces}
        )


class Privacy(Section):
    """Unknown fields are dropped, or kept sealed with the customer's data key."""

    unknown_fields: Literal["drop", "seal"] = "drop"


class Challenger(Section):
    """A model that learns beside the one in force: its step size ``rate``, and the ``features`` it reads (none:
    all)."""

    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.003
    features: tuple[str, ...] = ()


class Churn(Section):
    """No purchase within ``horizon_days`` is churn; scored every ``grid_days``; bands at ``medium`` and ``high``.
    Published every ``publish_examples`` and ``publish_seconds``, from ``publish_each`` examples of each class on.
    Models of their own for customers who are alike in ``keys``, each level below the one before."""

    horizon_days: Positive = 28
    grid_days: Positive = 7
    medium: Share = 0.5
    high: Share = 0.8
    hysteresis: Share = 0.05
    publish_examples: Positive = 200
    publish_seconds: Positive = 60
    publish_each: Positive = 50
    keys: tuple[str, ...] = ()
    challengers: dict[str, Challenger] = {}
    promote: Literal["command", "better"] = "command"
    promote_examples: Annotated[int, msgspec.Meta(ge=2_000)] = 10_000
    promote_margin: Annotated[float, msgspec.Meta(ge=0)] = 0.001


class Threshold(Section):
    """An alert: the ``figure`` of `schemas.outputs.Kpis`, by its path (``plays.welcome.sent``: the sum of its parts),
    is ``below`` or ``above`` a number in each of so many ``minutes``. It is over when it has come back to ``clear``
    (the threshold itself if not given)."""

    figure: Annotated[str, msgspec.Meta(min_length=1)]
    below: float | None = None
    above: float | None = None
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 1
    clear: float | None = None

    def passed(self, value: float) -> bool:
        """Whether a value is beyond the threshold."""
        return (self.below is not None and value < self.below) or (self.above is not None and value > self.above)

    def back(self, value: float) -> bool:
        """Whether a value is back at ``clear``."""
        if self.clear is None:
            return not self.passed(value)
        return value >= self.clear if self.below is not None else value <= self.clear


class Kpis(Section):
    """``alerts`` by name: thresholds of the figures of the shop, judged every minute."""

    alerts: dict[str, Threshold] = {}


class Limits(Section):
    """``park_*``: how long a merged customer's records wait for the hand-over. ``dead_letter_ratio``: share of
    dead letters among the last ``dead_letter_window`` records at which stitch stops (1 never stops)."""

    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    commit_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 20
    cached_bytes: Positive = 512_000_000
    park_seconds: Positive = 10
    park_records: Positive = 1_000
    timers_per_tick: Positive = 500
    customers_per_step: Positive = 500
    tick_ms: Annotated[int, msgspec.Meta(ge=250)] = 250
    watermark_override_minutes: Positive = 15
    clock_skew_seconds: Positive = 30
    dead_letter_ratio: Share = 0.5
    dead_letter_window: Positive = 10_000
    drain_seconds: Positive = 30
    ready_lag_seconds: Positive = 60


class Metrics(Section):
    """Where metrics and health are served; port 0 picks a free one, None serves nothing."""

    host: str = "127.0.0.1"
    port: Port | None = None


class Dashboard(Section):
    """The web service: where it listens, and with which certificate (PEM texts, as in `Kafka`; none: no TLS).
    ``hosts``: the names it answers to (none: on a loopback address that machine's own, else any). ``behind_proxy``:
    a proxy before it ends TLS and says whose request it is. ``*_per_minute`` are of one token (sign-ins: of one
    address); a look is at a customer's values, unmasked."""

    host: Name = "127.0.0.1"
    port: Port = 8080
    certificate: Pem | None = None
    private_key: Pem | None = None
    hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    session_hours: Annotated[int, msgspec.Meta(ge=1, le=720)] = 12
    requests_per_minute: Positive = 1_200
    looks_per_minute: Positive = 30
    sign_ins_per_minute: Positive = 10
    why_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0

    def __repr__(self) -> str:
        """Never the private key."""
        return f"Dashboard(host={self.host!r}, port={self.port}, ...)"


class Log(Section):
    format: Literal["json", "text"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """One deployment. ``prefix`` names its topics, groups and Redis keys; ``clock`` is the process' own
    (production) or the log's (records bring their time: simulators, replays of history)."""

    keys: Keys
    prefix: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")] = "ts"
    clock: Literal["process", "log"] = "process"
    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    topics: Topics = Topics()
    identity: Identity = Identity()
    privacy: Privacy = Privacy()
    churn: Churn = Churn()
    kpis: Kpis = Kpis()
    limits: Limits = Limits()
    metrics: Metrics = Metrics()
    log: Log = Log()
    dashboard: Dashboard = Dashboard()
