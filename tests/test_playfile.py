"""Files of plays: the starter set is fine, and of a bad file every fault is listed, with its path and what is allowed."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import playfile
from flows.cli import main
from operators.playbook import PlayBook
from schemas.errors import ConfigError
from schemas.plays import When
from tests.effort import examples

GOOD: dict[str, Any] = {
    "windows": {
        "orders_90d": {"of": {"event": "Order Completed", "where": "event.revenue > 1"}, "within": "90d"},
        "spent_30d": {"of": {"event": "Order Completed"}, "within": "30d", "sum": "event.revenue", "exact": 20},
    },
    "segments": {"cooling": {"who": "window.orders_90d >= 2 and since(profile.last_order) > days(30)", "description": "x"}},
    "limits": {"start_within": "2h", "caps": [{"messages": 2, "within": "1d"}, {"messages": 1, "within": "7d", "channel": "sms"}]},
    "plays": {
        "hello": {"when": {"event": {"event": "Signed Up", "where": "event.country == 'CN'"}}, "channels": ["sms"], "cool_down": "1d"},
        "thrice": {
            "when": {"count": {"of": {"event": "Product Viewed", "by": "event.product.sku"}, "times": 3, "within": "7d",
                               "reset": {"event": "Order Completed", "by": "event.skus"}}},
            "channels": ["email", "sms"], "cool_down": "1d", "who": "profile.orders > 1", "values": {"sku": "key", "n": "count"},
        },
        "left": {
            "when": {"absence": {"after": {"event": ["Product Added"], "by": "event.cart_id"},
                                 "without": {"event": "Order Completed"}, "within": "30m"}},
            "channels": ["wechat"], "cool_down": "12h", "values": {"worth": "event.value"},
        },
        "leaving": {"when": {"score": {"rises_to": "high"}}, "channels": ["sms"], "cool_down": "1d"},
        "back": {"when": {"segment": {"left": "cooling"}}, "who": "window.spent_30d > 5", "channels": ["sms"], "cool_down": "1d"},
    },
}  # fmt: skip


def product(by: str | None = "event.product.sku", **kind: Any) -> dict[str, Any]:
    """What wakes a play about products."""
    of = {"event": "Product Viewed"} | ({"by": by} if by else {})
    return {"product": {"interested": {"of": of, "within": "7d"}, **kind}}


SOLD: dict[str, Any] = {"when": product(low_stock=3), "channels": ["sms"], "cool_down": "1d"}


def faults(tree: object) -> list[str]:
    """What is wrong with a file that holds ``tree``."""
    try:
        playfile.parse(yaml.safe_dump(tree).encode(), "plays.yaml")
    except ConfigError as error:
        return error.faults
    return []


def changed(path: str, value: object) -> dict[str, Any]:
    """The good file with one value put in, or (None) taken out."""
    tree = deepcopy(GOOD)
    *way, last = path.split("/")
    inner: Any = tree
    for key in way:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return tree


def test_a_good_file_is_good() -> None:
    assert faults(GOOD) == []
    file = playfile.parse(json.dumps(GOOD).encode(), "plays.yaml")
    assert list(PlayBook(file).plays) == sorted(["hello", "thrice", "left", "leaving", "back"])


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("plays", None, "plays: is missing"),
        ("plays", 3, "plays: must hold keys and values: 3"),
        ("plays", ["x"], "plays: must hold keys and values: ['x']"),
        ("play", {}, "play: is not a key; did you mean plays?"),
        ("limits", "x", "limits: must hold keys and values: 'x'"),
        ("limits/start", "1h", "limits.start: is not a key; known here: start_within, caps"),
        ("limits/start_within", 60, "limits.start_within: is not allowed: 60; allowed: a whole number of minutes, hours or days"),
        ("limits/start_within", "60s", "limits.start_within: is not allowed: '60s'"),
        ("limits/start_within", "0h", "limits.start_within: is not allowed: '0h'"),
        ("limits/caps", 3, "limits.caps: is not allowed: 3"),
        ("limits/caps", [3], "limits.caps[0]: must hold keys and values: 3"),
        ("limits/caps/0", {"messages": 0, "within": "1d"}, "limits.caps[0].messages: is not allowed: 0; allowed: a whole number from 1"),
        ("limits/caps/0", {"messages": 1}, "limits.caps[0].within: is missing"),
        ("limits/caps/1", {"messages": 1, "within": "1d", "channel": "fax"}, "limits.caps[1].channel: is not allowed: 'fax'; allowed: email or sms"),
        ("limits/caps/1", {"messages": 1, "within": "1d", "category": "A B"}, "limits.caps[1].category: is not allowed: 'A B'"),
        ("limits/caps/0", {"messages": 100, "within": "1d"}, "limits.caps: more than 200 messages could be sent within the longest window, 7 days"),
        ("limits/caps/0", {"messages": 1, "within": "1d", "channel": "sms"}, "add a cap without channel and category"),
        ("limits/timezone", "Mars", "limits.timezone: 'Mars' is no time zone; allowed: such as Asia/Shanghai"),
        ("limits/quiet_hours", {"start": "21:00"}, "limits.quiet_hours.end: is missing"),
        ("limits/quiet_hours", {"start": "21:00", "end": "9:00"}, "limits.quiet_hours.end: is not allowed: '9:00'; allowed: a time of day, in quotes"),
        ("limits/quiet_hours", {"start": "21:00", "end": 540}, "limits.quiet_hours.end: is not allowed: 540"),
        ("limits/holdout", 1.5, "limits.holdout: is not allowed: 1.5; allowed: a number from 0 to 1"),
        ("limits/groups", {"Big One": {}}, "limits.groups.Big One: is not allowed as a name"),
        ("limits/groups", {"offers": {"window": "soon"}}, "limits.groups.offers.window: is not allowed: 'soon'"),
        ("plays/hello/group", "offers", "plays.hello.group: 'offers' is not among limits.groups: none yet"),
        ("plays/hello/priority", -1, "plays.hello.priority: is not allowed: -1; allowed: a whole number from 0 to 1000"),
        ("plays/hello/worth", "'much'", "plays.hello.worth: character 1: is a text, but a number is wanted here"),
        ("plays/hello/budget", 7, "plays.hello.budget: must hold keys and values: 7"),
        ("plays/hello/budget", {"messages": 1.5, "per": "1d"}, "plays.hello.budget.messages: is not allowed: 1.5"),
        ("plays/hello/holdout", "some", "plays.hello.holdout: is not allowed: 'some'"),
        ("plays/hello/variants", {"a": {"weight": 0}}, "plays.hello.variants: none has any weight"),
        ("plays/hello/variants", {"a": {"values": {"x": [1]}}}, "plays.hello.variants.a.values.x: is not allowed: [1]"),
        ("plays/hello/skips", ["everything"], "plays.hello.skips: is not allowed: ['everything']"),
        ("limits/caps/1", {"messages": 1, "within": "1d", "category": "care", "others": True}, "limits.caps[1].others: has no meaning beside category"),
        ("limits/caps/1", {"messages": 1, "within": "1d", "others": "all"}, "limits.caps[1].others: is not allowed: 'all'"),
        ("plays/hello/prefer", "cheapest", "plays.hello.prefer: is not allowed: 'cheapest'; allowed: engaged or order"),
        ("plays/hello/goal", "Order Completed", "plays.hello.goal: must hold keys and values: 'Order Completed'"),
        ("plays/hello/goal", {"event": {"event": "Order Completed"}}, "plays.hello.goal.within: is missing"),
        ("plays/hello/goal", {"event": {"event": "Order Complete"}, "within": "7d"}, "plays.hello.goal.event.event: 'Order Complete' is not a type of touchpoint; did you mean 'Order Completed'?"),
        ("plays/hello/goal", {"event": {"event": "Order Completed", "where": "event.revnue > 1"}, "within": "7d"}, "plays.hello.goal.event.where: character 1: event.revnue is not known here; did you mean event.revenue?"),
        ("plays/hello/goal", {"event": {"event": "Order Completed", "by": "event.skus"}, "within": "7d"}, "plays.hello.goal.event.by: asks for the key of the decision, but what wakes the play gives none"),
        ("plays/leaving/goal", {"event": {"event": "Order Completed", "by": "event.skus"}, "within": "7d"}, "plays.leaving.goal.event.by: asks for the key of the decision"),
        ("plays/hello/goal", {"event": {"event": "Order Completed"}, "within": "7d", "revenue": "event.coupon"}, "plays.hello.goal.revenue: character 1: is a text, but a number is wanted here"),
        ("plays/Hello", GOOD["plays"]["hello"], "plays.Hello: is not allowed as a name: 'Hello'; allowed: up to 48 lower-case"),
        ("plays/hello", None, ""),
        ("plays/hello", "x", "plays.hello: must hold keys and values: 'x'"),
        ("plays/hello", {}, "plays.hello.when: is missing; allowed: keys and values, of event, count, absence, delay"),
        ("plays/hello/when", {}, "plays.hello.when: has nothing; allowed: exactly one of event, count, absence, delay, silence, date, yearly, score, segment, product"),
        ("plays/hello/when", {"delay": {"after": {"event": "Signed Up"}}}, "plays.hello.when.delay.wait: is missing"),
        ("plays/hello/when", {"silence": {"of": {"event": "Signed Up", "by": "event.country"}, "wait": "1d"}}, "plays.hello.when.silence.of.by: has no meaning"),
        ("plays/hello/when", {"event": {"event": "Signed Up"}, "score": {"rises_to": "high"}}, "plays.hello.when: has event and score"),
        ("plays/hello/when", {"evnt": {"event": "Signed Up"}}, "plays.hello.when.evnt: is not a key; did you mean plays.hello.when.event?"),
        ("plays/hello/when/event", "Signed Up", "plays.hello.when.event: must hold keys and values: 'Signed Up'"),
        ("plays/hello/when/event", {"where": "1 == 1"}, "plays.hello.when.event.event: is missing"),
        ("plays/hello/when/event/event", [], "plays.hello.when.event.event: is not allowed: []"),
        ("plays/hello/when/event/event", 3, "plays.hello.when.event.event: is not allowed: 3"),
        ("plays/hello/when/event/event", "Signed up", "plays.hello.when.event.event: 'Signed up' is not a type of touchpoint; did you mean 'Signed Up'?"),
        ("plays/hello/when/event/where", "", "plays.hello.when.event.where: is not allowed: ''"),
        ("plays/hello/when/event/where", "event.contry == 'CN'", "plays.hello.when.event.where: character 1: event.contry is not known here; did you mean event.country?"),
        ("plays/hello/when/event/where", "event.country", "character 1: is a text, but a bool is wanted here"),
        ("plays/hello/when/event/where", "event.country = 'CN'", "equality is written `==`"),
        ("plays/hello/when/event/where", 3, "plays.hello.when.event.where: is not allowed: 3"),
        ("plays/hello/when/event/by", "event.time", "plays.hello.when.event.by: character 1: is a time, but a text or texts is wanted here"),
        ("plays/hello/channels", [], "plays.hello.channels: is not allowed: []; allowed: a list of email or sms or wechat, not empty"),
        ("plays/hello/channels", ["fax"], "plays.hello.channels: is not allowed: ['fax']"),
        ("plays/hello/channels", None, "plays.hello.channels: is missing"),
        ("plays/hello/cool_down", None, "plays.hello.cool_down: is missing"),
        ("plays/hello/cool_down", "1 day", "plays.hello.cool_down: is not allowed: '1 day'"),
        ("plays/hello/cooldown", "1d", "plays.hello.cooldown: is not a key; did you mean plays.hello.cool_down?"),
        ("plays/hello/once", "maybe", "plays.hello.once: is not allowed: 'maybe'; allowed: true or false"),
        ("plays/hello/purpose", "Any Thing", "plays.hello.purpose: is not allowed: 'Any Thing'"),
        ("plays/hello/who", "event.country == 'CN'", "plays.hello.who: character 1: event.country is not known here"),
        ("plays/hello/who", "profile.orders", "plays.hello.who: character 1: is a number, but a bool is wanted here; compare it"),
        ("plays/hello/values", {"x": "count"}, "plays.hello.values.x: character 1: count is not known here"),
        ("plays/hello/values", {"x": "key"}, "plays.hello.values.x: character 1: key is not known here"),
        ("plays/hello/values", {"x": "now"}, "plays.hello.values.x: character 1: is a time, but a text or number or bool is wanted"),
        ("plays/hello/values", {"X y": "1"}, "plays.hello.values.X y: is not allowed as a name"),
        ("plays/hello/values", ["x"], "plays.hello.values: must hold keys and values"),
        ("plays/thrice/when/count/times", 1, "plays.thrice.when.count.times: is not allowed: 1; allowed: a whole number from 2 to 20"),
        ("plays/thrice/when/count/times", 21, "plays.thrice.when.count.times: is not allowed: 21"),
        ("plays/thrice/when/count/within", None, "plays.thrice.when.count.within: is missing"),
        ("plays/thrice/when/count/of/by", None, "plays.thrice.when.count.reset.by: ends what has no key"),
        ("plays/thrice/when/count/reset/by", "event.product.sku", "plays.thrice.when.count.reset.by: character 1: event.product.sku is not known here"),
        ("plays/left/when/absence/without", None, "plays.left.when.absence.without: is missing"),
        ("plays/left/values", {"worth": "event.revenue"}, "plays.left.values.worth: character 1: event.revenue is not known here"),
        ("plays/hello/when", {"yearly": {"day": "birthdy"}}, "plays.hello.when.yearly.day: is not allowed: 'birthdy'; allowed: birthday or first_order"),
        ("plays/hello/when", {"yearly": {"day": "birthday", "before": "1d", "after": "1d"}}, "plays.hello.when: has before and after"),
        ("plays/hello/when", {"yearly": {"day": "birthday", "at": "9"}}, "plays.hello.when.yearly.at: is not allowed: '9'"),
        ("plays/hello/when", {"date": {"of": {"event": "Points Earned"}, "time": "event.points"}}, "plays.hello.when.date.time: character 1: is a number, but a time is wanted"),
        ("plays/hello/when", {"date": {"of": {"event": "Points Earned"}}}, "plays.hello.when.date.time: is missing"),
        ("plays/hello/when", {"date": {"of": {"event": "Ticket Opened"}, "time": "event.due_at", "without": {"event": "Ticket Closed", "by": "event.ticket_id"}}}, "plays.hello.when.date.without.by: ends what has no key"),
        ("plays/hello/mode", "dark", "plays.hello.mode: is not allowed: 'dark'; allowed: live or shadow or test"),
        ("plays/hello/late", "maybe", "plays.hello.late: is not allowed: 'maybe'; allowed: drop or send"),
        ("plays/hello/valid_from", "soon", "plays.hello.valid_from: is not allowed: 'soon'; allowed: a time with its zone"),
        ("plays/hello/valid_from", "2026-01-01T00:00:00", "plays.hello.valid_from: is not allowed"),
        ("plays/hello", {"when": {"event": {"event": "Signed Up"}}, "channels": ["sms"], "cool_down": "1d", "valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-02T00:00:00Z"}, "plays.hello.valid_until: 2026-01-02 00:00:00+00:00 is not after valid_from"),
        ("plays/hello/steps", [{"who": "True"}], "plays.hello.steps[0].wait: is missing"),
        ("plays/hello/steps", [{"wait": "1d", "who": "event.tier == 'x'"}], "plays.hello.steps[0].who: character 1: event.tier is not known here"),
        ("plays/hello/steps", [{"wait": "1d", "values": {"x": "event.tier"}}], "plays.hello.steps[0].values.x: character 1: event.tier is not known here"),
        ("plays/hello/steps", [{"wait": "1d", "channels": ["fax"]}], "plays.hello.steps[0].channels: is not allowed: ['fax']"),
        ("plays/hello/steps", [{"wait": "1d"}] * 11, "plays.hello.steps: has 11 entries; allowed: at most 10"),
        ("plays/hello/exit", {"event": "Order Complete"}, "plays.hello.exit.event: 'Order Complete' is not a type of touchpoint; did you mean 'Order Completed'?"),
        ("plays/hello/exit", {"where": "True"}, "plays.hello.exit.event: is missing"),
        ("plays/hello/exit_when", "profile.orders", "plays.hello.exit_when: character 1: is a number, but a bool is wanted"),
        ("plays/hello/choose", "bandit", "plays.hello.choose: bandit needs a goal to learn from, and at least two variants"),
        ("plays/hello/choose", "dice", "plays.hello.choose: is not allowed: 'dice'; allowed: bandit or weights"),
        ("plays/hello/variants", {"a": {"offer": "Big One"}}, "plays.hello.variants.a.offer: is not allowed: 'Big One'"),
        ("plays/hello/on_activate", "send", "plays.hello.on_activate: send has a meaning only for plays that wait for a segment to be entered"),
        ("limits/testers", "me", "limits.testers: is not allowed"),
        ("plays/hello/when", product(), "plays.hello.when.product: has none; allowed: exactly one of price_drop, back_in_stock, low_stock"),
        ("plays/hello/when", product(price_drop=5, low_stock=3), "plays.hello.when.product: has price_drop and low_stock; allowed: exactly one"),
        ("plays/hello/when", product(price_drop=0), "plays.hello.when.product.price_drop: is not allowed: 0"),
        ("plays/hello/when", product(price_drop=100), "plays.hello.when.product.price_drop: is not allowed: 100"),
        ("plays/hello/when", product(back_in_stock={"per_unit": 0}), "plays.hello.when.product.back_in_stock.per_unit: is not allowed: 0"),
        ("plays/hello/when", product(low_stock="few"), "plays.hello.when.product.low_stock: is not allowed: 'few'"),
        ("plays/hello/when", {"product": {"low_stock": 3}}, "plays.hello.when.product.interested: is missing"),
        ("plays/hello/when", product(low_stock=3, by=None), "plays.hello.when.product.interested.of.by: is missing; allowed: the product"),
        ("plays/hello/when", product(low_stock=3, by="event.sku"), "plays.hello.when.product.interested.of.by: character 1: event.sku is not known here"),
        ("plays/hello", {**SOLD, "values": {"x": "event.value"}}, "plays.hello.values.x: character 1: event.value is not known here"),
        ("plays/hello", {**SOLD, "values": {"x": "product.name"}}, "plays.hello.values.x: character 1: product.name is not known here"),
        ("plays/hello", {**SOLD, "values": {"x": "product.stock"}}, ""),
        ("plays/hello/who", "product.price > 1", "plays.hello.who: character 1: product.price is not known here"),
        ("plays/leaving/when/score", {}, "plays.leaving.when.score: allowed: exactly one of rises_to, falls_to"),
        ("plays/leaving/when/score", {"rises_to": "high", "falls_to": "low"}, "plays.leaving.when.score: allowed: exactly one"),
        ("windows", [], "windows: must hold keys and values: []"),
        ("windows/Orders", GOOD["windows"]["orders_90d"], "windows.Orders: is not allowed as a name: 'Orders'"),
        ("windows/orders_90d", {}, "windows.orders_90d.of: is missing"),
        ("windows/orders_90d/within", "soon", "windows.orders_90d.within: is not allowed: 'soon'"),
        ("windows/orders_90d/exact", 0, "windows.orders_90d.exact: is not allowed: 0; allowed: a whole number from 1 to 100"),
        ("windows/orders_90d/of/event", "order completed", "windows.orders_90d.of.event: 'order completed' is not a type of touchpoint; did you mean"),
        ("windows/orders_90d/of/by", "event.order_id", "windows.orders_90d.of.by: has no meaning"),
        ("windows/orders_90d/of/where", "profile.orders > 1", "windows.orders_90d.of.where: character 1: profile.orders is not known here"),
        ("windows/orders_90d/of/where", "now > event.time", "windows.orders_90d.of.where: character 1: now is not known here"),
        ("windows/orders_90d/of/where", "since(event.time) > days(1)", "windows.orders_90d.of.where: character 1: what the time is has no meaning here"),
        ("windows/orders_90d/of/where", "window.spent_30d > 1", "windows.orders_90d.of.where: character 1: window.spent_30d is not known here"),
        ("windows/spent_30d/sum", "event.rev", "windows.spent_30d.sum: character 1: event.rev is not known here"),
        ("windows/spent_30d/sum", "'x'", "windows.spent_30d.sum: character 1: is a text, but a number is wanted here"),
        ("windows", {f"w{n}": {"of": {"event": "Page Viewed"}, "within": f"{n}d"} for n in range(1, 40)}, "bytes of every customer's profile, more than 16384; the largest: w1 524"),
        ("segments", "x", "segments: must hold keys and values: 'x'"),
        ("segments", {f"s{n}": {"who": "profile.orders > 1"} for n in range(101)}, "segments: are 101; allowed: up to 100"),
        ("segments/cooling", {}, "segments.cooling.who: is missing"),
        ("segments/cooling/who", "window.orders_9d > 1", "segments.cooling.who: character 1: window.orders_9d is not known here; did you mean window.orders_90d?"),
        ("segments/cooling/who", "segment.other", "segments.cooling.who: character 1: segment.other is not known here; conditions do not name segments"),
        ("segments/cooling/who", "event.value > 1", "segments.cooling.who: character 1: event.value is not known here"),
        ("segments/cooling/who", "window.orders_90d", "segments.cooling.who: character 1: is a number, but a bool is wanted here"),
        ("segments/cooling/who", "profile.orders > 1 and round(since(profile.last_order) / days(1)) > 30", "segments.cooling.who: character 24: when this turns cannot be foretold"),
        ("segments/cooling/who", None, "segments.cooling.who: is missing"),
        ("plays/back/when/segment", {}, "plays.back.when.segment: allowed: exactly one of entered, left"),
        ("plays/back/when/segment", {"entered": "cooling", "left": "cooling"}, "plays.back.when.segment: allowed: exactly one of"),
        ("plays/back/when/segment", {"entered": "colling"}, "plays.back.when.segment.entered: 'colling' is not among segments; did you mean 'cooling'?"),
        ("plays/back/when/segment", {"left": "anything"}, "plays.back.when.segment.left: 'anything' is not among segments; there are: cooling"),
        ("plays/back/when/segment", {"left": "Cooling"}, "plays.back.when.segment.left: is not allowed: 'Cooling'"),
        ("plays/back/who", "window.spend > 1", "plays.back.who: character 1: window.spend is not known here"),
        ("plays/back/values", {"x": "key"}, "plays.back.values.x: character 1: key is not known here"),
        ("plays/leaving/when/score", {"rises_to": "low"}, "plays.leaving.when.score.rises_to: is not allowed: 'low'; allowed: high or medium"),
    ],
)  # fmt: skip
def test_each_fault_is_named(path: str, value: object, expected: str) -> None:
    found = faults(changed(path, value))
    if not expected:
        assert found == []
    else:
        assert any(expected in fault for fault in found), found


def test_all_faults_of_a_file_are_listed_together() -> None:
    tree = changed("plays/hello/when/event/where", "event.nothing == 1 and 3")
    tree["plays"]["left"]["who"] = "profile.orders"
    tree["plays"]["leaving"]["channels"] = []
    tree["limits"]["start_within"] = "soon"
    # What names them is not at fault.
    tree["windows"]["spent_30d"]["within"] = 3
    tree["windows"]["orders_90d"]["of"]["where"] = "1"
    tree["segments"]["cooling"] = None
    keys = [fault.partition(":")[0] for fault in faults(tree)]
    assert keys == [
        "limits.start_within", "plays.leaving.channels", "segments.cooling.who", "windows.spent_30d.within",
        "windows.orders_90d.of.where", "plays.hello.when.event.where", "plays.hello.when.event.where",
        "plays.left.who",
    ]  # fmt: skip


def test_a_fault_shows_the_place() -> None:
    (fault,) = faults(changed("plays/hello/who", "profile.orders > 1 and profile.spent > 100 or profile.points > 5"))
    assert fault.endswith("did you mean profile.spend?: ...file.orders > 1 and >>>profile.spent > 100 or profile....")


def _bomb(of: str) -> bytes:
    """A few lines that stand for millions of values."""
    lines = ["x0: &x0 [a]", *[f"x{n}: &x{n} {of.format(f'*x{n - 1}')}" for n in range(1, 12)]]
    return "\n".join([*lines, "plays: {one: {values: *x11}}"]).encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "must hold keys and values"),
        (b"- a\n- b", "must hold keys and values"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"plays: [", "is not YAML: line 1"),
        (b"plays: {a: 1, a: 2}", "key 'a' is given twice"),
        (b"plays: !!python/object:os.system {}", "is not YAML"),
        (b"plays: 2026-99-99", "is not YAML: a value in it cannot be read"),
        (b"x" * (playfile.LARGEST + 1), "is larger than 5 MB"),
        (b"[" * 100_000, "is not YAML"),
        (_bomb("[{0},{0},{0},{0},{0},{0},{0},{0},{0}]"), "holds more than 200,000 values"),
        (_bomb("{{a: {0}, b: {0}, c: {0}, d: {0}, e: {0}, f: {0}}}"), "holds more than 200,000 values"),
        (b"plays: &a {p: *a}", "or one that holds itself"),
    ],
)
def test_what_is_no_file_of_plays(text: bytes, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        playfile.parse(text, "plays.yaml")
    assert expected in caught.value.faults[0]
    assert len(caught.value.faults) == 1


def _paths(tree: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [way, *[path for key, value in inner for path in _paths(value, (*way, key))]]


_rubbish = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=8), st.integers(), max_size=3),
    st.sampled_from(["event.value > 1", "profile.", "1d", "count", "key == 'x'", "not", "((", "days(1)"]),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(_paths(GOOD)), _rubbish), min_size=1, max_size=4))
@settings(max_examples=examples(500))
def test_rubbish_anywhere_gives_faults_and_never_a_traceback(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    tree: Any = deepcopy(GOOD)
    for way, value in changes:
        inner = tree
        try:
            for key in way[:-1]:
                inner = inner[key]
            inner[way[-1]] = value
        except (KeyError, IndexError, TypeError):  # already replaced by something else, or the root
            continue
    for fault in faults(tree):
        assert fault
        assert "Traceback" not in fault
        assert "\n" not in fault


@given(st.binary(max_size=200))
def test_any_bytes_give_faults(text: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        playfile.parse(text, "plays.yaml")
    assert caught.value.faults


# -- the command line without servers ------------------------------------------------------------------------------


def call(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["plays", *arguments])


def test_check_lists_faults_with_code_2(tmp_path: Path) -> None:
    path = tmp_path / "plays.yaml"
    path.write_text(yaml.safe_dump(GOOD, sort_keys=False))
    assert call("check", str(path)).output.startswith("5 plays are fine, version ")
    assert json.loads(call("check", str(path), "--json").output)["plays"] == sorted(GOOD["plays"])
    assert [line.split()[:3] for line in call("check", str(path)).output.splitlines()[1:]] == [
        ["window", "orders_90d", "396"], ["window", "spent_30d", "372"], ["segment", "cooling", "17"],
        ["together", "793", "bytes"],
    ]  # fmt: skip
    told = json.loads(call("check", str(path), "--json").output)
    assert told["windows"]["orders_90d"] == {"bytes": 396, "late_ms": -(-90 * 86_400_000 // 63)}
    assert (told["segments"], told["bytes"]) == ({"cooling": {"bytes": 17}}, 793)
    path.write_text(yaml.safe_dump(changed("plays/hello/cool_down", "x")))
    result = call("check", str(path))
    assert result.exit_code == 2
    assert "plays.hello.cool_down: is not allowed: 'x'" in result.output
    result = call("check", str(path), "--json")
    assert result.exit_code == 2
    assert json.loads(result.output)["faults"][0].startswith("plays.hello.cool_down")
    assert call("check", str(tmp_path / "nothing.yaml")).exit_code == 2


def test_the_starter_set_is_shown_to_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "plays.yaml"
    path.write_text(call("show", "--starter").output)
    assert path.read_text() == playfile.STARTER.read_text()
    listed = [line.split()[:3] for line in call("list", str(path)).output.splitlines()]
    assert len(listed) >= 18
    assert listed[0] == ["welcome", "event", "wechat,sms,email"]
    assert {each[1] for each in listed} == set(When.__struct_fields__)
    assert json.loads(call("list", str(path), "--json").output.splitlines()[0])["name"] == "welcome"


def test_two_files_are_compared(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    tree = changed("plays/hello/cool_down", "2d")
    del tree["plays"]["left"]
    tree["plays"]["more"] = GOOD["plays"]["hello"]
    tree["limits"]["start_within"] = "3h"
    tree["windows"]["orders_90d"]["within"] = "91d"
    tree["segments"]["more"] = tree["segments"]["cooling"]
    old.write_text(yaml.safe_dump(GOOD))
    new.write_text(yaml.safe_dump(tree))
    assert [line.split() for line in call("diff", str(new), str(old)).output.splitlines()] == [
        ["changed", "limits"], ["changed", "windows.orders_90d.within"], ["added", "segments.more"],
        ["changed", "hello.cool_down"], ["removed", "left"], ["added", "more"],
    ]  # fmt: skip
    assert call("diff", str(old), str(old)).output == ""


def test_the_schema_is_that_of_the_file() -> None:
    schema = json.loads(call("schema").output)
    assert schema["$defs"]["Play"]["required"] == ["when", "channels", "cool_down"]
    assert set(schema["$defs"]["When"]["properties"]) == set(When.__struct_fields__)
    assert {"windows", "segments"} <= set(schema["$defs"]["PlayFile"]["properties"])


def test_what_is_dumped_is_read_back() -> None:
    for file in (playfile.load(), playfile.parse(json.dumps(GOOD).encode(), "plays.yaml")):
        assert playfile.parse(playfile.dump(file).encode(), "plays.yaml") == file
        book = PlayBook(file)
        assert PlayBook.from_bytes(book.content).version == book.version


def test_content_that_this_version_cannot_carry_out_is_refused() -> None:
    for content in (b'{"plays": {"x": 3}}', b'{"plays": {"Bad": {}}}', changed_content()):
        with pytest.raises(ConfigError):
            PlayBook.from_bytes(content)


def changed_content() -> bytes:
    return json.dumps(changed("plays/hello/who", "profile.of_tomorrow == 1")).encode()


def test_the_play_that_the_docs_teach_can_be_added_to_the_starter_set() -> None:
    taught = re.search(r"```yaml\n(  \w+:\n.*?)```", (playfile.STARTER.parents[1] / "docs/plays.md").read_text(), re.S)
    assert taught is not None
    file = playfile.parse(f"{playfile.STARTER.read_text()}\n{taught[1]}".encode(), "plays.yaml")
    assert len(file.plays) == len(playfile.load().plays) + 1
