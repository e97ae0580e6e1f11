"""Servers that let nobody in without TLS, a name and rights, for tests: Apache Kafka and Valkey.

Kafka listens for SASL (SCRAM and PLAIN) on `SecureKafka.bootstrap` and for client certificates, whose common name is
the user's, on `SecureKafka.bootstrap_mtls`. Its authorizer refuses all that no ACL allows. Valkey's wheel knows no TLS,
so `Front` ends it; a redis-server that does is used where TOUCHSTREAM_TEST_REDIS_SERVER names one.
"""

from __future__ import annotations

import os
import shlex
import socket
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from flows.embedded import HOST, free_port
from tests.certificates import Authority
from tests.front import Front
from tests.servers import KafkaServer, ValkeyServer

ADMIN, ADMIN_PASSWORD = "admin", "admin-password"
_JAAS = "org.apache.kafka.common.security"


class SecureKafka(KafkaServer):
    """``users``: password by name; they sign in by SCRAM-SHA-512 and by PLAIN."""

    def __init__(self, folder: Path, authority: Authority, users: dict[str, str]) -> None:
        super().__init__(folder)
        self._authority, self._users = authority, {ADMIN: ADMIN_PASSWORD, **users}
        self.port_mtls = free_port()
        pairs = [f"SCRAM-SHA-512=[name={name},password={word}]" for name, word in self._users.items()]
        self.format_options = [word for pair in pairs for word in ("--add-scram", pair)]

    @property
    def bootstrap_mtls(self) -> str:
        """Where certificates are asked for instead of passwords."""
        return f"{HOST}:{self.port_mtls}"

    def properties(self) -> dict[str, Any]:
        """Of a client of the administrator's."""
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_SSL",
            "ssl.ca.pem": self._authority.certificate,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": ADMIN,
            "sasl.password": ADMIN_PASSWORD,
            "log_level": 0,
        }

    def answers(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=2).close()
            return bool(AdminClient(self.properties()).list_topics(timeout=2).brokers)
        except (OSError, KafkaException):
            return False

    def listeners(self) -> dict[str, str]:
        own = self._authority.issue("broker")
        (self.folder / "broker.pem").write_text(own.private_key + own.certificate)
        (self.folder / "ca.pem").write_text(self._authority.certificate)
        sasl = "listener.name.sasl_ssl"
        plain = " ".join(f'user_{name}="{word}"' for name, word in self._users.items())
        broker = f'username="{ADMIN}" password="{ADMIN_PASSWORD}"'
        clients = f"SASL_SSL://{self.bootstrap},SSL://{self.bootstrap_mtls}"
        return {
            "listeners": f"{clients},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            f"{sasl}.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required {broker};",
            f"{sasl}.plain.sasl.jaas.config": f"{_JAAS}.plain.PlainLoginModule required {plain};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.folder / "ca.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.ssl.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The broker's own controller, on this machine, has no name.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }

    def grant(self, lines: Iterable[str]) -> None:
        """Do what calls of ``kafka-acls.sh --add`` do."""
        admin = AdminClient(self.properties())  # named: the answers go with the client
        for future in admin.create_acls(list(bindings(lines))).values():
            future.result()

    def revoke(self, lines: Iterable[str]) -> int:
        """Take back what these calls granted; how many rights there were."""
        admin = AdminClient(self.properties())
        filters = [
            AclBindingFilter(
                each.restype, each.name, each.resource_pattern_type, each.principal, each.host,
                each.operation, each.permission_type,
            )
            for each in bindings(lines)
        ]  # fmt: skip
        return sum(len(future.result()) for future in admin.delete_acls(filters).values())


def bindings(lines: Iterable[str]) -> Iterator[AclBinding]:
    """The rights that calls of ``kafka-acls.sh --add`` grant. Raises `ValueError` for what that tool does not take."""
    for line in lines:
        words = shlex.split(line, comments=True)
        if not words:
            continue
        tool, options = words[0], words[1:]
        if tool != "kafka-acls.sh" or options.count("--add") != 1:
            raise ValueError(f"not a grant: {line}")
        options.remove("--add")
        given: dict[str, list[str]] = {}
        for name, value in zip(options[::2], options[1::2], strict=True):
            given.setdefault(name.removeprefix("--"), []).append(value)
        del given["bootstrap-server"], given["command-config"]
        [user], operations = given.pop("allow-principal"), given.pop("operation")
        [pattern] = given.pop("resource-pattern-type", ["literal"])
        for kind, names in given.items():
            resource = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}.get(kind)
            if kind == "transactional-id":
                resource = ResourceType.TRANSACTIONAL_ID
            if resource is None:
                raise ValueError(f"not a resource: {kind}")
            for name in names:
                for operation in operations:
                    yield AclBinding(
                        resource, name, ResourcePatternType[pattern.upper()], user, "*",
                        _OPERATIONS[operation], AclPermissionType.ALLOW,
                    )  # fmt: skip


_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


class SecureValkey(ValkeyServer):
    """Without the administrator's password nothing goes; ``port_tls`` speaks TLS and asks for certificates if it is
    told to."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self._authority = authority
        self.port_tls = free_port()
        self._front: Front | None = None
        self._native = os.environ.get("TOUCHSTREAM_TEST_REDIS_SERVER")

    @property
    def url(self) -> str:
        return f"redis://{ADMIN}:{ADMIN_PASSWORD}@{HOST}:{self.port}/0"

    @property
    def url_tls(self) -> str:
        """What ``redis.url`` of users takes."""
        return f"rediss://{HOST}:{self.port_tls}/0"

    def command(self) -> list[str]:
        (self.folder / "users.acl").write_text(f"user default off\nuser {ADMIN} on >{ADMIN_PASSWORD} ~* &* +@all\n")
        acl = ["--aclfile", str(self.folder / "users.acl")]
        if not self._native:
            return [*super().command(), *acl]
        own = self._authority.issue("redis")
        files = {"tls-cert-file": own.certificate, "tls-key-file": own.private_key}
        files["tls-ca-cert-file"] = self._authority.certificate
        options = ["--appendonly", "yes", "--tls-port", str(self.port_tls), "--tls-auth-clients", "yes"]
        for name, text in files.items():
            (self.folder / name).write_text(text)
            options += [f"--{name}", str(self.folder / name)]
        return [self._native, "--bind", HOST, "--port", str(self.port), "--dir", str(self.folder), *options, *acl]

    def start(self, seconds: float = 30.0) -> Self:
        super().start(seconds)
        if not self._native:
            self._front = Front(self.port, self.port_tls, server_context(self._authority)).start()
        return self

    def stop(self, seconds: float = 15.0) -> None:
        if self._front is not None:
            self._front.stop()
        super().stop(seconds)


def server_context(authority: Authority) -> ssl.SSLContext:
    """TLS of a server on this machine that asks for certificates of ``authority``."""
    own = authority.issue("redis")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(own.certificate + own.private_key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
