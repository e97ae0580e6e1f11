"""Bad, strange and repeated input, by families, each record with what must become of it.

A record is ``applied``, a counted ``duplicate``, or ``dead``: a dead letter with its reason and its own bytes. Order
matters for duplicates alone, which come last. All is seen on one device, so that what is repeated is repeated for the
same customer.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

from schemas.touchpoint import TYPES

#: 2026-01-01T00:00:00Z
TIME = 1_767_225_600_000
#: More than a broker takes unless it is told to.
MEGABYTES = 10_000_000
#: Deeper than any decoder goes.
DEPTH = 5_000


class Sample(NamedTuple):
    """One record; ``reason``: of a dead letter."""

    name: str
    value: bytes | None
    fate: Literal["applied", "duplicate", "dead"]
    reason: str = ""


@cache
def corpus() -> list[Sample]:
    """All of it."""
    families = (
        _texts, _encodings, _numbers, _shapes, _envelopes, _fields, _times, _names, _junk, _identifiers, _bodies,
        _consents, _sizes, _strange, _repeated,
    )  # fmt: skip
    return [sample for family in families for sample in family()]


def good(name: str, **changes: Any) -> bytes:
    """A good record with other fields; None leaves one out."""
    return json.dumps({key: value for key, value in {**_good(name), **changes}.items() if value is not None}).encode()


def _good(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "source": "shop",
        "type": "Page Viewed",
        "time": TIME,
        "at": TIME,
        "identifiers": [_device("dev-1")],
        "data": {},
    }


def _device(value: Any) -> dict[str, Any]:
    return {"ns": "device", "value": value}


def _dead(name: str, value: bytes | None, reason: str) -> Sample:
    return Sample(name, value, "dead", reason)


def _applied(name: str, **changes: Any) -> Sample:
    return Sample(name, good(name, **changes), "applied")


def _with(name: str, old: bytes, new: bytes) -> bytes:
    """A good record with other bytes in the place of some of its own."""
    record = good(name)
    assert record.count(old) == 1
    return record.replace(old, new)


def _texts() -> Iterator[Sample]:
    """No JSON at all, or nearly."""
    yield _dead("tombstone", None, "empty")
    yield _dead("empty", b"", "empty")
    whole = good("cut")
    for at in range(1, len(whole), 7):
        yield _dead(f"cut at {at}", whole[:at], "not_json")
    for at in (1, 20, 60, 100):
        yield _dead(f"begun at {at}", whole[at:], "not_json" if whole[at : at + 1] != b'"' else "invalid")
    others: dict[str, bytes] = {
        "blank": b" \n\t ",
        "nul": b"\0",
        "nuls": b"\0" * 100,
        "xml": b"<?xml version='1.0'?><event id='1'/>",
        "html": b"<!doctype html><title>502 Bad Gateway</title>",
        "csv": b"id,source,type,time\n1,shop,Page Viewed,1767225600000\n",
        "yaml": b"id: e1\nsource: shop\ntype: Page Viewed\n",
        "form": b"id=e1&source=shop&type=Page+Viewed",
        "python": str(_good("python")).encode(),
        "javascript": b'{id: "e1", source: "shop"}',
        "trailing comma": whole[:-1] + b",}",
        "no commas": whole.replace(b", ", b" "),
        "comment": b"/* late */ " + whole,
        "line comment": whole + b" // late",
        "prefix": b")]}',\n" + whole,
        "text behind": whole + b"x",
        "two records": whole + whole,
        "lines of records": whole + b"\n" + whole,
        "more brackets": whole + b"}",
        "fewer brackets": whole[:-1],
        "schema registry": b"\0\0\0\0\x07" + whole,
        "avro": b"Obj\x01\x04\x14avro.codec\x08null",
        "gzip": gzip.compress(whole, mtime=0),
        "base64": b"eyJpZCI6ImUxIn0=",
        "single quotes": whole.replace(b'"', b"'"),
        "raw newline": _with("raw newline", b"shop", b"sh\nop"),
        "raw control": _with("raw control", b"shop", b"sh\x01op"),
        "bad escape": _with("bad escape", b"shop", b"sh\\xop"),
        "short escape": _with("short escape", b"shop", b"sh\\u12"),
        "no text": _with("no text", b'"shop"', b"shop"),
    }
    for name, value in others.items():
        yield _dead(name, value, "not_json")
    yield _dead("text of text", json.dumps(whole.decode()).encode(), "invalid")


def _encodings() -> Iterator[Sample]:
    """Bytes that are not UTF-8, and marks of byte order."""
    text = good("encoded").decode()
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"):
        value = text.encode(encoding) if encoding != "utf-7" else b"+AHs-" + text.encode()
        yield _dead(f"in {encoding}", value, "not_json")
    wrong = {
        "latin-1": "Müller".encode("latin-1"),
        "gbk": "茶馆".encode("gbk"),
        "ff": b"\xff",
        "overlong": b"\xc0\x80",
        "half a character": b"\xe8\x8c",
        "a surrogate": b"\xed\xa0\x80",
        "cesu": b"\xed\xa0\xbd\xed\xb8\x80",
        "beyond unicode": b"\xf5\x80\x80\x80",
        "continuation": b"\x80",
    }
    for name, some in wrong.items():
        yield _dead(f"id with {name}", _with(f"{name} 1", b"shop", some), "not_json")
        yield _dead(f"value with {name}", _with(f"{name} 2", b"dev-1", some), "not_json")
        yield _dead(f"data with {name}", _with(f"{name} 3", b"{}", b'{"url":"' + some + b'"}'), "not_json")
        odd = _with(f"{name} 4", b"{}", b'{"odd":"' + some + b'"}').replace(b"Page Viewed", b"Never Heard Of")
        yield _dead(f"unknown type with {name}", odd, "not_json")
        # Nobody looks at what nobody knows.
        yield Sample(f"unknown with {name}", _with(f"{name} 5", b'"at"', b'"odd":"' + some + b'","at"'), "applied")
    for name, escape in (("high", b"\\ud800"), ("low", b"\\udc00"), ("twice high", b"\\ud800\\ud800")):
        yield _dead(f"escape of a {name} surrogate in the id", _with("half 1", b"shop", escape), "not_json")
        yield _dead(f"escape of a {name} surrogate in a value", _with("half 2", b"dev-1", escape), "not_json")
        url = b'{"url":"' + escape + b'"}'
        yield _dead(f"escape of a {name} surrogate in the data", _with("half 3", b"{}", url), "not_json")


def _numbers() -> Iterator[Sample]:
    """What is no number in JSON, and numbers that fit nothing."""
    words = (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"0x10",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"01",
        b"--1",
        b"1_000",
        b"1,5",
        b"nil",
    )
    for word in words:
        yield _dead(f"time {word!r}", _with("t", b'"time": 1767225600000', b'"time": ' + word), "not_json")
        order = b'{"order_id":"o","revenue":' + word + b"}"
        ordered = _with("n", b"{}", order).replace(b"Page Viewed", b"Order Completed")
        yield _dead(f"revenue {word!r}", ordered, "not_json")
    yield _dead("a time as a power", _with("t", b'"time": 1767225600000', b'"time": 1.7672256e12'), "invalid")
    huge = (b"1" + b"0" * 30, b"9" * 400, b"-" + b"9" * 5_000, b"1e400", b"-1e400", b"1e308")
    for word in huge:
        order = b'{"order_id":"o","revenue":' + word + b"}"
        ordered = _with("n", b"{}", order).replace(b"Page Viewed", b"Order Completed")
        yield _dead(f"revenue {word[:6]!r} ({len(word)})", ordered, "invalid")
        points = _with("n", b"{}", b'{"points":' + word + b"}").replace(b"Page Viewed", b"Points Earned")
        yield _dead(f"points {word[:6]!r} ({len(word)})", points, "invalid")


def _shapes() -> Iterator[Sample]:
    """JSON, but no object that is a touchpoint."""
    whole = _good("shape")
    shapes: list[Any] = [
        [], {}, None, True, 0, 1.5, "text", [1, 2], [whole], [[]], {"event": whole}, {"records": [whole]},
        {"payload": whole, "schema": {}}, {"before": None, "after": whole, "op": "c"}, {"value": json.dumps(whole)},
        {"": ""}, {"id": "x"}, [None] * 100,
    ]  # fmt: skip
    for number, shape in enumerate(shapes):
        yield _dead(f"shape {number}", json.dumps(shape).encode(), "invalid")
    for name, (begin, end) in {"lists": (b"[", b"]"), "objects": (b'{"a":', b"}")}.items():
        deep = begin * DEPTH + b"1" + end * DEPTH
        yield _dead(f"deep {name}", deep, "invalid" if name == "lists" else "not_json")
        yield _dead(f"deep {name} in the data", _with("d", b"{}", deep), "not_json")
        yield _dead(
            f"deep {name} in identifiers", _with("d", b'[{"ns": "device", "value": "dev-1"}]', deep), "not_json"
        )
        yield _dead(f"deep {name} in an unknown field", _with("d", b'"at"', b'"odd":' + deep + b',"at"'), "not_json")


def _envelopes() -> Iterator[Sample]:
    """Envelopes of others."""
    at = "2026-01-01T00:00:00Z"
    cloud = {"specversion": "1.0", "id": "c1", "source": "shop", "type": "cn.shop.viewed", "time": at}
    segment = {"messageId": "m1", "timestamp": at, "anonymousId": "a1", "userId": "u1"}
    others: dict[str, Any] = {
        "cloudevents of another version": {**cloud, "specversion": "0.1", "data": {"sku": "1"}},
        "cloudevents without id": {key: value for key, value in cloud.items() if key != "id"},
        "cloudevents with data in base64": {**cloud, "data_base64": "AAEC"},
        "segment without event": {**segment, "type": "track"},
        "segment without ids": {"messageId": "m2", "type": "track", "event": "Product Viewed", "timestamp": at},
        "segment of no known type": {**segment, "type": "screech"},
        "segment with a batch": {"batch": [{**segment, "type": "track", "event": "X"}], "sentAt": at},
        "snowplow": {"app_id": "shop", "platform": "web", "etl_tstamp": at, "event": "page_view"},
        "adobe": {"_id": "1", "timestamp": at, "identityMap": {"ECID": [{"id": "1"}]}},
        "google analytics": {"client_id": "1.2", "events": [{"name": "view_item"}]},
        "amplitude": {"user_id": "1", "event_type": "view", "time": TIME},
        "mixpanel": {"event": "view", "properties": {"distinct_id": "1", "time": TIME // 1000}},
        "matomo": {"idsite": 1, "rec": 1, "action_name": "view"},
        "debezium": {"payload": {"before": None, "after": {"id": 1}, "op": "c"}},
        "amqp": {"headers": {}, "body": {"id": "1"}},
        "an error": {"error": {"code": 500, "message": "internal"}},
        "a heartbeat": {"type": "heartbeat", "time": TIME},
    }
    for name, envelope in others.items():
        bare = name.startswith("cloudevents") and "without" not in name
        yield _dead(name, json.dumps(envelope).encode(), "no_identifier" if bare else "invalid")


#: Something of each type of JSON.
_KINDS: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a fraction": 1.5,
    "a truth": True,
    "a list": [],
    "an object": {},
}


def _fields() -> Iterator[Sample]:
    """Each field of the envelope as something else, or not at all."""
    fits = {"time": {"a number"}, "received": {"null", "a number"}, "at": {"null", "a number"}}
    optional = {each: {"null"} for each in ("session", "channel", "store")} | {"device": {"null", "an object"}}
    lists = {"identifiers": {"a list", "null"}, "consent": {"a list"}, "data": {"an object"}}
    required: dict[str, set[str]] = {"id": set(), "source": set(), "type": set()}
    for field, allowed in {**fits, **optional, **lists, **required}.items():
        for kind, value in _KINDS.items():
            if kind not in allowed:
                record = {**_good("f"), field: value}
                yield _dead(f"{field} is {kind}", json.dumps(record).encode(), "invalid")
        if field in ("id", "source", "type", "time"):
            yield _dead(f"without {field}", good("f", **{field: None}), "invalid")
    for field, longest in {"id": 256, "source": 64, "type": 64, "session": 256, "channel": 64, "store": 64}.items():
        yield _dead(f"{field} is empty", good("f", **{field: ""}), "invalid")
        yield _dead(f"{field} is long", good("f", **{field: "x" * (longest + 1)}), "invalid")
    for field in ("kind", "os", "app_version"):
        yield _dead(f"device.{field} is a number", good("f", device={field: 7}), "invalid")


def _times() -> Iterator[Sample]:
    """Times of other units, other centuries, and in other words."""
    for time in (0, 1, -1, 86_400_000, TIME // 1000, TIME * 1000, TIME * 1_000_000, 4_102_444_800_000, 631_151_999_999):
        yield _dead(f"time {time}", good("t", time=time), "time_out_of_range")
        yield _dead(f"at {time}", good("t", at=time), "time_out_of_range") if time else _applied("at 0", at=None)
    for time in (2**63, -(2**63) - 1, 10**30):
        yield _dead(f"time {time}", good("t", time=time), "time_out_of_range")
    texts = {
        "1970-01-01T00:00:00Z": "time_out_of_range",
        "1969-12-31T23:59:59Z": "time_out_of_range",
        "2100-01-01T00:00:00Z": "time_out_of_range",
        "9999-12-31T23:59:59Z": "time_out_of_range",
        "0001-01-01T00:00:00Z": "time_out_of_range",
        "0001-01-01T00:00:00+14:00": "time_out_of_range",
        "9999-12-31T23:59:59-14:00": "time_out_of_range",
        "2026-01-01T00:00:00": "time_without_zone",
        "2026-01-01": "time_without_zone",
        "20260101T000000": "time_without_zone",
    }
    for text, reason in texts.items():
        yield _dead(f"time {text}", good("t", time=text), reason)
    words = (
        "", " ", "now", "yesterday", "null", "1767225600000", "1767225600", "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:60:00Z", "01/02/2026 10:00", "1.2.2026",
        "Thu, 01 Jan 2026 00:00:00 GMT", "2026年1月1日", "2026-01-01T00:00:00 Asia/Shanghai", "T00:00:00Z",
        "2026-01-01T00:00:00+99:00", "-2026-01-01T00:00:00Z", "+12026-01-01T00:00:00Z", "NaN",
        "\uff12026-01-01T00:00:00Z", "2026-01-01T00:00:00Z" * 50,
    )  # fmt: skip
    for text in words:
        yield _dead(f"time {text[:40]!r}", good("t", time=text), "time_not_rfc3339")


def _names() -> Iterator[Sample]:
    """Names that look like something else, and would stay in the clear."""
    for field in ("source", "type", "channel", "store"):
        for name in (
            "ann@mail.cn",
            "line\nbreak",
            "nul\0",
            " begins",
            "茶馆",
            "a|b",
            "<script>",
            "\u202etrap",
            "-dash",
        ):
            yield _dead(f"{field} {name!r}", good("n", **{field: name}), "not_a_name")


def _junk() -> Iterator[Sample]:
    """Identifiers that are nobody's: alone they are no use, beside a good one they are left out."""
    nobody = (
        "", " ", "null", "NULL", "None", "undefined", "unknown", "n/a", "0", "00000000-0000-0000-0000-000000000000",
        "anonymous", "test", "[object Object]", "aaaaaa", "123456", "-1", "{}", '""', "\ufeffnull", "deleted",
    )  # fmt: skip
    wrong = {
        "email": ("nobody", "@", "a@", "@b.cn", "a@b", "a b@c.cn", "a@b@c.cn", "test@test.com", "x" * 300 + "@mail.cn",
                  "info@shop.cn", "a@localhost", "a@b..cn", "a\n@b.cn"),
        "phone": ("12", "abc", "+", "000000", "13800138000", "1" * 30, "+999123456789", "tel:", "(), -"),
    }  # fmt: skip
    for ns in ("member", "device", "cookie", "loyalty_card", "wechat_openid", "advertising_id", "email", "phone"):
        for value in wrong.get(ns, ()) + nobody[:: 1 if ns in ("member", "device") else 4]:
            shown = [{"ns": ns, "value": value}]
            yield _dead(f"{ns} {value[:20]!r}", good("j", identifiers=shown), "no_usable_identifier")
    for value in ("null", "", "0"):
        yield _applied(f"device {value!r} and another", identifiers=[_device(value), _device("dev-1")])


def _identifiers() -> Iterator[Sample]:
    """Identifiers that are none."""
    for name, shown in (("none", []), ("missing", None)):
        yield _dead(f"identifiers {name}", good("i", identifiers=shown), "no_identifier")
    for field in ("ns", "value"):
        for kind, value in _KINDS.items():
            yield _dead(f"{field} is {kind}", good("i", identifiers=[{**_device("x"), field: value}]), "invalid")
        one = _device("x")
        del one[field]
        yield _dead(f"without {field}", good("i", identifiers=[one]), "invalid")
    faulty: dict[str, Any] = {
        "too many": [_device(f"d{number}") for number in range(51)],
        "of no kind": [{**_device("x"), "kind": "guess"}],
        "of an empty kind": [{**_device("x"), "kind": ""}],
        "long": [_device("x" * 513)],
        "with a long namespace": [{"ns": "n" * 65, "value": "x"}],
        "with an empty namespace": [{"ns": "", "value": "x"}],
        "as texts": ["device:x"],
        "as an object": {"device": "x"},
        "as a text": "device:x",
        "nested": [[_device("x")]],
        "null": [None],
        "a good one and null": [_device("dev-1"), None],
    }
    for name, shown in faulty.items():
        yield _dead(f"identifiers {name}", good("i", identifiers=shown), "invalid")
    for ns in ("de\nvice", "7days", "a|b", "茶", "-", "a:b", " "):
        yield _dead(f"namespace {ns!r}", good("i", identifiers=[{"ns": ns, "value": "x-77"}]), "no_usable_identifier")


#: What each body must have, and what of it can be wrong.
_NEEDED: dict[str, dict[str, Any]] = {
    "Product Viewed": {"product": {"sku": "s"}},
    "Product Added to Wishlist": {"product": {"sku": "s"}},
    "Products Searched": {"query": "tea"},
    "Order Completed": {"order_id": "o"},
    "Order Cancelled": {"order_id": "o"},
    "Order Refunded": {"order_id": "o"},
    "Message Bounced": {"channel": "sms"},
    "Ticket Opened": {"ticket_id": "t"},
    "Stock Changed": {"sku": "s", "stock": 1},
    "Price Changed": {"sku": "s", "price": 1.5},
}
_WRONG: dict[str, list[dict[str, Any]]] = {
    "Page Viewed": [{"url": 7}, {"url": "x" * 4_097}, {"title": []}, {"category": ""}],
    "Product Viewed": [{"product": {}}, {"product": "s"}, {"product": {"sku": ""}}, {"product": {"sku": 7}},
                       {"product": {"sku": "s", "price": "9.5"}}, {"product": {"sku": "s", "quantity": -1}}],
    "Product Added": [{"cart_id": ""}, {"cart_id": 7}, {"value": "1"}, {"value": 1e10}, {"product": []}],
    "Order Completed": [{"order_id": "o", "currency": "yuan"}, {"order_id": "o", "revenue": "9"},
                        {"order_id": "o", "revenue": 1e300}, {"order_id": "o", "lines": {}},
                        {"order_id": "o", "lines": [{"sku": "s"}] * 501}, {"order_id": "x" * 257},
                        {"order_id": "o", "lines": [{"sku": "s", "quantity": 1.5}]}],
    "Order Refunded": [{"order_id": "o", "amount": None}, {"order_id": ["o"]}],
    "Message Bounced": [{"channel": "sms", "bounce": "medium"}, {"channel": ""}, {"channel": ["sms"]}],
    "Ticket Closed": [{"ticket_id": "t", "satisfaction": 11}, {"ticket_id": "t", "due_at": 1.5}],
    "Points Earned": [{"points": 10**30}, {"points": "7"}, {"balance": 1.5}, {"tier": ""}],
    "Stock Changed": [{"sku": "s", "stock": -1}, {"sku": "s", "stock": "3"}, {"sku": "", "stock": 1}],
    "Price Changed": [{"sku": "s", "price": None}, {"sku": "s", "price": 1e12}],
    "Signed Up": [{"name": 7}, {"birthday": 19900228}, {"language": []}],
}  # fmt: skip


def _bodies() -> Iterator[Sample]:
    """Bodies of the wrong shape, without what they need, or with something wrong."""
    for type in TYPES:
        yield _dead(f"{type} with a list", good("b", type=type, data=[1]), "invalid")
    for type, needed in _NEEDED.items():
        for field in needed:
            less = {key: value for key, value in needed.items() if key != field}
            yield _dead(f"{type} without {field}", good("b", type=type, data=less), "invalid")
    for type, wrong in _WRONG.items():
        for data in wrong:
            yield _dead(f"{type} {json.dumps(data)[:60]}", good("b", type=type, data=data), "invalid")
    due = {"ticket_id": "t", "due_at": 5}
    yield _dead("a ticket due in 1970", good("b", type="Ticket Opened", data=due), "time_out_of_range")
    yield _dead(
        "points that expire one day", good("b", type="Points Earned", data={"expires_at": "soon"}), "time_not_rfc3339"
    )


def _consents() -> Iterator[Sample]:
    """Consent that does not say to what."""
    faulty: list[Any] = [
        [{"channel": "email"}], [{"granted": True}], [{"channel": "email", "granted": "yes"}],
        [{"channel": "email", "granted": 1}], [{"channel": "email", "granted": None}],
        [{"channel": "", "granted": True}],
        [{"channel": "email", "granted": True, "purpose": ""}], [None], ["email"], {"email": True},
        [{"channel": "email", "granted": True}] * 51,
    ]  # fmt: skip
    for number, consent in enumerate(faulty):
        yield _dead(f"consent {number}", good("c", consent=consent), "invalid")


def _sizes() -> Iterator[Sample]:
    """Much of something."""
    much = "x" * MEGABYTES
    yield _dead("10 MB of no JSON", much.encode(), "not_json")
    yield _dead("10 MB of brackets", b"[" * MEGABYTES, "invalid")
    yield _dead("10 MB of zeros", b"0" * MEGABYTES, "not_json")
    yield _dead("10 MB of a number", b"9" * MEGABYTES, "invalid")
    yield _dead("10 MB of nothing", b"\0" * MEGABYTES, "not_json")
    yield _dead("10 MB of blanks", b" " * MEGABYTES, "not_json")
    yield _dead("10 MB of an id", good(much), "invalid")
    yield _dead("10 MB of a value", good("z", identifiers=[_device(much)]), "invalid")
    yield _dead("10 MB of identifiers", good("z", identifiers=[_device("dev-1")] * 300_000), "invalid")
    yield _dead("10 MB of a url", good("z", data={"url": much}), "invalid")
    yield _dead("10 MB, cut", good("z", odd=much)[:-1], "not_json")
    yield _applied("10 MB of an unknown field", odd=much)
    yield _applied("10 MB of an unknown type", type="Never Heard Of", data={"much": much[: MEGABYTES - 3_000_000]})
    yield _applied("many unknown fields", **{f"odd{number}": number for number in range(10_000)})


def _strange() -> Iterator[Sample]:
    """Strange, but legal."""
    yield _applied("plain")
    yield _applied("of an unknown type", type="Never Heard Of", data={"any": ["thing", {"at": 1}]})
    yield _applied("of an unknown type with a list", type="Never Heard Of", data=[1, None])
    yield _applied("of an unknown type with a number", type="Never Heard Of", data=7)
    yield _applied("without data", data=None)
    yield Sample("data is null, unknown type", _with("nulls", b"{}", b"null").replace(b"Page", b"Pages"), "applied")
    yield _applied("with a zone", time="2026-01-01T08:00:00.123+08:00")
    yield _applied("with a zone of seconds", time="2026-01-01T00:00:00+00:00:01")
    yield _applied("of last year", time="2024-02-29T12:00:00Z")
    yield _applied("of 1999", time="1999-12-31T23:59:59Z")
    yield _applied("from the future", time=TIME + 900_000_000)
    yield _applied("of 2099", time="2099-12-31T23:59:59Z")
    yield _applied("a namespace of words", identifiers=[{"ns": "Tea House Card", "value": "茶 \u202e\u0000 7"}])
    yield _applied("unknown fields", colour="red", data={"url": "https://shop.cn/?q=%00", "colour": {"deep": [1]}})
    yield _applied("nested nulls", odd={"a": [None, {"b": None}]}, data={"url": None, "title": None})
    yield _applied("\u0000\u2028😀")
    yield _applied("a long value", identifiers=[_device("xy-7" * 128)])
    yield _applied("a product", type="Stock Changed", identifiers=[], data={"sku": "sku 😀 /?#", "stock": 3})
    yield _applied(
        "500 lines", type="Order Completed", data={"order_id": "o1", "revenue": -1.5, "lines": [{"sku": "a"}] * 500}
    )
    yield _applied("a household", identifiers=[{"ns": "household", "value": "home"}])
    yield _applied("a long url", data={"url": "x" * 4_096})
    yield _applied("50 identifiers", identifiers=[_device("dev-1")] * 50)
    yield _applied("an unknown channel", channel="carrier pigeon")
    yield _applied("a birthday that is none", type="Signed Up", data={"birthday": "02-31"})
    yield _applied("0 points", type="Points Earned", data={"points": 0, "balance": -(10**12)})
    yield _applied("a surrogate pair", data={"url": "\U0001f600"})
    yield Sample("white space", b" \n\t" + good("white space") + b"\n ", "applied")
    yield Sample("a field twice", _with("twice", b'"shop"', b'"web", "source": "shop"'), "applied")
    yield Sample("escapes", _with("escapes", b"shop", b"\\u0073hop"), "applied")
    yield _applied("the same id from elsewhere", id="plain", source="till")


def _repeated() -> Iterator[Sample]:
    """What has been said before, in the same or in other words: said once is enough."""
    said: dict[str, dict[str, Any]] = {
        "again": {},
        "as another type": {"type": "Products Searched", "data": {"query": "tea"}},
        "as an unknown type": {"type": "Never Heard Of", "data": {"a": 1}},
        "an hour later": {"time": TIME + 3_600_000},
        "in 1999": {"time": "1999-12-31T23:59:59Z"},
        "with other unknown fields": {"odd": 7},
        "in another channel": {"channel": "app"},
        "in another session": {"session": "s2"},
        "with consent": {"consent": [{"channel": "email", "granted": True}]},
        "with junk beside it": {"identifiers": [_device("null"), _device("dev-1")]},
    }
    for name, changes in said.items():
        yield Sample(f"plain {name}", good("plain", **changes), "duplicate")
    yield Sample("white space again", good("white space") + b"\n\n", "duplicate")
    yield Sample("from elsewhere again", good("plain", source="till"), "duplicate")
