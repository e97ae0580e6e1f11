"""The web service as a process, with real flows behind it: what each role gets, what is refused, what is on record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from flows import admin
from schemas.config import Config, Dashboard, Metrics
from tests import servers
from tests.conftest import new_config
from tests.system import web
from tests.system.web import MASKED, NAMES, SENTINELS, Service, Shop

pytestmark = [pytest.mark.flows, pytest.mark.system]


@pytest.fixture(scope="module")
def config(kafka: str, redis_server: str) -> Iterator[Config]:
    config = msgspec.structs.replace(
        new_config(kafka, redis_server),
        metrics=Metrics(port=0),
        dashboard=Dashboard(requests_per_minute=100_000, looks_per_minute=1_000),
    )
    admin.create(config)
    yield config
    servers.clear(config.redis.url, config.prefix)


@pytest.fixture(scope="module")
def shop(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with web.shop(config, tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def service(shop: Shop) -> Iterator[Service]:
    with Service(shop.folder, shop.config) as service:
        yield service


@pytest.fixture(scope="module")
def clients(service: Service) -> Iterator[dict[str, httpx.Client]]:
    made = {role: service.client(service.token(role)) for role in ("viewer", "agent", "operator", "admin")}
    yield made
    for client in made.values():
        client.close()


def test_a_viewer_sees_a_customer_masked(clients: dict[str, httpx.Client]) -> None:
    for name in NAMES:
        answer = clients["viewer"].get(f"/v1/customers/{name}")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["masked"]
        assert found["contacts"] == MASKED
        assert found["standing"]["orders"] == 1
        assert found["standing"]["birth_day"] is None
        assert [each["play"] for each in found["decisions"]] == ["thanks", "welcome"]
        assert not leaks(answer)
    print(json.dumps(found, indent=1))


def leaks(answer: httpx.Response) -> list[str]:
    said = (answer.text + str(answer.headers)).lower()
    return [each for each in SENTINELS if each in said]
