"""What signing in and TLS need to be whole: faults told at the door, which else would be refused connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

from schemas.config import Config, Dashboard, Kafka, Redis

#: librdkafka's names of what has keys of its own.
_OWN_KEYS: Final = {
    "security.protocol": "tls and sasl",
    "ssl.ca.pem": "ca",
    "ssl.ca.location": "ca",
    "ssl.certificate.pem": "certificate",
    "ssl.certificate.location": "certificate",
    "ssl.key.pem": "private_key",
    "ssl.key.location": "private_key",
    "sasl.mechanism": "sasl",
    "sasl.mechanisms": "sasl",
    "sasl.username": "user",
    "sasl.password": "password",
}
#: As a Host header says it, without the port; an IPv6 address in brackets.
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]")
_TLS_KEYS: Final = ("ca", "certificate", "private_key")


def check_access(config: Config) -> list[str]:
    """The faults of TLS and sign-in, to Kafka and Redis and of the web service; no value is ever told."""
    return [*_kafka(config.kafka), *_redis(config.redis), *_dashboard(config.dashboard)]


def _dashboard(settings: Dashboard) -> Iterator[str]:
    yield from _pem("dashboard", settings)
    for name in settings.hosts:
        if not _HOST.fullmatch(name):
            yield f"dashboard.hosts: {name!r} is no host name; allowed: lower case, without a port: shop.example"


def _kafka(kafka: Kafka) -> Iterator[str]:
    if not kafka.tls:
        yield from _unused("kafka", kafka, "kafka.tls is off; set it to true")
    yield from _pem("kafka", kafka)
    for name in ("user", "password"):
        if kafka.sasl is None and getattr(kafka, name) is not None:
            yield f"kafka.{name}: is given, but kafka.sasl does not say how to sign in"
        elif kafka.sasl is not None and getattr(kafka, name) is None:
            yield f"kafka.{name}: is missing; kafka.sasl: {kafka.sasl} signs in with user and password"
    if kafka.sasl == "PLAIN" and not kafka.tls:
        yield "kafka.sasl: PLAIN sends the password in the clear; set kafka.tls to true, or use SCRAM-SHA-512"
    if kafka.tls or kafka.sasl:
        for name in sorted(_OWN_KEYS.keys() & kafka.properties.keys()):
            yield f"kafka.properties.{name}: say it by kafka.{_OWN_KEYS[name]} instead, as tls or sasl is set"


def _redis(redis: Redis) -> Iterator[str]:
    try:
        url = urlsplit(redis.url)
    except ValueError:
        yield "redis.url: is not a URL (value not shown)"
        return
    if url.scheme != "rediss":
        yield from _unused("redis", redis, "redis.url asks for no TLS; begin it with rediss://")
    yield from _pem("redis", redis)
    asked = parse_qs(url.query)
    if (redis.ca or redis.certificate) and any([name.startswith("ssl_") for name in asked]):
        yield "redis.url: has options ssl_... beside redis.ca or redis.certificate; keep one of the two"
    in_url = {"user": url.username or "username" in asked, "password": url.password or "password" in asked}
    for name, given in in_url.items():
        if given and getattr(redis, name) is not None:
            yield f"redis.{name}: redis.url holds one as well; keep one of the two"
    if redis.user is not None and redis.password is None:
        yield "redis.password: is missing; redis.user signs in with it"


def _unused(section: str, settings: Kafka | Redis, why: str) -> Iterator[str]:
    for name in _TLS_KEYS:
        if getattr(settings, name) is not None:
            yield f"{section}.{name}: is given, but {why}"


def _pem(section: str, settings: Kafka | Redis | Dashboard) -> Iterator[str]:
    """What is wrong with the certificates and the key."""
    ca = None if isinstance(settings, Dashboard) else settings.ca
    if ca is None and settings.certificate is None and settings.private_key is None:
        return
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    own = key = None
    for name, text in (("ca", ca), ("certificate", settings.certificate)):
        try:
            found = load_pem_x509_certificates(text.encode()) if text else []
            own = found[0] if found and name == "certificate" else own
        except ValueError:
            yield f"{section}.{name}: is not a certificate in PEM form"
    try:
        key = load_pem_private_key(settings.private_key.encode(), None) if settings.private_key else None
    except (ValueError, TypeError):
        yield f"{section}.private_key: is not a private key in PEM form without a password"
    if (settings.certificate is None) != (settings.private_key is None):
        missing = "certificate" if settings.certificate is None else "private_key"
        yield f"{section}.{missing}: is missing; certificate and private_key go together"
    elif own is not None and key is not None and own.public_key() != key.public_key():
        yield f"{section}.private_key: is not the key of {section}.certificate"
