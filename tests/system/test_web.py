"""The web service as a process, with real flows behind it: what each role gets, what is refused, what is on record."""

from __future__ import annotations

import itertools
import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from flows import admin
from flows.web.audit import PATIENCE
from schemas.commands import NEEDS
from schemas.config import Config, Dashboard, Metrics
from state.access import ROLES, Role
from tests import servers
from tests.certificates import Authority
from tests.conftest import new_config
from tests.effort import GATE, examples
from tests.system import web
from tests.system.web import CLEAR, MASKED, MEMBER, NAMES, SENTINELS, Service, Shop

pytestmark = [pytest.mark.flows, pytest.mark.system]

Clients = dict[Role, httpx.Client]


@pytest.fixture(scope="module")
def config(kafka: str, redis_server: str) -> Iterator[Config]:
    config = msgspec.structs.replace(
        new_config(kafka, redis_server),
        metrics=Metrics(port=0),
        dashboard=Dashboard(port=0, requests_per_minute=1_000_000, looks_per_minute=1_000),
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
def clients(service: Service) -> Iterator[Clients]:
    """One for each role."""
    made = {role: service.client(service.token(role)) for role in ROLES}
    yield made
    for client in made.values():
        client.close()


@pytest.fixture(scope="module")
def customer(clients: Clients) -> str:
    """The id of the customer who has done something of everything."""
    return str(clients["viewer"].get(f"/v1/customers/member:{MEMBER}").json()["customer"])


def leaks(answer: httpx.Response) -> list[str]:
    """What an answer says that it must not."""
    said = (answer.text + str(answer.headers)).lower()
    return [each for each in SENTINELS if each in said]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_a_viewer_sees_a_customer_masked_by_any_of_its_names(clients: Clients, customer: str) -> None:
    viewer = clients["viewer"]
    asked = [viewer.get(f"/v1/customers/{name}") for name in (*NAMES, customer)]
    asked += [viewer.post("/v1/lookup", json={"customer": name}) for name in NAMES]
    for answer in asked:
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["customer"], found["masked"], found["contacts"]) == (customer, True, MASKED)
        assert (found["standing"]["orders"], found["standing"]["birth_day"]) == (1, None)
        assert {each["namespace"] for each in found["identifiers"]} == {"email", "phone", "member", "device"}
        assert all(each["holds"] for each in found["links"])
        assert {each["play"]: each["code"] for each in found["decisions"]} == {"thanks": "emitted", "welcome": "filter"}
        assert leaks(answer) == []


def test_an_agent_sees_values_for_a_purpose_that_is_on_record_first(
    shop: Shop, clients: Clients, customer: str
) -> None:
    agent = clients["agent"]
    assert agent.get(f"/v1/customers/{customer}").json()["contacts"] == MASKED
    before = len(shop.audit())
    named = agent.get(f"/v1/customers/{customer}", headers={"Purpose": "ticket 4711"})
    # The record is there when the answer is: the topic is read after it, and not waited for.
    [look] = shop.audit()[before:]
    assert (named.json()["masked"], named.json()["contacts"]) == (False, CLEAR)
    assert named.json()["standing"]["birth_day"] == "02-28"
    assert (look.op, look.outcome, look.customers, look.reason) == ("look", "shown", [customer], "ticket 4711")
    assert look.by.startswith("agent-")
    said = agent.get(f"/v1/customers/{customer}", headers={b"Purpose": "工单中".encode()})
    body = agent.post("/v1/lookup", json={"customer": NAMES[0], "purpose": "工单 4712"})
    why = agent.get(f"/v1/customers/{customer}/why?play=welcome", headers={"Purpose": "%E5%B7%A5%E5%8D%95"})
    assert [each.json()["masked"] for each in (said, body, why)] == [False] * 3
    assert "(with profile.country = 'sentinel')" in why.text
    assert [each.reason for each in shop.audit()[before + 1 :]] == ["工单中", "工单 4712", "工单"]
    assert clients["viewer"].get(f"/v1/customers/{customer}", headers={"Purpose": "n"}).status_code == 422
    assert clients["viewer"].get(f"/v1/customers/{customer}", headers={"Purpose": "curious"}).status_code == 403
    assert len(shop.audit()) == before + 4


def test_why_is_told_of_a_play_of_a_decision_and_of_what_waits(clients: Clients, customer: str) -> None:
    viewer = clients["viewer"]
    latest = viewer.get(f"/v1/customers/{customer}/decisions").json()["decisions"][0]
    by_id = viewer.get(f"/v1/customers/{customer}/why", params={"decision": latest["id"]}).json()
    assert by_id == viewer.get(f"/v1/customers/{customer}/why").json()
    assert (by_id["id"], by_id["play"]) == (latest["id"], latest["play"])
    thanks = viewer.get(f"/v1/customers/{customer}/why?play=thanks").json()
    assert (thanks["outcome"], thanks["about"], thanks["grounds"]) == ("emitted", None, None)
    assert (thanks["touchpoint"]["type"], thanks["complete"]) == ("Order Completed", True)
    assert thanks["checks"][-1]["step"] == "channel"
    stopped = viewer.get(f"/v1/customers/{customer}/why?play=welcome").json()
    assert stopped["checks"][-1] == {
        "step": "filter", "passed": False, "text": "does not hold: profile.country == 'NL'",
    }  # fmt: skip
    waiting = viewer.get(f"/v1/customers/{customer}/why?play=later").json()
    assert (waiting["outcome"], waiting["id"], waiting["checks"][0]["step"]) == ("waiting", None, "start")
    assert viewer.get(f"/v1/customers/{customer}/why?play=unheard_of").json()["error"] == "no_play"
    # Another's decision is not told by way of this customer.
    other = viewer.get("/v1/customers/member:other").json()["customer"]
    assert viewer.get(f"/v1/customers/{other}/why", params={"decision": latest["id"]}).status_code == 404
    assert viewer.get(f"/v1/customers/{other}/why").status_code == 404


def test_plays_and_segments_in_force(clients: Clients) -> None:
    plays = clients["viewer"].get("/v1/plays").json()
    assert {each["name"]: (each["when"], each["paused"]) for each in plays["plays"]} == {
        "thanks": ("event", 0), "welcome": ("event", 0), "later": ("silence", 0),
    }  # fmt: skip
    [buyers] = clients["viewer"].get("/v1/segments").json()["segments"]
    assert (buyers["name"], buyers["who"], buyers["customers"]) == ("buyers", "profile.orders >= 1", 1)


# -- what may not be had -----------------------------------------------------------------------------------------------


def operations(clients: Clients) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method of every path of the document."""
    document = clients["viewer"].get("/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, "/v1" + path, operation


def test_no_endpoint_gives_a_viewer_any_value(shop: Shop, clients: Clients, customer: str) -> None:
    before, asked = len(shop.audit()), 0
    decision = clients["viewer"].get(f"/v1/customers/{customer}/decisions").json()["decisions"][0]["id"]
    values = {
        "subject": (customer, *NAMES),
        "verb": ("pause", "resume"),
        "id": (decision,),
    }
    queries: tuple[dict[str, str], ...] = ({}, {"play": "thanks"}, {"play": "welcome"}, {"decision": decision})
    bodies: tuple[dict[str, Any], ...] = (
        {"customer": NAMES[0]},
        {"customer": customer, "purpose": "curious"},
        {"identifiers": [NAMES[0], customer], "reason": "curious"},
        {"identifier": customer, "reason": "curious"},
        {"plays": ["*"], "reason": "curious"},
        {"name": "me", "role": "admin"},
    )
    for method, path, operation in operations(clients):
        names = re.findall(r"\{(\w+)\}", path)
        for chosen in itertools.product(*(values[name] for name in names)):
            url = path.format(**dict(zip(names, chosen, strict=True)))
            # `why` reads topics: the gate asks it everything of one customer, and one thing of everybody.
            asking = queries if path.endswith("why") and (not GATE or chosen == (customer,)) else ({},)
            for query, purpose in itertools.product(asking, ("", "curious")):
                for body in bodies if "requestBody" in operation else (None,):
                    headers = {"Purpose": purpose} if purpose else {}
                    answer = clients["viewer"].request(method, url, params=query, headers=headers, json=body)
                    assert answer.status_code != 500
                    assert leaks(answer) == [], (method, url, answer.text)
                    asked += 1
    assert asked > 60
    assert len(shop.audit()) == before  # and nothing was done


def test_every_operation_that_changes_something_takes_its_role(clients: Clients) -> None:
    decisions = [f"/v1/identity/{op}" for op in NEEDS if op != "expire"]  # which is for time to say
    wanted: dict[str, Role] = dict.fromkeys([*decisions, "/v1/plays/{verb}"], "operator")
    wanted |= dict.fromkeys(["/v1/tokens", "/v1/tokens/{id}"], "admin")
    changing = {path for method, path, _ in operations(clients) if method != "get"}
    assert changing == {*wanted, "/v1/lookup"}
    for path, needed in wanted.items():
        url, method = path.format(verb="pause", id="x"), "DELETE" if "{id}" in path else "POST"
        for role in ROLES[: ROLES.index(needed)]:
            assert clients[role].request(method, url, json={}).json()["error"] == "role", (path, role)
        allowed = clients[needed].request(method, url, json={})
        assert allowed.status_code in (404, 422), allowed.text


# -- deciding ----------------------------------------------------------------------------------------------------------


def test_operators_merge_split_and_erase_and_it_is_on_record(shop: Shop, clients: Clients) -> None:
    operator = clients["operator"]
    for name in ("ann", "bob"):
        shop.send(f"member:{name}", f"email:{name}@mail.cn", kind="Page Viewed", url="/")
    shop.settle()
    before = len(shop.audit())
    order = {"identifiers": ["member:ann", "member:bob"], "reason": "ticket 7"}
    merged = operator.post("/v1/identity/merge?wait=30", json=order)
    assert (merged.status_code, merged.json()["done"]) == (200, True), merged.text
    one = operator.get("/v1/customers/member:ann").json()["customer"]
    assert operator.get("/v1/customers/member:bob").json()["customer"] == one
    assert operator.post("/v1/identity/split?wait=30", json=order).status_code == 200
    two = {operator.get(f"/v1/customers/member:{name}").json()["customer"] for name in ("ann", "bob")}
    assert len(two) == 2  # the elder keeps the name: either, of the same millisecond
    assert one in two
    erasure = {"identifier": "member:bob", "reason": "request 8"}
    assert operator.post("/v1/identity/erase?wait=30", json=erasure).status_code == 200
    gone = operator.get("/v1/customers/member:bob")
    assert (gone.status_code, gone.json()["error"]) in ((410, "erased"), (404, "no_customer"))
    said = [(each.op, each.outcome, each.reason) for each in shop.audit()[before:]]
    assert said[:5] == [
        ("merge", "asked", "ticket 7"), ("merge", "applied", "ticket 7"), ("split", "asked", "ticket 7"),
        ("split", "applied", "ticket 7"), ("erase", "asked", "request 8"),
    ]  # fmt: skip
    assert {each.by for each in shop.audit()[before : before + 5]} == {operator.get("/v1/me").json()["name"]}
    for wrong in ({"identifiers": ["member:ann"]}, {"identifiers": ["member:ann", "email:ann@mail.cn", "x:y"]}):
        answer = operator.post("/v1/identity/merge", json={**wrong, "reason": "wrong"})
        assert answer.status_code == 422, answer.text


def test_plays_are_paused_and_go_on(shop: Shop, clients: Clients) -> None:
    operator, before = clients["operator"], len(shop.audit())
    order = {"plays": ["welcome"], "reason": "wrong picture"}
    assert operator.post("/v1/plays/pause", json=order).json() == {"plays": ["welcome"], "reached": 4, "shards": 4}
    plays = operator.get("/v1/plays").json()["plays"]
    assert {each["name"]: each["paused"] for each in plays} == {"thanks": 0, "welcome": 4, "later": 0}
    assert operator.post("/v1/plays/resume", json=order).json()["reached"] == 4
    assert operator.post("/v1/plays/pause", json={"plays": ["no_such"], "reason": "why"}).status_code == 404
    assert [(each.op, each.outcome, each.why) for each in shop.audit()[before:]] == [
        ("pause", "asked", "welcome"), ("pause", "applied", "welcome"),
        ("resume", "asked", "welcome"), ("resume", "applied", "welcome"),
    ]  # fmt: skip


def test_admins_give_and_take_tokens(service: Service, shop: Shop, clients: Clients) -> None:
    admin_, before = clients["admin"], len(shop.audit())
    made = admin_.post("/v1/tokens", json={"name": "temp", "role": "viewer", "days": 1})
    assert made.status_code == 201
    assert admin_.post("/v1/tokens", json={"name": "temp", "role": "viewer"}).status_code == 409
    with service.client(made.json()["token"]) as temporary:
        assert temporary.get("/v1/me").json()["name"] == "temp"
        assert made.json()["id"] in service.call("tokens", "list")
        assert admin_.delete(f"/v1/tokens/{made.json()['id']}").json()["state"] == "revoked"
        assert temporary.get("/v1/me").status_code == 401
    assert made.json()["token"] not in admin_.get("/v1/tokens").text
    said = [(each.op, each.outcome, each.why) for each in shop.audit()[before:]]
    assert said == [
        ("create_token", "asked", "viewer temp"), ("create_token", "asked", "viewer temp"),
        ("revoke_token", "applied", "viewer temp"),
    ]  # fmt: skip


def test_an_audit_that_cannot_be_written_shows_nothing(shop: Shop, clients: Clients, customer: str) -> None:
    away = msgspec.structs.replace(
        shop.config, kafka=msgspec.structs.replace(shop.config.kafka, bootstrap="localhost:1")
    )
    with Service(shop.folder / "away", away) as lonely:
        token = clients["admin"].post("/v1/tokens", json={"name": "lonely", "role": "agent"}).json()["token"]
        with lonely.client(token) as agent:
            masked = agent.get(f"/v1/customers/{customer}")
            started = time.monotonic()
            refused = agent.get(f"/v1/customers/{customer}", headers={"Purpose": "ticket 4711"})
            assert time.monotonic() - started < PATIENCE + 5
        assert (masked.status_code, masked.json()["contacts"]) == (200, MASKED)
        assert (refused.status_code, refused.json()["error"], leaks(refused)) == (503, "no_audit", [])


# -- the process -------------------------------------------------------------------------------------------------------


def test_it_serves_tls_and_leaves_when_told(shop: Shop, clients: Clients) -> None:
    authority = Authority()
    own = authority.issue("127.0.0.1")
    settings_ = msgspec.structs.replace(shop.config.dashboard, certificate=own.certificate, private_key=own.private_key)
    trusting = ssl.create_default_context(cadata=authority.certificate)
    with Service(shop.folder / "tls", msgspec.structs.replace(shop.config, dashboard=settings_)) as service:
        with service.client(clients["viewer"].headers["authorization"].split()[1], verify=trusting) as viewer:
            answer = viewer.get("/v1/me")
            assert answer.headers["strict-transport-security"].startswith("max-age=")
            assert viewer.get("/readyz").json()["ready"]
        assert service.drain() == 0


def test_a_public_address_without_tokens_is_refused(
    config: Config, kafka: str, redis_server: str, tmp_path: Any
) -> None:
    public = msgspec.structs.replace(new_config(kafka, redis_server), dashboard=Dashboard(host="0.0.0.0", port=0))
    with Service(tmp_path, public) as service:
        assert service.process is not None
        assert service.process.wait(30) == 2
        assert "tokens create" in service.log


@pytest.mark.long("contract")
@pytest.mark.parametrize(("subject", "promised"), [("any", 25), ("known", 5)])
def test_schemathesis_finds_nothing(
    service: Service, shop: Shop, clients: Clients, customer: str, subject: str, promised: int
) -> None:
    """All its checks and phases, with the rights of an operator, who may do most of it; about anybody, and about a
    customer there is."""
    settings = shop.folder / f"{subject}.toml"
    settings.write_text(f'[parameters]\n"path.subject" = "{customer}"\n' if subject == "known" else "")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run"]
    command += [f"http://{service.address}/v1/openapi.json", "--max-examples", str(examples(promised))]
    command += ["--header", f"Authorization: {clients['operator'].headers['authorization']}"]
    command += ["--generation-database", "none", "--seed", "7", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=shop.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_the_log_says_nothing_of_whom_was_asked_for(service: Service, clients: Clients) -> None:
    for path in ("/v1/customers/{}", "/v1/customers/{}/why", "/{}", "/v1/{}", "/login?{}"):
        for name in NAMES:
            clients["viewer"].get(path.format(name))
    clients["viewer"].get("/v1/customers/" + "x" * 60_000 + NAMES[0])
    assert '"serving"' in service.log
    said = service.log.lower()
    assert [each for each in SENTINELS if each in said] == []
    tokens = [client.headers["authorization"].split()[1] for client in clients.values()]
    assert [each for each in tokens if each.lower() in said] == []
    assert all(json.loads(line) for line in service.log.splitlines())
