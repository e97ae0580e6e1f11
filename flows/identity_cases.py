"""Identity cases: events, a policy, and the customers that are expected of them.

The format is that of ``tests/data/identity.json``; its ``about`` describes it. A file holds ``{"cases": [...]}``,
a list of cases, or one case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from operators.normalise import normalise
from schemas.policy import Namespace, Policy, Strengths, Treatment

Value = str | int | float | bool | None
Time = Annotated[int, msgspec.Meta(ge=0)] | Annotated[float, msgspec.Meta(ge=0)]
Limit = Annotated[int, msgspec.Meta(ge=1)]
OPS = ("alias", "logout", "erase", "merge", "split", "hub", "release")

#: What cases call a policy: how identifiers that several people share are treated, None for no limits at all.
#: ``erase`` says nothing of that; what is erased is told by the events.
TREATMENTS: dict[str, Treatment | None] = {
    "last_login_wins": "last_login_wins",
    "last_auth_wins": "last_login_wins",
    "first_owner_keeps": "first_owner_keeps",
    "ambiguous": "ambiguous",
    "ambiguous_device_anonymous": "ambiguous",
    "explicit_logout": "explicit_logout",
    "erase": "last_login_wins",
    "union": None,
}


class CaseError(ValueError):
    """A file of cases cannot be used; the text says where and why."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    ids: dict[str, Value | list[Value]]
    ts: Time
    op: str | None = None
    must_reject: bool = False
    delivered_late_original_ts: Time | None = None

    @property
    def time(self) -> float:
        """When it happened."""
        late = self.delivered_late_original_ts
        return self.ts if late is None else late


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    after_ts: Time
    expected: list[list[str]] | None = None
    anonymous_event_owner: str | None = None


class CaseConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``hubs`` and ``cap`` are not in the collected cases: a what-if may want them."""

    priority: list[str] = []
    unique: list[str] = []
    limits: dict[str, Limit | None] = {}
    blocked: list[str] | dict[str, list[str]] = []
    normalize: dict[str, str | list[str]] = {}
    hubs: dict[str, dict[str, Limit]] = {}
    cap: Annotated[int, msgspec.Meta(ge=2)] | None = None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    events: list[Event]
    policy: str = "last_login_wins"
    config: CaseConfig = CaseConfig()
    expected: list[list[str]] | None = None
    checkpoints: list[Checkpoint] = []
    permute_ts: list[Time] = []
    delivery_order: list[Time] = []
    survivor_created_ts: Time | None = None


def read_cases(text: bytes) -> tuple[list[Case], list[str]]:
    """The cases of a file, and what is wrong with those that cannot be used. Raises `CaseError` if there are none to
    be found."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CaseError(f"not JSON: {error}") from None
    if isinstance(value, dict):
        value = value.get("cases", [value] if "events" in value else None)
    if not isinstance(value, list):
        raise CaseError('expected {"cases": [...]}, a list of cases, or one case')
    cases, faults = [], []
    for number, each in enumerate(value):
        try:
            cases.append(_read_case(each, number))
        except CaseError as error:
            faults += str(error).splitlines()
    return cases, faults


def _read_case(value: Any, number: int) -> Case:
    named = f" ({value['name']})" if isinstance(value, dict) and isinstance(value.get("name"), str) else ""
    where = f"case {number + 1}{named}"
    try:
        case = msgspec.convert(value, Case)
    except msgspec.ValidationError as error:
        raise CaseError(f"{where}: {error}") from None
    if faults := _faults(case):
        raise CaseError("\n".join([f"{where}: {fault}" for fault in faults]))
    return case


def _faults(case: Case) -> list[str]:
    """What the types let through."""
    times = {event.ts for event in case.events}
    found = [f"$.events[{i}].op: {each.op!r} is none of {', '.join(OPS)}" for i, each in enumerate(case.events)
             if each.op is not None and each.op not in OPS]  # fmt: skip
    if case.policy not in TREATMENTS:
        found.append(f"$.policy: {case.policy!r} is none of {', '.join(TREATMENTS)}")
    named = {
        "permute_ts": case.permute_ts,
        "delivery_order": case.delivery_order,
        "checkpoints": [each.after_ts for each in case.checkpoints],
    }
    for key, some in named.items():
        found += [f"$.{key}: no event has ts {time}" for time in some if time not in times]
    sets = [each for some in [case.expected, *[c.expected for c in case.checkpoints]] for each in some or []]
    wrong = [text for some in sets for text in some if ":" not in text]
    found += [f"$.expected: {text!r} is not namespace:value" for text in wrong]
    for check in (blocking, spelling):
        try:
            check(case.config)
        except CaseError as error:
            found.append(str(error))
    return found


def policy_of(case: Case, override: str | None = None) -> Policy:
    """The policy that a case asks for. All links are worth the same: the format knows no kinds."""
    config, treatment = case.config, TREATMENTS[override or case.policy]
    shared: Treatment = treatment or "last_login_wins"
    limits = dict(config.limits) if treatment else {}
    for name in config.unique if treatment else ():
        limits[name] = 1
    most = limits.pop("*", None)
    names = {*config.priority, *limits, *config.hubs}
    return Policy(
        priority=tuple(dict.fromkeys(config.priority)),
        namespaces={
            name: Namespace(limit=limits.get(name, most), shared=shared, hub=config.hubs.get(name, {}))
            for name in sorted(names)
        },
        others=Namespace(limit=most, shared=shared),
        strengths=Strengths(observed=1, till=1, login=1, alias=1),
        cap=config.cap or 1_000_000,
        step_ms=1,
    )


def blocking(config: CaseConfig) -> Callable[[str, str], bool]:
    """Whether a value identifies nobody: it is listed, or matches a listed pattern. Raises `CaseError`.

    A pattern with ^ or $ is searched for; any other has to match the whole value.
    """
    given = config.blocked if isinstance(config.blocked, dict) else {"*": config.blocked}
    rules = {name: [_pattern(each) for each in some] for name, some in given.items()}

    def blocked(name: str, value: str) -> bool:
        return any([rule(value) for rule in [*rules.get("*", ()), *rules.get(name, ())]])

    return blocked


def _pattern(text: str) -> Callable[[str], bool]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        if set("^$\\") & set(text):
            raise CaseError(f"$.config.blocked: {text!r} is no regular expression: {error}") from None
        return lambda value: value == text
    matches = pattern.search if text.startswith("^") or text.endswith("$") else pattern.fullmatch
    return lambda value: value == text or matches(value) is not None


_SPELLINGS: dict[str, Callable[[str], str]] = {
    "none": str,
    "lower": str.lower,
    "lowercase": str.lower,
    "upper": str.upper,
    "uppercase": str.upper,
    "trim": str.strip,
    "strip": str.strip,
    "digits": lambda value: re.sub(r"\D", "", value),
    "email": lambda value: normalise("email", value, "CN") or value,
    "phone": lambda value: normalise("phone", value, "CN") or value,
    "e164": lambda value: normalise("phone", value, "CN") or value,
}


def spelling(config: CaseConfig) -> Callable[[str, str], str]:
    """One spelling per value, by namespace; what has no rule stays as it is. Raises `CaseError`."""
    rules: dict[str, list[Callable[[str], str]]] = {}
    for name, given in config.normalize.items():
        steps = re.split(r"[\s,+|]+", given) if isinstance(given, str) else given
        if unknown := [step for step in steps if step not in _SPELLINGS]:
            raise CaseError(f"$.config.normalize.{name}: {unknown[0]!r} is none of {', '.join(_SPELLINGS)}")
        rules[name] = [_SPELLINGS[step] for step in steps]

    def spelt(name: str, value: str) -> str:
        for rule in rules.get(name, rules.get("*", ())):
            value = rule(value)
        return value

    return spelt
