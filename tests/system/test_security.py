"""The whole pipeline where nothing goes without TLS, a name and a right: each user has what `touchstream acls` prints.

Kafka with SASL_SSL, mTLS and ACLs; Redis with TLS, client certificates and ACL users. Too few rights fail these tests,
and a right that is taken away is missed and told.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis
import yaml
from confluent_kafka import Producer

from flows import rights, settings
from flows.reading import read
from operators.kafka import client_properties
from schemas.config import Churn, Config, Kafka, Limits, Metrics, Redis, Topics
from tests.certificates import Authority
from tests.conftest import KEYS
from tests.messages import START, touchpoint
from tests.secured import SecureKafka, SecureValkey
from tests.system.pipeline import Flow, await_
from tests.system.web import Service

pytestmark = [pytest.mark.flows, pytest.mark.system, pytest.mark.long("security")]

DAY = 86_400_000
PREFIX = "safe"
PLAYS = {
    "limits": {"caps": []},
    "plays": {"thanks": {"when": {"event": {"event": "Order Completed"}}, "channels": ["sms"], "cool_down": "1d"}},
}
FLOWS = ("stitch", "engage", "learn", "kpis")


class Deployment(NamedTuple):
    """Servers, and a folder with ``ROLE.yaml`` for each user."""

    folder: Path
    kafka: SecureKafka
    valkey: SecureValkey
    config: Config

    def call(self, role: str, *arguments: str) -> str:
        """What a command says, called by one who has the rights of ``role``. Raises `AssertionError` if it fails."""
        code, out, err = self.tried(role, *arguments)
        assert code == 0, f"{arguments}: {out}{err}"
        return out

    def tried(self, role: str, *arguments: str) -> tuple[int, str, str]:
        """As `call`: exit code, what it says, and what it says went wrong."""
        command = [sys.executable, "-m", "flows.cli", *arguments, "--config", str(self.folder / f"{role}.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=self.folder.parent)
        return done.returncode, done.stdout, done.stderr

    def flow(self, name: str) -> Flow:
        """A process of a flow, started."""
        flow = Flow(name, 0, self.folder, self.folder / f"{name}.yaml")
        flow.start()
        return flow

    def ingest(self, name: str, *records: bytes) -> None:
        """Send touchpoints as one who may do nothing else."""
        (self.folder / name).write_bytes(b"\n".join(records))
        self.call("source", "ingest", str(self.folder / name))

    def role(self, name: str) -> rights.Role:
        """Its rights."""
        return rights.roles(self.config)[name]

    def admin(self) -> redis.Redis:
        """Redis, as its administrator."""
        return redis.Redis.from_url(self.valkey.url)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Servers on which each user has exactly the rights that are printed; topics made by ``setup``."""
    folder, authority = tmp_path_factory.mktemp("secured"), Authority()
    own = Config(keys=KEYS, prefix=PREFIX)
    passwords = {rights.user(own, role): f"{name}-password" for name, role in rights.roles(own).items()}
    with (
        SecureKafka(folder / "kafka", authority, passwords) as kafka,
        SecureValkey(folder / "valkey", authority) as valkey,
    ):
        config = Config(
            keys=KEYS,
            prefix=PREFIX,
            clock="log",
            kafka=Kafka(kafka.bootstrap, tls=True, ca=authority.certificate, session_timeout_ms=3_000),
            redis=Redis(url=valkey.url_tls, ca=authority.certificate),
            topics=Topics(source_partitions=2, shards=2),
            churn=Churn(horizon_days=1, grid_days=1, publish_examples=1, publish_each=1, publish_seconds=1),
            limits=Limits(dead_letter_ratio=1.0),
            metrics=Metrics(port=0),
        )
        deployment = Deployment(folder, kafka, valkey, config)
        for name in passwords:
            write(deployment, name.removeprefix(f"{PREFIX}-"), authority, passwords[name])
        kafka.grant(deployment.call("setup", "acls", "kafka").splitlines())
        with deployment.admin() as admin:
            for line in deployment.call("setup", "acls", "redis").splitlines():
                admin.execute_command(*line.split())
            for role in rights.roles(config).values():
                if role.keys:
                    name = rights.user(config, role)
                    admin.acl_setuser(name, enabled=True, passwords=[f"+{passwords[name]}"])
        deployment.call("setup", "topics", "create")
        yield deployment


def write(deployment: Deployment, role: str, authority: Authority, password: str) -> None:
    """The configuration of a user: learn signs in by PLAIN, engage by its certificate, all others by SCRAM."""
    name = f"{PREFIX}-{role}"
    own = authority.issue(name)
    pem = {"certificate": own.certificate, "private_key": own.private_key}
    tree: Any = msgspec.to_builtins(deployment.config)
    (deployment.folder / f"{role}.password").write_text(password)
    if role == "engage":
        tree["kafka"] |= {"bootstrap": deployment.kafka.bootstrap_mtls, **pem}
    else:
        tree["kafka"] |= {"sasl": "PLAIN" if role == "learn" else "SCRAM-SHA-512", "user": name}
        tree["kafka"]["password_file"] = f"{role}.password"
        del tree["kafka"]["password"]
    tree["redis"] |= {"user": name, "password_file": f"{role}.password", **pem}
    del tree["redis"]["password"]
    (deployment.folder / f"{role}.yaml").write_text(yaml.safe_dump(tree))


@pytest.fixture
def running(secured: Deployment) -> Iterator[dict[str, Flow]]:
    """The flows, each with its own rights alone."""
    flows = {name: secured.flow(name) for name in FLOWS}
    yield flows
    for flow in flows.values():
        if flow.process is not None:
            flow.process.kill()
            flow.process.wait()


def order(number: int, at: int, *who: str) -> bytes:
    consent = [{"channel": "sms", "granted": True}]
    data = {"order_id": f"o{number}", "revenue": 10, "currency": "CNY"}
    return touchpoint(number, *who, time=at, at=at, type="Order Completed", consent=consent, data=data)


def test_least_rights_are_enough_for_everything(secured: Deployment, running: dict[str, Flow]) -> None:
    (secured.folder / "plays.yaml").write_text(yaml.safe_dump(PLAYS))
    secured.call("operator", "plays", "apply", str(secured.folder / "plays.yaml"))
    ann, bob = ("!member:ann", "phone:13800000001"), ("!member:bob", "phone:13800000002")
    secured.ingest("first.ndjson", order(0, START, *ann), order(1, START + DAY, *bob), b"no touchpoint")
    received = await_triggers(secured, 2)
    assert {each["address"] for each in received} == {"+8613800000001", "+8613800000002"}
    letter = json.loads(secured.call("operator", "dead-letters", "list", "--json"))
    assert letter["reason"] == "not_json"
    learned(secured, bob)
    merged = secured.call("operator", "identity", "merge", "member:ann", "member:bob", "--by", "me", "--reason", "same")
    assert "applied" in merged
    used(secured)
    # It is still no touchpoint, and dead again before the replay has ended: that must not keep it going.
    assert secured.call("operator", "dead-letters", "replay").startswith("1 sent back")
    for command in (
        ("status",),
        ("plays", "list"),
        ("models", "list"),
        ("identity", "show", "member:ann"),
        ("identity", "stats"),
    ):
        secured.call("reader", *command)
    reader = settings.load(secured.folder / "reader.yaml", {})
    await_(lambda: any(read(reader, f"{PREFIX}.kpis", start=0, follow=False)), "figures")
    assert secured.call("reader", "tail", "identity.changes", "--from-start", "--end", "--json")
    with secured.admin() as admin:
        assert [entry for entry in admin.acl_log() if entry["username"].startswith(PREFIX)] == []
    assert [flow.drain() for flow in running.values()] == [0] * len(FLOWS)


def test_a_right_that_is_missing_ends_the_process_that_needs_it(secured: Deployment) -> None:
    [line] = [each for each in rights.kafka_lines(secured.config, secured.role("engage")) if "triggers" in each]
    taken = re.sub(r"--topic (?!safe\.triggers\b)\S+", "", line)
    assert secured.kafka.revoke([taken]) == 1
    before = triggers(secured)
    stitch, engage = secured.flow("stitch"), secured.flow("engage")
    try:
        secured.ingest("second.ndjson", order(1_000, START + 100 * DAY, "!member:eve", "phone:13800000003"))
        error = ended(engage)
        assert error["text"].startswith("Kafka refuses: ")
        assert "Topic authorization failed" in error["text"]
        assert "`touchstream acls kafka` prints what each user needs" in error["text"]
        secured.kafka.grant([taken])
        engage.start()
        await_(lambda: len(triggers(secured)) == len(before) + 1, "the trigger that could not be written")

        limited = rights.redis_line(secured.config, secured.role("stitch")).replace(" +set ", " ")
        with secured.admin() as admin:
            admin.execute_command(*limited.split())
        secured.ingest("third.ndjson", order(1_001, START + 101 * DAY, "!member:joe", "phone:13800000004"))
        error = ended(stitch)
        assert error["text"].startswith("Redis refuses: ")
        assert "`touchstream acls redis` prints what each user needs" in error["text"]
    finally:
        for flow in (stitch, engage):
            flow.signal(signal.SIGKILL)
            if flow.process is not None:
                flow.process.wait()


def test_who_cannot_sign_in_is_told_and_no_secret_is_shown(secured: Deployment) -> None:
    (secured.folder / "wrong.password").write_text("sentinel-3")
    stranger = Authority().certificate
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("kafka", {"password_file": "wrong.password"}, "Kafka refuses: "),
        ("kafka", {"ca": stranger}, "certificate verify failed"),
        ("redis", {"password_file": "wrong.password"}, "invalid username-password pair"),
        ("redis", {"ca": stranger}, "certificate verify failed"),
    ]
    for section, values, expected in cases:
        tree = yaml.safe_load((secured.folder / "reader.yaml").read_text())
        tree[section] |= values
        (secured.folder / "stranger.yaml").write_text(yaml.safe_dump(tree))
        code, out, err = secured.tried("stranger", "status")
        assert (code, out) == (1, ""), section
        assert expected in err
        assert "sentinel" not in err


def used(secured: Deployment) -> None:
    """Let the web service do all that it can."""
    with Service(secured.folder / "web", secured.folder / "dashboard.yaml") as service:
        with service.client(service.token("admin")) as admin:
            assert admin.get("/readyz").json() == {"flow": "dashboard", "ready": True, "why": []}
            looked = admin.get("/v1/customers/member:ann", headers={"Purpose": "a test"}).json()
            assert looked["contacts"]["member"] in ("ann", "bob")
            why = admin.get(f"/v1/customers/{looked['customer']}/why").json()
            assert (why["play"], why["complete"]) == ("thanks", True)
            assert [admin.get(f"/v1/{name}").status_code for name in ("plays", "segments", "tokens")] == [200] * 3
            for verb in ("pause", "resume"):
                order = {"plays": ["*"], "reason": "a test"}
                assert admin.post(f"/v1/plays/{verb}", json=order).json()["reached"] == 2
            two = {"identifiers": ["member:ann", "member:bob"], "reason": "a test"}
            assert admin.post("/v1/identity/split?wait=30", json=two).status_code == 200
        assert service.drain() == 0


def ended(flow: Flow) -> dict[str, str]:
    """What a process was refused, on which it has ended with 1."""
    await_(lambda: flow.dead, f"{flow.name} to end")
    assert flow.process is not None
    assert flow.process.returncode == 1
    errors: list[dict[str, str]] = flow.logged("the flow ends on an error")[-1]["exception"]
    return next(each for each in errors if each["type"] == "AccessDenied")


def triggers(secured: Deployment) -> list[str]:
    """All that were written."""
    return secured.call("reader", "tail", "triggers", "--from-start", "--end", "--json").splitlines()


def learned(secured: Deployment, who: tuple[str, ...]) -> None:
    """Let days pass until there is a model: he buys every day and who else is there does not, so that there are
    examples of both kinds."""
    producer = Producer(client_properties(settings.load(secured.folder / "source.yaml", {})))
    days = count(2)

    def model() -> bool:
        day = next(days)
        producer.produce(f"{PREFIX}.touchpoints", order(day, START + day * DAY, *who), partition=0)
        assert producer.flush(30) == 0
        with secured.admin() as admin:
            return bool(admin.keys(f"{{{PREFIX}.models}}*"))

    await_(model, "a model", look=1.0)


def await_triggers(secured: Deployment, wanted: int) -> list[dict[str, Any]]:
    """All triggers there are, once there are so many."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        out = secured.call("receiver", "triggers", "consume", "--decrypt", "--end", "--json")
        found.extend(map(json.loads, out.splitlines()))
        return len(found) >= wanted

    await_(enough, f"{wanted} triggers")
    return found
