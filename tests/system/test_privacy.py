"""Unique sentinels in every field of the input are searched for wherever touchstream writes: nowhere in the clear."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from confluent_kafka import Producer

from flows import admin
from schemas.config import Config, Privacy
from schemas.topics import topic_name, topics
from tests.servers import ValkeyServer
from tests.system.chaos import small
from tests.system.feed import START_MS
from tests.system.pipeline import Pipeline, chaotic
from tests.system.reading import read_topic

pytestmark = pytest.mark.flows

#: Identifiers as given and as normalised.
IDENTIFIERS = [
    ("member", " Zq-Member-77 ", "Zq-Member-77"),
    ("email", "Zq.Person@Zqmail.CN", "zq.person@zqmail.cn"),
    ("phone", "139 7746 1823", "+8613977461823"),
    ("wechat_openid", "zqOpenId77", "zqOpenId77"),
    ("device", "zq-device-77", "zq-device-77"),
    ("zqfriend", "zq-friend-77", "zq-friend-77"),
]


def _events() -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Records, each with what of it is personal."""
    yield _event(0, "Signed Up", name="Zq Name", address="Zq Street 7", birthday="1977-zq-07")
    yield _event(
        1, "Page Viewed", url="https://zq.example/?u=zquser", title="zq title", referrer="https://zqref.example/"
    )
    yield _event(2, "Products Searched", query="zq query / tea")
    yield _event(3, "Order Completed", order_id="zq-order-7", address="Zq Lane 8", note="zq note")
    yield _event(4, "Message Clicked", {"channel": "email"}, url="https://zqclick.example/", subject="zq subject")
    yield _event(5, "Ticket Opened", ticket_id="zq-ticket-7", subject="zq help", text="zq long text")
    yield _event(6, "Product Added", cart_id="zq-cart-7", url="https://zqcart.example/")
    yield _event(7, "Never Heard Of", secret="zq unknown type", nested="zq nested")
    yield _event(8, "Consent Changed", wording="zq wording")


def _event(
    number: int, kind: str, plain: dict[str, Any] | None = None, **personal: str
) -> tuple[dict[str, Any], list[str]]:
    own = {"id": f"zq-event-{number}-id", "session": f"zq-session-{number}", "zqextra": f"zq extra {number}"}
    unknown = {"zqfield": f"zq unknown {number}"}
    event = {
        "source": "shop",
        "type": kind,
        "time": START_MS,
        "at": START_MS + number,
        "identifiers": [{"ns": ns, "value": value} for ns, value, _ in IDENTIFIERS],
        "consent": [{"channel": "email", "granted": True}],
        "data": {**(plain or {}), **personal, **unknown},
        **own,
    }
    return event, [*own.values(), *personal.values(), *unknown.values()]


def _forms(value: str) -> set[bytes]:
    """Every way in which a value could lie there unprotected."""
    raw = value.encode()
    forms = {raw, raw.lower(), quote(value).encode(), quote_plus(value).encode(), json.dumps(value)[1:-1].encode()}
    # Base64 of a value that stands at any of three places in what was encoded, without the uncertain ends.
    forms |= {
        encode(b" " * shift + raw)[4 if shift else 0 : -4]
        for encode in (b64encode, urlsafe_b64encode)
        for shift in (0, 1, 2)
    }
    for name in ("md5", "sha1", "sha256", "blake2b"):
        for text in (raw, raw.lower()):
            digest = hashlib.new(name, text).digest()
            forms |= {
                digest,
                digest.hex().encode(),
                b64encode(digest).rstrip(b"="),
                urlsafe_b64encode(digest).rstrip(b"="),
            }
    return {form for form in forms if len(form) >= 6}


@pytest.mark.system
@pytest.mark.parametrize("unknown", ["drop", "seal"])
def test_nothing_personal_lies_in_the_clear(kafka: str, tmp_path: Path, unknown: str) -> None:
    with ValkeyServer(tmp_path / "valkey") as valkey:
        config = _config(kafka, valkey.url, unknown)
        admin.create(config)
        secrets = _feed(config, tmp_path)
        written = _written(config, tmp_path / "valkey", valkey)
    found = sorted((where, form) for where, content in written.items() for form in secrets if form in content)
    assert found == []
    assert any(b"activations" in content or b"applied" in content for content in written.values())


def _config(kafka: str, url: str, unknown: str) -> Config:
    config = chaotic(small(kafka, url))
    privacy = Privacy(unknown_fields="seal" if unknown == "seal" else "drop")
    return msgspec.structs.replace(config, prefix=f"privacy-{unknown}", privacy=privacy)


def _feed(config: Config, folder: Path) -> set[bytes]:
    """Run the events and as many broken ones through the flows; all forms of what is personal in them."""
    producer, secrets, sent = Producer({"bootstrap.servers": config.kafka.bootstrap}), set[str](), 0
    topic = topic_name(config, "touchpoints")
    for event, personal in _events():
        broken = {**event, "identifiers": [], "id": f"{event['id']}-broken"}
        for each in (event, broken):
            producer.produce(topic, json.dumps(each).encode(), event["id"], 0, headers=[("zqheader", b"zq header")])
            sent += 1
        secrets.update(personal)
    assert producer.flush(30) == 0
    with Pipeline(folder, config, ("stitch", "engage")) as pipeline:
        for flow in pipeline.flows:
            flow.start()
        pipeline.rest(sent)
    secrets.update(value.strip() for _, *values in IDENTIFIERS for value in values)
    secrets.update((*(f"{ns}:{value}" for ns, _, value in IDENTIFIERS), "zq header"))
    return {form for value in secrets for form in _forms(value)}


def _written(config: Config, folder: Path, valkey: ValkeyServer) -> dict[str, bytes]:
    """All that touchstream wrote, by where: Redis' append-only file and dump, every topic but the input's, logs."""
    from redis import Redis

    with Redis.from_url(valkey.url) as client:
        # Without compression, which would hide what is looked for.
        client.config_set("rdbcompression", "no")
        client.save()
    written = {str(path): path.read_bytes() for path in folder.rglob("*") if path.suffix in (".aof", ".rdb")}
    sources = {topic_name(config, name) for name in config.topics.sources}
    for topic in topics(config):
        if topic.name not in sources:
            reads = read_topic(config, topic.name)
            written[topic.name] = b"\n".join((read.key or b"") + b" " + (read.value or b"") for read in reads)
    written |= {str(path): path.read_bytes() for path in folder.parent.glob("*.log")}
    return written
