"""What is allowed: the values of a type in words, and the checks that look at several keys at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import inspect

from operators.contest import BASE, SERVED
from operators.features import FEATURES
from operators.keys import ATTRIBUTES, SEGMENT
from schemas.config import Config
from schemas.outputs import Kpis
from schemas.topics import ALIASES, COMMANDS, DATA_KEYS, DEAD_LETTERS, MODELS, OUTPUTS, PLAYS, STITCHED

#: What touchstream itself sets: exactly-once rests on it.
_OWN_PROPERTIES: Final = frozenset(
    {
        "bootstrap.servers", "group.id", "group.instance.id", "group.protocol", "transactional.id",
        "transaction.timeout.ms", "session.timeout.ms", "enable.auto.commit", "enable.auto.offset.store",
        "enable.idempotence", "acks", "isolation.level", "auto.offset.reset", "partition.assignment.strategy",
    }
)  # fmt: skip
_TOPIC: Final = re.compile(r"^[A-Za-z0-9._-]{1,200}$")
_NAME: Final = re.compile(r"^[a-z][a-z0-9_]{0,47}$")
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_PATTERNS: Final = {
    r"^[0-9a-f]{64}$": "64 lower-case hexadecimal digits, in quotes",
    r"^-----BEGIN ": "PEM text, or the name of a PEM file with `_file` after the key",
    r"^(redis|rediss|unix)://": "a URL that starts with redis://, rediss:// or unix://",
    r"^[A-Z]{2}$": "two capital letters",
    r"^[1-9][0-9]{0,5}[mhd]$": "a whole number of minutes, hours or days: 30m, 12h, 7d",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "a time of day, in quotes: '09:00'",
    r"^[a-z][a-z0-9_]{0,47}$": "up to 48 lower-case letters, digits and underscores, a letter first",
    r"^[a-z0-9][a-z0-9-]{0,30}$": "up to 31 lower-case letters, digits and hyphens, no hyphen first",
}


def describe(kind: Any) -> str:
    """The values a field's type allows, in words: ``describe(Port)`` is "a whole number from 0 to 65535"."""
    return _words(inspect.type_info(kind))


def check(config: Config) -> list[str]:
    """The faults that only show when several keys are seen together."""
    return [*_keys(config), *_topics(config), *_properties(config), *_identity(config), *_churn(config), *_kpis(config)]


def _words(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner):
            return _words(inner)
        case inspect.IntType() | inspect.FloatType():
            return ("a whole number" if isinstance(info, inspect.IntType) else "a number") + _bounds(info)
        case inspect.StrType():
            return _PATTERNS.get(info.pattern or "", "text")
        case inspect.LiteralType(values=values):
            return " or ".join(str(value) for value in values)
        case inspect.UnionType(types=types):
            return " or ".join(_words(each) for each in types)
        case inspect.BoolType():
            return "true or false"
        case inspect.DateTimeType():
            return "a time with its zone: 2026-11-27T00:00:00+08:00"
        case inspect.NoneType():
            return "nothing"
        case inspect.VarTupleType(item_type=item):
            return f"a list of {_words(item)}" + (", not empty" if info.min_length else "")
        case inspect.StructType(fields=fields):
            # Of what holds sections, to spell out all would be a page.
            if any([_holds_section(field.type) for field in fields]):
                return f"keys and values, of {', '.join(field.encode_name for field in fields)}"
            return "; ".join(f"{field.encode_name}: {_words(field.type)}" for field in fields)
        case _:
            return "keys and values"


def _holds_section(info: inspect.Type) -> bool:
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return any([isinstance(each, inspect.StructType) for each in types])


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    low = "" if info.ge is None else f" from {info.ge:g}" if isinstance(info.ge, float) else f" from {info.ge}"
    low = low if info.gt is None else f" above {info.gt}"
    return low + ("" if info.le is None else f" to {info.le}")


def _keys(config: Config) -> Iterator[str]:
    named = {"keys.index": config.keys.index, "keys.dead_letters": config.keys.dead_letters}
    named |= {f"keys.master.{name}": key for name, key in config.keys.master.items()}
    owner: dict[str, str] = {}
    for name, key in named.items():
        if owner.setdefault(key, name) != name:
            yield f"{name}: is the same key as {owner[key]}; each must be a random key of its own"


def _topics(config: Config) -> Iterator[str]:
    sources = config.topics.sources
    taken = {STITCHED, DEAD_LETTERS, DATA_KEYS, MODELS, PLAYS, COMMANDS, ALIASES, *OUTPUTS}
    for number, name in enumerate(sources):
        if not _TOPIC.match(name):
            allowed = "up to 200 letters, digits, dots, hyphens and underscores"
            yield f"topics.sources: {name!r} is not a topic name; allowed: {allowed}"
        if name in taken:
            yield f"topics.sources: {name!r} is a topic touchstream writes; name another"
        if name in sources[:number]:
            yield f"topics.sources: {name!r} is given twice"


def _properties(config: Config) -> Iterator[str]:
    for name in config.kafka.properties:
        if name in _OWN_PROPERTIES:
            yield f"kafka.properties.{name}: is set by touchstream and cannot be changed; remove it"


def _identity(config: Config) -> Iterator[str]:
    identity = config.identity
    for number, name in enumerate(identity.priority):
        if name in identity.priority[:number]:
            yield f"identity.priority: {name!r} is given twice"
    for entry in identity.blocked_patterns:
        name, _, pattern = entry.partition(":")
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"identity.blocked_patterns: {entry!r} is no regular expression: {error}"
        if not name or not pattern:
            yield f"identity.blocked_patterns: {entry!r} is not allowed; allowed: namespace:regular expression"
    for key in ("own_domains", "email_tags", "email_dots"):
        for domain in getattr(identity, key):
            if not _DOMAIN.fullmatch(domain) and not (domain == "*" and key != "own_domains"):
                yield f"identity.{key}: {domain!r} is not a domain; allowed: lower case, such as mail.example"
    hubs = [name for namespace in identity.namespaces.values() for name in namespace.hub]
    numbers = () if identity.customer_number is None else (identity.customer_number,)
    named = [*identity.namespaces, *hubs]
    for key, names in (("priority", identity.priority), ("namespaces", named), ("customer_number", numbers)):
        for name in names:
            if name != name.strip().lower():
                yield f"identity.{key}: {name!r} matches no identifier; allowed: lower case, no space around"


def _churn(config: Config) -> Iterator[str]:
    churn = config.churn
    for level in churn.keys:
        if level not in ATTRIBUTES and not (level.startswith(SEGMENT) and _NAME.match(level.removeprefix(SEGMENT))):
            yield f"churn.keys: {level!r} is not allowed; allowed: {', '.join(ATTRIBUTES)} or segment:NAME"
    for name, challenger in churn.challengers.items():
        if not _NAME.match(name) or name in (BASE, SERVED):
            allowed = f"{_PATTERNS[_NAME.pattern]}, but not {BASE} or {SERVED}"
            yield f"churn.challengers: {name!r} is not allowed; allowed: {allowed}"
        if unknown := [each for each in challenger.features if each not in FEATURES]:
            yield f"churn.challengers.{name}.features: {unknown[0]!r} is not known; there are: {', '.join(FEATURES)}"
    if churn.medium >= churn.high:
        yield f"churn.medium: {churn.medium} is not allowed; allowed: below churn.high, which is {churn.high}"
    elif churn.hysteresis >= min(churn.medium, churn.high - churn.medium):
        room = round(min(churn.medium, churn.high - churn.medium), 6)
        yield (
            f"churn.hysteresis: {churn.hysteresis} is not allowed; "
            f"allowed: below churn.medium and below the distance of the thresholds, {room}"
        )


def _kpis(config: Config) -> Iterator[str]:
    for name, alert in config.kpis.alerts.items():
        path = f"kpis.alerts.{name}"
        if alert.figure.partition(".")[0] not in Kpis.__struct_fields__:
            yield f"{path}.figure: {alert.figure} is no figure; allowed: a path that begins with " + " or ".join(
                Kpis.__struct_fields__
            )
        if (alert.below is None) == (alert.above is None):
            yield f"{path}: allowed: either below or above, and not both"
        elif alert.clear is not None and alert.passed(alert.clear):
            yield f"{path}.clear: {alert.clear:g} is beyond the threshold itself; allowed: a number that is not"
