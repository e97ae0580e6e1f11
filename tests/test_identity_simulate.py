"""The collected identity cases, and the command that runs such cases."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from flows.identity_cases import TREATMENTS, Case, policy_of
from flows.identity_simulate import simulate
from tests.golden import COPY, DIGEST, GOLDEN, MORE, cases


def case(**given: Any) -> Case:
    return msgspec.convert({"name": "a case", **given}, Case)


def event(ts: int, **given: Any) -> dict[str, Any]:
    what: dict[str, Any] = {"ts": ts}
    for key in ("op", "must_reject", "delivered_late_original_ts"):
        if key in given:
            what[key] = given.pop(key)
    return {"ids": given, **what}


def invoke(*args: str, given: str = "") -> Result:
    return CliRunner().invoke(main, ["identity", "simulate", *args], input=given)


@pytest.mark.parametrize("each", [*cases(GOLDEN), *cases(MORE)], ids=lambda each: each.name)
def test_a_collected_case_comes_out_as_its_source_says(each: Case) -> None:
    assert simulate(each).faults == []


def test_the_copy_is_the_collection() -> None:
    assert {sha256(each.read_bytes()).hexdigest() for each in (COPY, GOLDEN)} == {DIGEST}


# -- what is compared ------------------------------------------------------------------------------------

SHARED_DEVICE: dict[str, Any] = {
    "config": {"priority": ["user", "device"], "unique": ["user"]},
    "events": [event(1, user="ann", device="1"), event(2, user="bob", device="1")],
}
WITH_ANN, WITH_BOB = [["user:ann", "device:1"], ["user:bob"]], [["user:ann"], ["user:bob", "device:1"]]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("last_login_wins", WITH_BOB),
        ("last_auth_wins", WITH_BOB),
        ("explicit_logout", WITH_BOB),
        ("erase", WITH_BOB),
        ("first_owner_keeps", WITH_ANN),
        ("ambiguous", [["user:ann"], ["user:bob"]]),
        ("ambiguous_device_anonymous", [["user:ann"], ["user:bob"], ["device:1"]]),
        ("union", [["user:ann", "user:bob", "device:1"]]),
    ],
)
def test_policies_differ_in_whose_a_shared_device_is(policy: str, expected: list[list[str]]) -> None:
    assert simulate(case(policy=policy, expected=expected, **SHARED_DEVICE)).ok
    assert simulate(case(policy="union", expected=expected, **SHARED_DEVICE), policy).ok
    others = [each for each in (WITH_ANN, WITH_BOB) if each != expected]
    assert not any(simulate(case(policy=policy, expected=each, **SHARED_DEVICE)).ok for each in others)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"expected": WITH_ANN}, "expected {device:1, user:ann}"),
        ({"expected": [["user:ann"]]}, "got      {device:1, user:bob}"),
        ({"checkpoints": [{"after_ts": 1, "expected": [["user:ann"]]}]}, "after 1: expected {user:ann}"),
        ({"checkpoints": [{"after_ts": 2, "anonymous_event_owner": "user:ann"}]}, "to be of user:ann"),
        ({"survivor_created_ts": 3}, "created at 3"),
        ({"events": [event(1, user="ann", device="1", must_reject=True)]}, "must link nothing"),
        (
            {"events": [event(1, user="ann", device="1"), event(2, user="ann", op="erase"), event(3, device="1")],
             "permute_ts": [1, 2]},
            "arriving as 2, 1, 3: the customers have other ids",
        ),
    ],
)  # fmt: skip
def test_what_is_not_as_expected_is_told(more: dict[str, Any], fault: str) -> None:
    outcome = simulate(case(**{**SHARED_DEVICE, **more}))
    assert not outcome.ok
    assert any(fault in each for each in outcome.faults), outcome.faults


def test_the_order_of_delivery_is_followed() -> None:
    events = [event(1, a="1", b="1"), event(3, a="1", op="erase"), event(2, a="2", b="1")]
    assert simulate(case(events=events, expected=[])).ok  # the last one is older than the erasure
    assert simulate(case(events=events, expected=[["a:2", "b:1"]], delivery_order=[3, 1, 2, 2])).ok


def test_erasing_takes_the_whole_customer_and_what_comes_late() -> None:
    events = [
        event(1, user="ann", device="1"),
        event(2, device="1", op="erase"),
        event(3, user="ann", delivered_late_original_ts=1),
    ]
    outcome = simulate(case(events=events, expected=[]))
    assert outcome.ok
    assert outcome.erased == ["device:1", "user:ann"]


def test_values_are_spelt_and_blocked_by_namespace() -> None:
    config = {"normalize": {"mail": "trim lower", "tel": ["digits"]}, "blocked": {"tel": ["^0+$"], "*": ["null"]}}
    events = [
        event(1, mail=" A@B ", tel="0-0"),
        event(2, mail="a@b", tel="1 2"),
        event(3, user=0, tel="00"),
        event(4, user="null"),
    ]
    assert simulate(case(config=config, events=events, expected=[["mail:a@b", "tel:12"], ["user:0"]])).ok


def test_hubs_and_caps_can_be_tried() -> None:
    people = [event(n, user=str(n), device="kiosk") for n in range(1, 5)]
    config = {"priority": ["user", "device"], "unique": ["user"]}
    alone = [[f"user:{n}"] for n in range(1, 5)]
    for more in ({"hubs": {"device": {"user": 3}}}, {"cap": 4}):
        outcome = simulate(case(config={**config, **more}, events=people, expected=alone))
        assert outcome.faults == []
        assert outcome.nobody == ["device:kiosk"]


def test_limits_come_from_unique_and_limits() -> None:
    config = {"priority": ["a", "b", "c"], "unique": ["a"], "limits": {"a": 3, "b": None, "*": 5}}
    policy = policy_of(case(config=config, events=[]))
    assert [policy.of(name).limit for name in ("a", "b", "c", "d")] == [1, None, 5, 5]
    assert policy_of(case(config=config, events=[]), "union").of("a").limit is None


# -- the command -----------------------------------------------------------------------------------------


def test_the_collection_is_as_expected() -> None:
    result = invoke(str(COPY), "--check")
    assert result.exit_code == 0, result.output
    assert result.output.endswith("45 cases: 45 as expected, 0 not\n")


def test_check_fails_if_one_differs_and_says_how() -> None:
    result = invoke(str(COPY), "--check", "--policy", "first_owner_keeps")
    assert result.exit_code == 1
    assert "DIFFERS adobe_crmid_shared_device (first_owner_keeps)" in result.output
    assert "got      {CRMID:Summer}  {CRMID:Tom, ECID:111}" in result.output
    assert invoke(str(COPY), "--policy", "first_owner_keeps").exit_code == 0  # a what-if has no wrong answer


def test_customers_are_shown_and_printed_as_json() -> None:
    given = json.dumps(
        [
            {"name": "one", "events": [event(1, a="1"), event(2, a=["1", "2"], op="erase")]},
            {"name": "two", "events": [event(1, b="x")]},
        ]
    )
    shown = invoke("-", given=given).output
    assert "erased    a:1, a:2" in shown
    assert "b:x" in shown
    one, two = map(json.loads, invoke("-", "--json", given=given).output.splitlines())
    assert one["erased"] == ["a:1", "a:2"]
    assert list(two["customers"].values()) == [["b:x"]]
    assert two["ok"]
    assert len(two["policy_version"]) == 16


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", "not JSON"),
        ('{"a": 1}', 'expected {"cases": [...]}'),
        ('{"cases": [1]}', "case 1: Expected `object`, got `int`"),
        (
            '[{"name": "x", "events": [{"ids": {}, "ts": "now"}]}]',
            "case 1 (x): Expected `int | float`, got `str` - at `$.events[0].ts`",
        ),
        ('[{"name": "x", "events": [], "policy": "best"}]', "$.policy: 'best' is none of last_login_wins"),
        ('[{"name": "x", "events": [{"ids": {}, "ts": 1, "op": "eat"}]}]', "$.events[0].op: 'eat' is none of alias"),
        ('[{"name": "x", "events": [], "permute_ts": [7]}]', "$.permute_ts: no event has ts 7"),
        ('[{"name": "x", "events": [], "expected": [["tom"]]}]', "$.expected: 'tom' is not namespace:value"),
        ('[{"name": "x", "events": [], "config": {"blocked": ["^("]}}]', "$.config.blocked: '^(' is no regular"),
        ('[{"name": "x", "events": [], "config": {"normalize": {"a": "b"}}}]', "$.config.normalize.a: 'b' is none of"),
        ('[{"name": "x", "events": [], "config": {"limits": {"a": 0}}}]', "$.config.limits[...]"),
    ],
)
def test_what_cannot_be_used_is_told_and_the_rest_is_done(given: str, message: str) -> None:
    result = invoke("-", "--check", given=given)
    assert result.exit_code == 2
    assert message in result.output
    if given.startswith("["):
        both = f'[{{"name": "fine", "events": []}}, {given[1:]}'
        assert "ok      fine" in invoke("-", given=both).output


def test_an_unknown_policy_is_refused() -> None:
    result = invoke(str(COPY), "--policy", "none")
    assert result.exit_code == 2
    assert all(name in result.output for name in TREATMENTS)
