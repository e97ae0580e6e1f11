"""The web service without servers behind it: what is masked, who is let in, how often, and what pages carry."""

from __future__ import annotations

import socket

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from flows.web import access, gate, service
from flows.web.access import Guard, Refusal
from flows.web.limits import Limit
from flows.web.masking import mask, mask_check
from operators.reasons import Check
from schemas.config import Config, Dashboard
from schemas.errors import ConfigError
from schemas.topics import topics
from state.access import AccessStore, digest
from state.connection import connect
from tests.conftest import KEYS
from tests.effort import thorough

YEAR_MS = 365 * 86_400_000
NOW = 1_800_000_000_000

# -- masking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "value", "masked"),
    [
        ("email", "zoe@example.com", "z***@e***.com"),
        ("email", "z@e.co", "z***@e***.co"),
        ("phone", "+8613812345678", "138****5678"),
        ("phone", "+4930123456", "3****56"),
        ("phone", "not a number 12", "****"),
        ("member", "M-20417", "M***"),
        ("member", "123", "***"),
        ("wechat_openid", "oABCdef", "o***"),
    ],
)
def test_values_are_masked_by_what_they_are(namespace: str, value: str, masked: str) -> None:
    assert mask(namespace, value) == masked


@thorough
@given(st.sampled_from(["email", "phone", "member"]), st.text("ab1@.+", min_size=1, max_size=20))
def test_no_value_is_shown_whole(namespace: str, value: str) -> None:
    assert value not in mask(namespace, value)
    assert "***" in mask(namespace, value)


def test_conditions_are_shown_without_what_they_read() -> None:
    read = Check("filter", True, "holds: profile.country == 'CN' (with profile.country = 'CN')")
    assert mask_check(read) == Check("filter", True, "holds: profile.country == 'CN'")
    counted = Check("start", False, "wakes at 3 of Product Viewed within 7d; counted tea: 2")
    assert mask_check(counted).text == "wakes at 3 of Product Viewed within 7d"
    assert mask_check(Check("start", False, "waits: cart-77 since 2026 until 2027")).text == "waits"
    assert mask_check(Check("consent", True, "sms/marketing: agreed")).text == "sms/marketing: agreed"


# -- how often ---------------------------------------------------------------------------------------------------------


def test_a_bucket_fills_evenly_and_is_one_name_s_own() -> None:
    now = [0.0]
    limit = Limit(6, lambda: now[0])
    assert [limit.wait("a") for _ in range(6)] == [0.0] * 6
    assert limit.wait("a") == 10.0
    assert limit.wait("b") == 0.0
    now[0] = 10.0
    assert limit.wait("a") == 0.0
    with pytest.raises(Refusal) as refused:
        limit.take("a")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "11"})


# -- who ---------------------------------------------------------------------------------------------------------------


def config(url: str = "redis://localhost:1/0", **settings: object) -> Config:
    base = Config(keys=KEYS, prefix="web")
    return msgspec.structs.replace(
        base,
        redis=msgspec.structs.replace(base.redis, url=url),
        dashboard=Dashboard(**settings),  # type: ignore[arg-type]
    )


@pytest.fixture
def client(redis_server: str) -> redis.Redis:
    client = connect(config(redis_server))
    for key in client.scan_iter("{web.access}*"):
        client.delete(key)
    return client


def test_a_token_lets_in_until_it_expires_or_is_revoked(client: redis.Redis) -> None:
    store = AccessStore(client, "web")
    text, token = store.create("anna", "agent", now=NOW, expires=NOW + 10)
    assert store.find(text) == token
    assert store.find(text + "x") is None
    assert [token.holds(NOW), token.holds(NOW + 10)] == [True, False]
    cookie = store.begin(text, 60)
    assert store.signed_in(cookie) == token
    revoked = store.revoke(token.id, now=NOW + 1)
    assert not revoked.holds(NOW + 1)
    assert store.find(text) == store.signed_in(cookie) == revoked
    store.end(cookie)
    assert store.signed_in(cookie) is None


def test_neither_tokens_nor_cookies_are_stored(client: redis.Redis) -> None:
    store = AccessStore(client, "web")
    text, _ = store.create("anna", "agent", now=NOW)
    cookie = store.begin(text, 60)
    stored = b""
    for key in client.scan_iter("{web.access}*"):
        stored += key + (client.get(key) or b"" if b"session" in key else repr(client.hgetall(key)).encode())
    assert digest(text).encode() in stored
    assert text.encode() not in stored
    assert cookie.encode() not in stored


def test_names_are_unique_among_tokens_that_hold(client: redis.Redis) -> None:
    store = AccessStore(client, "web")
    _, token = store.create("anna", "agent", now=NOW)
    with pytest.raises(Exception, match="already"):
        store.create("anna", "viewer", now=NOW)
    store.revoke(token.id, now=NOW)
    store.create("anna", "viewer", now=NOW)
    assert {(each.role, bool(each.revoked)) for each in store.all()} == {("agent", True), ("viewer", False)}


def test_on_this_machine_everybody_is_a_viewer_until_there_is_a_token(client: redis.Redis) -> None:
    own, nothing = Guard(config(), client), Headers({})
    assert own.identify(nothing) == access.ANYBODY
    for header in ("x-forwarded-for", "forwarded"):  # from elsewhere, through a proxy
        with pytest.raises(Refusal):
            own.identify(Headers({header: "1.2.3.4"}))
    with pytest.raises(Refusal):
        Guard(config(host="0.0.0.0"), client).identify(nothing)
    _, token = own.store.create("anna", "viewer", now=NOW)
    with pytest.raises(Refusal):
        own.identify(nothing)
    own.store.revoke(token.id, now=NOW)  # and it never is open again
    with pytest.raises(Refusal):
        own.identify(nothing)


def test_a_public_address_is_refused_without_a_token_that_holds(client: redis.Redis) -> None:
    access.refuse_open(config(), client)
    access.refuse_open(config(host="::1"), client)
    for host in ("0.0.0.0", "::", "10.0.0.7", "dashboard.example"):
        with pytest.raises(ConfigError, match="tokens create"):
            access.refuse_open(config(host=host), client)
    store = AccessStore(client, "web")
    _, token = store.create("anna", "viewer", now=NOW)
    access.refuse_open(config(host="0.0.0.0"), client)
    store.revoke(token.id, now=NOW)
    with pytest.raises(ConfigError):
        access.refuse_open(config(host="0.0.0.0"), client)


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"host": "localhost:8080"}, True),
        ({"host": "localhost:8080", "origin": "http://localhost:8080"}, True),
        ({"host": "localhost:8080", "origin": "http://evil.example"}, False),
        ({"host": "localhost:8080", "origin": "null"}, False),
        ({"host": "localhost:8080", "sec-fetch-site": "cross-site"}, False),
        ({"host": "localhost:8080", "sec-fetch-site": "same-site"}, False),
    ],
)
def test_what_another_site_sends_is_refused(headers: dict[str, str], good: bool, client: redis.Redis) -> None:
    guard = Guard(config(), client)
    if good:
        guard.check_origin(Headers(headers))
    else:
        with pytest.raises(Refusal):
            guard.check_origin(Headers(headers))


def test_foreign_names_are_refused_where_they_can_be_known(client: redis.Redis) -> None:
    own, public = Guard(config(), client), Guard(config(host="0.0.0.0"), client)
    named = Guard(config(host="0.0.0.0", hosts=("shop.example",)), client)
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]"):
        own.check_host(Headers({"host": host}))
    public.check_host(Headers({"host": "anything.example"}))
    named.check_host(Headers({"host": "shop.example:443"}))
    for guard, host in ((own, "evil.example:8080"), (own, ""), (named, "localhost")):
        with pytest.raises(Refusal):
            guard.check_host(Headers({"host": host}))


def test_roles_contain_each_other() -> None:
    agent = access.Who("anna", "agent")
    assert [agent.may(role) for role in ("viewer", "agent", "operator", "admin")] == [True, True, False, False]


# -- the door ----------------------------------------------------------------------------------------------------------


def door(client: redis.Redis, url: str, base: str = "http://localhost", **settings: object) -> TestClient:
    return TestClient(
        service.build(config(url, **settings), client, pages=False), base_url=base, follow_redirects=False
    )


def test_nothing_but_the_form_is_reached_without_a_token(client: redis.Redis, redis_server: str) -> None:
    AccessStore(client, "web").create("anna", "viewer", now=NOW)
    called = door(client, redis_server)
    for path in ("/v1/me", "/v1/plays", "/v1/openapi.json", "/v1/nothing", "/", "/_nicegui/x.js"):
        answer = called.get(path)
        assert (answer.status_code, answer.json()["error"]) == (401, "sign_in"), path
        assert called.get(path, headers={"accept": "text/html"}).headers["location"] == "/login"
    assert called.get("/login").status_code == 200


def test_signing_in_and_out(client: redis.Redis, redis_server: str) -> None:
    text, _ = AccessStore(client, "web").create("anna", "operator", now=NOW)
    called = door(client, redis_server)
    assert called.post("/login", data={"token": "wrong"}).status_code == 401
    answer = called.post("/login", data={"token": f" {text} "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    me = called.get("/v1/me").json()
    assert (me["name"], me["role"]) == ("anna", "operator")
    # What changes something takes more than the cookie that a browser sends along by itself.
    order = {"plays": ["*"], "reason": "a test"}
    for headers in ({}, {"x-csrf-token": "0" * 64}):
        assert called.post("/v1/plays/pause", json=order, headers=headers).json()["error"] == "csrf"
    assert called.post("/v1/lookup", json={}, headers={"x-csrf-token": me["csrf"]}).status_code == 422
    assert called.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert called.post("/logout", data={"csrf": me["csrf"]}).headers["location"] == "/login"
    assert called.get("/v1/me").status_code == 401


def test_a_revoked_token_and_its_sessions_are_refused_at_once(client: redis.Redis, redis_server: str) -> None:
    store = AccessStore(client, "web")
    text, token = store.create("anna", "viewer", now=NOW)
    bearer, session = door(client, redis_server), door(client, redis_server)
    bearer.headers["authorization"] = f"Bearer {text}"
    session.post("/login", data={"token": text})
    assert [each.get("/v1/me").status_code for each in (bearer, session)] == [200, 200]
    store.revoke(token.id, now=NOW)
    assert [each.get("/v1/me").status_code for each in (bearer, session)] == [401, 401]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says what it hears on a web socket."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def test_an_open_web_socket_closes_when_its_token_is_revoked(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "AGAIN", 0.0)
    guard = Guard(config(), client)
    text, token = guard.store.create("anna", "viewer", now=NOW)
    called = TestClient(gate.Gate(echo, guard, Dashboard()), base_url="http://localhost")
    own = {"authorization": f"Bearer {text}", "host": "localhost"}
    for refused in ({"host": "localhost"}, {**own, "origin": "http://evil.example"}, {**own, "host": "evil.example"}):
        with pytest.raises(WebSocketDisconnect), called.websocket_connect("/_nicegui_ws/", headers=refused):
            pass
    with called.websocket_connect("/_nicegui_ws/", headers=own) as socket:
        socket.send_text("one")
        assert socket.receive_text() == "one"
        guard.store.revoke(token.id, now=NOW)
        socket.send_text("two")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()


def test_requests_and_attempts_to_sign_in_are_limited(client: redis.Redis, redis_server: str) -> None:
    store = AccessStore(client, "web")
    texts = [store.create(name, "viewer", now=NOW)[0] for name in ("anna", "bert")]
    called = door(client, redis_server, requests_per_minute=3, sign_ins_per_minute=2)
    anna, bert = ({"authorization": f"Bearer {text}"} for text in texts)
    assert [called.get("/v1/me", headers=anna).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert int(called.get("/v1/me", headers=anna).headers["retry-after"]) <= 21
    assert called.get("/v1/me", headers=bert).status_code == 200
    assert [called.post("/login", data={"token": "x"}).status_code for _ in range(3)] == [401, 401, 429]


def test_no_answer_waits_for_its_head_to_be_acknowledged() -> None:
    with (
        service.listen(Dashboard(port=0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_every_answer_carries_the_headers_that_browsers_heed(client: redis.Redis, redis_server: str) -> None:
    plain = door(client, redis_server)
    for answer in (plain.get("/v1/me"), plain.get("/login"), plain.get("/v1/nothing"), plain.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers
    assert "unsafe" not in plain.get("/login").headers["content-security-policy"]
    text, _ = AccessStore(client, "web").create("anna", "viewer", now=NOW)
    secure = door(client, redis_server, "https://localhost", behind_proxy=True)
    signed_in = secure.post("/login", data={"token": text})
    assert signed_in.headers["strict-transport-security"].startswith("max-age=")
    assert signed_in.headers["set-cookie"].startswith("__Host-touchstream=")
    assert "secure" in signed_in.headers["set-cookie"].lower()
    assert secure.get("/v1/me").status_code == 200


def test_what_was_asked_for_is_in_no_answer_that_refuses(client: redis.Redis, redis_server: str) -> None:
    called = door(client, redis_server)
    for answer in (
        called.get("/v1/customers/email:sentinel@example.com"),
        called.get("/v1/customers/sentinel/decisions"),
        called.get("/v1/sentinel"),
        called.get("/v1/customers/sentinel%0A"),
        called.get("/v1/customers/x", headers={"purpose": "s"}),
        called.post("/v1/lookup", json={"customer": "email:sentinel@example.com", "sentinel": 1}),
        called.post("/v1/lookup", content=b'{"customer": "sentinel'),
        called.post("/v1/identity/sentinel", json={}),
        called.put("/v1/plays"),
    ):
        assert answer.status_code in (403, 404, 405, 422), answer.text
        assert set(answer.json()) == {"error", "text"}
        assert "sentinel" not in answer.text


def test_redis_away_is_said_so() -> None:
    away = config()
    answer = TestClient(service.build(away, pages=False), base_url="http://localhost").get("/v1/plays")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")


def test_the_audit_is_kept_for_a_year_whatever_else_is() -> None:
    short, long = (
        msgspec.structs.replace(config(), topics=msgspec.structs.replace(config().topics, retention_days=days))
        for days in (1, 3650)
    )
    kept = {each.name: each.retention_ms for each in topics(short)}
    assert kept["web.audit"] >= YEAR_MS
    assert kept["web.decisions"] == 86_400_000
    assert {each.name: each.retention_ms for each in topics(long)}["web.audit"] == 3650 * 86_400_000
