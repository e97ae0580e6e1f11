"""TLS and sign-in: what is given together, what every client gets, and what is never told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from flows import settings_access
from flows.cli import main
from flows.settings import load
from operators.kafka import client_properties
from schemas.config import SECRET, Config, Kafka, Redis
from schemas.errors import ConfigError
from state.connection import connect
from tests.certificates import Authority
from tests.conftest import KEYS

AUTHORITY = Authority()
OWN, OTHER = AUTHORITY.issue("stitch"), AUTHORITY.issue("engage")
SIGN_IN = {"sasl": "SCRAM-SHA-512", "user": "ts-stitch", "password": "sentinel-1"}


def faults(section: str, **values: Any) -> list[str]:
    """What is wrong with these values of a section."""
    kind: Any = {"kafka": Kafka, "redis": Redis}[section]
    return settings_access.check_access(Config(keys=KEYS, **{section: kind(**values)}))


def test_every_client_gets_tls_and_sign_in(tmp_path: Path) -> None:
    for name, text in (("ca", AUTHORITY.certificate), ("own", OWN.certificate), ("key", OWN.private_key)):
        (tmp_path / f"{name}.pem").write_text(text)
    (tmp_path / "password").write_text("sentinel-1\n")
    pem = {"ca_file": "ca.pem", "certificate_file": "own.pem", "private_key_file": "key.pem"}
    kafka = {"tls": True, **pem, **SIGN_IN, "properties": {"client.rack": "a"}}
    del kafka["password"]
    path = tmp_path / "touchstream.yaml"
    path.write_text(yaml.safe_dump({"keys": msgspec.to_builtins(KEYS), "kafka": kafka}))
    config = load(path, {"TOUCHSTREAM_KAFKA__PASSWORD_FILE": str(tmp_path / "password")})
    properties = client_properties(config)
    del properties["client.id"]
    assert properties == {
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "SASL_SSL",
        "ssl.ca.pem": AUTHORITY.certificate.strip(),
        "ssl.certificate.pem": OWN.certificate.strip(),
        "ssl.key.pem": OWN.private_key.strip(),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ts-stitch",
        "sasl.password": "sentinel-1",
        "client.rack": "a",
    }


@pytest.mark.parametrize(
    ("kafka", "protocol"),
    [
        (Kafka(), None),
        (Kafka(tls=True), "SSL"),
        (Kafka(sasl="SCRAM-SHA-256", user="a", password="b"), "SASL_PLAINTEXT"),
        (Kafka(properties={"security.protocol": "SASL_SSL"}), "SASL_SSL"),
    ],
)
def test_the_protocol_follows_from_tls_and_sasl(kafka: Kafka, protocol: str | None) -> None:
    config = Config(keys=KEYS, kafka=kafka)
    assert settings_access.check_access(config) == []
    assert client_properties(config).get("security.protocol") == protocol


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ca": AUTHORITY.certificate}, ["kafka.ca: is given, but kafka.tls is off; set it to true"]),
        ({"user": "a", "password": "b"}, ["kafka.user: is given, but", "kafka.password: is given, but"]),
        ({"sasl": "SCRAM-SHA-512"}, ["kafka.user: is missing; kafka.sasl", "kafka.password: is missing; kafka.sasl"]),
        ({**SIGN_IN, "sasl": "PLAIN"}, ["kafka.sasl: PLAIN sends the password in the clear; set kafka.tls to true"]),
        ({"tls": True, "certificate": OWN.certificate}, ["kafka.private_key: is missing; certificate and private_key"]),
        ({"tls": True, "private_key": OWN.private_key}, ["kafka.certificate: is missing; certificate and private_key"]),
        (
            {"tls": True, "certificate": OWN.certificate, "private_key": OTHER.private_key},
            ["kafka.private_key: is not the key of kafka.certificate"],
        ),
        (
            {"tls": True, "ca": "-----BEGIN x", "certificate": "-----BEGIN x", "private_key": "-----BEGIN x"},
            [
                "kafka.ca: is not a certificate in PEM form",
                "kafka.certificate: is not a certificate in PEM form",
                "kafka.private_key: is not a private key in PEM form without a password",
            ],
        ),
        (
            {"tls": True, "properties": {"ssl.ca.location": "/ca.pem", "client.rack": "a"}},
            ["kafka.properties.ssl.ca.location: say it by kafka.ca instead"],
        ),
    ],
)
def test_what_does_not_go_together_for_kafka(values: dict[str, Any], expected: list[str]) -> None:
    found = faults("kafka", **values)
    assert len(found) == len(expected)
    assert all(fault.startswith(start) for fault, start in zip(found, expected, strict=True))
    assert "sentinel" not in str(found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"url": "rediss://h", "ca": AUTHORITY.certificate, "user": "a", "password": "b"}, []),
        ({"ca": AUTHORITY.certificate}, ["redis.ca: is given, but redis.url asks for no TLS"]),
        ({"url": "redis://a:sentinel@h", "user": "a", "password": "sentinel"}, ["redis.user: ", "redis.password: "]),
        ({"url": "redis://h?password=sentinel", "password": "b"}, ["redis.password: redis.url holds one as well"]),
        ({"user": "a"}, ["redis.password: is missing; redis.user signs in with it"]),
        (
            {"url": "rediss://h?ssl_cert_reqs=none", "ca": AUTHORITY.certificate},
            ["redis.url: has options ssl_... beside redis.ca"],
        ),
        ({"url": "redis://[h"}, ["redis.url: is not a URL (value not shown)"]),
    ],
)
def test_what_does_not_go_together_for_redis(values: dict[str, Any], expected: list[str]) -> None:
    found = faults("redis", **values)
    assert len(found) == len(expected)
    assert all(fault.startswith(start) for fault, start in zip(found, expected, strict=True))
    assert "sentinel" not in str(found)


def test_redis_is_trusted_by_its_own_authority_alone() -> None:
    redis = Redis(url="rediss://h", ca=AUTHORITY.certificate, certificate=OWN.certificate, private_key=OWN.private_key)
    client: Any = connect(Config(keys=KEYS, redis=redis))
    context = client.connection_pool.make_connection()._context
    assert [each["subject"] for each in context.get_ca_certs()] == [((("commonName", "test authority"),),)]
    assert context.check_hostname


def test_faults_and_what_is_shown_tell_no_secret(tmp_path: Path) -> None:
    secret = "sentinel-9"
    path = tmp_path / "c.yaml"
    values = {
        "kafka": {"tls": "sentinel", "password": [secret], "private_key": secret},
        "redis": {"private_key": secret},
    }
    path.write_text(yaml.safe_dump({"keys": msgspec.to_builtins(KEYS), **values}))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert len(caught.value.faults) == 4
    assert secret not in str(caught.value)
    kafka = {**SIGN_IN, "password": secret, "tls": True, "properties": {"a": secret}}
    redis = {"url": f"rediss://me:{secret}@host:1/2?x={secret}"}
    path.write_text(yaml.safe_dump({"keys": msgspec.to_builtins(KEYS), "kafka": kafka, "redis": redis}))
    shown = CliRunner().invoke(main, ["config", "show", "-c", str(path)])
    assert shown.exit_code == 0
    tree = yaml.safe_load(shown.output)
    assert tree["redis"]["url"] == "rediss://host:1/2"
    assert (tree["kafka"]["user"], tree["kafka"]["password"], tree["kafka"]["private_key"]) == (
        "ts-stitch",
        "***",
        None,
    )
    assert tree["keys"]["master"] == {"k1": "***"}
    for told in (shown.output, repr(load(path, {}))):
        assert secret not in told
        assert not any(key in told for key in (KEYS.index, KEYS.dead_letters, *KEYS.master.values()))


def test_every_key_named_secret_is_one_of_the_configuration() -> None:
    tree = msgspec.to_builtins(Config(keys=KEYS))
    for path in SECRET:
        section, _, name = path.rpartition(".")
        assert name in (tree[section] if section else tree)
