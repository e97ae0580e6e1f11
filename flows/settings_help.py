"""What each configuration key means: one table, shown in the example file, the JSON Schema and the docs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
import yaml

from schemas.config import SECRET, Config, Section

DESCRIPTIONS: Final[dict[str, str]] = {
    "keys": "256-bit keys, 64 hexadecimal digits each. Keep them secret and backed up.",
    "keys.index": "Hashes identifiers into index keys and customer ids. Never change it: every customer would be new.",
    "keys.dead_letters": "Seals the original bytes of dead letters; needed to list and replay them.",
    "keys.master": "Wraps the customers' data keys, by name. To rotate, add one: the last is used.",
    "prefix": "Begins the names of topics, consumer groups and Redis keys. One per deployment.",
    "clock": "process: records are stamped when stitched. log: they bring their time in `at` (simulators, history).",
    "kafka": "The Kafka cluster.",
    "kafka.bootstrap": "Brokers to ask first, host:port, separated by commas.",
    "kafka.tls": "Encrypt, and check the brokers' certificates and host names.",
    "kafka.ca": "Certificates (PEM) that sign the brokers'; the system's if empty. Mostly as ca_file.",
    "kafka.certificate": "Our own certificate (PEM, with its chain), for brokers that ask for one (mTLS).",
    "kafka.private_key": "Its key (PEM, not encrypted). Mostly as private_key_file.",
    "kafka.sasl": "How to sign in with user and password.",
    "kafka.user": "Name to sign in with.",
    "kafka.password": "Password to sign in with. Mostly as password_file.",
    "kafka.properties": "Further librdkafka client properties: {client.rack: a}.",
    "kafka.session_timeout_ms": "A crashed process' partitions go to others after this long.",
    "kafka.transaction_timeout_ms": "A crashed process' open transaction holds up readers for at most this long.",
    "redis": "Redis or Valkey, which holds all state.",
    "redis.url": "redis://, rediss:// (TLS) or unix://, with user, password and database if needed.",
    "redis.user": "ACL user to sign in as, if not in the URL.",
    "redis.password": "Its password. Mostly as password_file.",
    "redis.ca": "Certificates (PEM) that sign the server's, for rediss://; the system's if empty.",
    "redis.certificate": "Our own certificate (PEM, with its chain), for servers that ask for one (mTLS).",
    "redis.private_key": "Its key (PEM, not encrypted). Mostly as private_key_file.",
    "redis.timeout_seconds": "A call that takes longer has failed.",
    "redis.cluster": "Whether this is a Redis Cluster; the URL is then that of any of its nodes.",
    "topics": "What the topics are created with, and which are read.",
    "topics.sources": "Topics of touchpoints, without the prefix.",
    "topics.source_partitions": "Partitions of each source topic when created.",
    "topics.shards": "Partitions of `stitched`: the most processes engage can use. Fixed at creation.",
    "topics.replication": "Copies of each partition; 3 in production.",
    "topics.retention_days": "How long records are kept, and so how old a Redis backup can be and still catch up.",
    "identity": "How touchpoints become customers.",
    "identity.default_country": "Country of phone numbers without a country code (ISO 3166, two letters).",
    "identity.blocked": "Values that identify nobody, as namespace:value, beside the built-in junk list.",
    "identity.blocked_patterns": "Regular expressions of such values, as namespace:pattern; must match all of a value.",
    "identity.own_domains": "The shop's own e-mail domains: an address there is typed by staff and identifies nobody.",
    "identity.email_tags": "Domains at which ann+shop@ is ann@; '*' for all.",
    "identity.email_dots": "Domains at which li.wei@ is liwei@; '*' for all.",
    "identity.rules": "retail: limits and treatments for shops. union: whatever was seen together is one customer.",
    "identity.priority": "Namespaces, strongest first, instead of the order of those rules.",
    "identity.namespaces": "Rules of single namespaces instead of those: {phone: {limit: 2, hub: {member: 5}}}.",
    "identity.undo_days": "A merge can be undone for so many days; 0 keeps nothing to undo it with.",
    "identity.anonymous": "Namespaces whose identifiers tell a device, not a person.",
    "identity.anonymous_days": "Who is known by those alone and silent for so many days is forgotten; 0: never.",
    "identity.customer_number": "Namespace of your own number of a customer: triggers carry it, sealed. Empty: none.",
    "privacy": "What happens to data nobody has declared.",
    "privacy.unknown_fields": "Fields no schema knows: drop them, or seal them with the customer's data key.",
    "churn": "The prediction of who is about to leave.",
    "churn.horizon_days": "No purchase within this many days is churn.",
    "churn.grid_days": "Each customer is scored every so many days, beside each purchase.",
    "churn.medium": "Probability from which the band is medium.",
    "churn.high": "Probability from which the band is high.",
    "churn.hysteresis": "A band is left only when the probability falls this far below its threshold.",
    "churn.publish_examples": "A new model is published after this many matured examples",
    "churn.publish_seconds": "and not more often than every so many seconds.",
    "churn.publish_each": "The first is published when so many examples of each class have been learned.",
    "churn.keys": "Customers alike get models of their own: [country, 'segment:vip'], each below the one before.",
    "churn.challengers": "Models that learn beside the one in force, by name: {fast: {rate: 0.01, features: []}}.",
    "churn.promote": "command: a challenger is put in force by hand alone. better: also where it is surely better.",
    "churn.promote_examples": "So many examples are compared before that is asked, each time.",
    "churn.promote_margin": "By how much its log loss must surely be lower.",
    "kpis": "The figures of the shop.",
    "kpis.alerts": "Alerts on them, by name: {no_orders: {figure: orders, below: 1, minutes: 15, clear: 5}}.",
    "limits": "Bounds of memory, time and trust.",
    "limits.batch": "Records taken at once.",
    "limits.commit_interval_ms": "After a batch that was not full the next begins no sooner; each is a transaction.",
    "limits.cached_bytes": "About how many bytes of memory a process of engage gives to the profiles it keeps.",
    "limits.park_seconds": "A merged customer's records wait at most this long for the hand-over,",
    "limits.park_records": "and at most this many of them.",
    "limits.timers_per_tick": "Customers whose timers fire on one tick; the rest follow on the next.",
    "limits.customers_per_step": "Customers told of a product at once; the rest follow after other records.",
    "limits.tick_ms": "A shard with due timers appends ticks no more often than this.",
    "limits.watermark_override_minutes": "A watermark further behind than this no longer holds timers back.",
    "limits.clock_skew_seconds": "A process whose clock differs more than this from the broker's stops.",
    "limits.dead_letter_ratio": "Share of dead letters at which stitch stops; 1 never stops.",
    "limits.dead_letter_window": "The number of last records that share is taken of.",
    "limits.drain_seconds": "A process told to stop has this long to finish its batch.",
    "limits.ready_lag_seconds": "A process that starts is ready once it is no further behind than this.",
    "metrics": "/metrics, /healthz and /readyz of each process.",
    "metrics.host": "Address to listen on; 0.0.0.0 for all.",
    "metrics.port": "Port; 0 picks a free one, empty serves nothing. `run all` gives each flow the next port.",
    "log": "Logs on standard error; never with personal values.",
    "log.format": "json (one object a line) or text.",
    "log.level": "debug, info, warning or error.",
    "dashboard": "The web service: live screens and the read API (`touchstream dashboard`).",
    "dashboard.host": "Address to listen on. Beyond this machine only if tokens exist (`touchstream tokens create`).",
    "dashboard.port": "Port; 0 picks a free one.",
    "dashboard.certificate": "Certificate (PEM, with its chain) for https; none: http. Mostly as certificate_file.",
    "dashboard.private_key": "Its key (PEM, not encrypted). Mostly as private_key_file.",
    "dashboard.hosts": "Host names it answers to; none: on a loopback address that machine's own, else any.",
    "dashboard.behind_proxy": "A proxy in front ends TLS and sets X-Forwarded-For and -Proto; nobody else reaches it.",
    "dashboard.session_hours": "Who has signed in must do so again after this long.",
    "dashboard.requests_per_minute": "Requests of one token; more are refused (429).",
    "dashboard.looks_per_minute": "Customers that one token may look at unmasked.",
    "dashboard.sign_ins_per_minute": "Attempts to sign in from one address.",
    "dashboard.why_seconds": "So long an answer to `why` may read topics, before it says that this was too short.",
}

_HEAD = """\
# Configuration of one touchstream deployment. What is commented out is the default.
# Environment: TOUCHSTREAM_KAFKA__BOOTSTRAP=host:9092 overrides kafka.bootstrap, and so on.
# Any key may come from a file: `index_file: /run/secrets/index` instead of `index: ...`.
# Check with `touchstream config check`.
"""


def example() -> str:
    """A commented ``touchstream.yaml`` with the defaults and fresh random keys."""
    return _HEAD + "\n".join(_lines()) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the configuration file, with descriptions."""
    schema = msgspec.json.schema(Config)
    definitions = schema["$defs"]
    for key, text in DESCRIPTIONS.items():
        section, _, name = key.rpartition(".")
        owner = definitions[section.capitalize() if section else "Config"]
        owner["properties"][name]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "touchstream.yaml", **schema}


def shown(config: Config) -> str:
    """The configuration in force as YAML; of what is secret only that it is there, and of URLs what they name."""
    tree = msgspec.to_builtins(config)
    for path in SECRET:
        section, _, name = path.rpartition(".")
        owner = tree[section] if section else tree
        owner[name] = _masked(owner[name])
    url = urlsplit(config.redis.url)
    tree["redis"]["url"] = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(each) for name, each in value.items()}
    return None if value is None else "***"


def _lines() -> Iterator[str]:
    for field in msgspec.structs.fields(Config):
        yield ""
        yield f"# {DESCRIPTIONS[field.name]}"
        if field.name == "keys":
            yield from _keys()
        elif isinstance(field.default, Section):
            yield f"{field.name}:"
            yield from _section(field.name, field.default)
        else:
            yield f"# {field.name}: {_scalar(field.default)}"


def _keys() -> Iterator[str]:
    # Quoted: a key of digits alone would be read as a number.
    yield "keys:"
    for name in ("index", "dead_letters"):
        yield f"  # {DESCRIPTIONS[f'keys.{name}']}"
        yield f'  {name}: "{secrets.token_hex(32)}"'
    yield f"  # {DESCRIPTIONS['keys.master']}"
    yield f'  master:\n    first: "{secrets.token_hex(32)}"'


def _section(name: str, section: Section) -> Iterator[str]:
    for key in section.__struct_fields__:
        yield f"  # {DESCRIPTIONS[f'{name}.{key}']}"
        yield f"  # {key}: {_scalar(getattr(section, key))}".rstrip()


def _scalar(value: object) -> str:
    """``value`` as it stands in YAML on one line; nothing for None."""
    if value is None:
        return ""
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
