"""What customers were promised, judged from the triggers and the input alone: caps, quiet hours, holdouts, and consent;
and that the topic of segments adds up.

Consent is judged where the input fixes the order: for people whose records all went through one partition. A
trigger born of a touchpoint needs the channel allowed by the consents up to it; one born of a timer needs it
allowed at some moment from then on.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from hashlib import blake2b
from itertools import product
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.config import Config
from schemas.plays import PlayFile, milliseconds
from schemas.topics import SEGMENTS, topic_name
from state.profile import Profile
from tests.system.pipeline import PLAYS
from tests.system.reading import Read, Topic

_DAY = 86_400_000
#: The consents of most records, one for all of them: there may be millions.
_NOTHING: dict[str, tuple[int, bool]] = {}


class _Step(NamedTuple):
    """A record of a person: its partition, event token, and consents with their event time."""

    partition: int
    eid: str
    consents: dict[str, tuple[int, bool]]


def check_promises(
    config: Config,
    good: Iterable[Read],
    token_of: Callable[[dict[str, Any]], str],
    customers: Mapping[str, str],
    triggers: list[dict[str, Any]],
    divided: Collection[str] = (),
    returned: Collection[str] = (),
    plays: PlayFile = PLAYS,
) -> list[str]:
    """Every broken promise of ``plays``. ``triggers``: as published; ``customers``: who holds each token; ``divided``:
    customers whose identifiers came from and went to others, so that their consents cannot be told from the input
    alone; ``returned``: ids that came back to life, maybe as those of somebody else, to whom earlier messages do not
    count."""
    histories: defaultdict[str, list[_Step]] = defaultdict(list)
    owner: dict[str, str] = {}
    for read in good:
        event = json.loads(read.value or b"{}")
        token = token_of(event)
        eid = _event_token(config, event)
        person = customers.get(token, token)
        owner.setdefault(eid, person)
        given = {each["channel"]: (event["time"], each["granted"]) for each in event.get("consent", ())}
        histories[person].append(_Step(read.partition, eid, given or _NOTHING))
    faults = _check_caps(triggers, returned, plays)
    faults += check_quiet_hours(triggers, plays) + check_holdouts(triggers, plays)
    for trigger in triggers:
        if plays.plays[trigger["data"]["play"]].when.product is not None:
            # What has woken it is no touchpoint of the customer's. Who was merged since has a history in another name.
            if trigger["subject"] in histories and trigger["subject"] not in {*divided, *returned}:
                faults += _check_some_consent(trigger["data"], histories[trigger["subject"]])
        elif owner.get(trigger["data"]["touchpoint"]) not in divided:
            faults += _check_consent(trigger["data"], histories, owner)
    return faults


def _check_caps(triggers: list[dict[str, Any]], returned: Collection[str], plays: PlayFile) -> list[str]:
    """Never more than a cap, of all channels and categories, within its window; and no trigger twice."""
    times: defaultdict[str, list[int]] = defaultdict(list)
    for trigger in triggers:
        if trigger["subject"] not in returned and "caps" not in plays.plays[trigger["data"]["play"]].skips:
            times[trigger["subject"]].append(trigger["data"]["decided_at"])
    faults = []
    of_all = [each for each in plays.limits.caps if each.channel is None and each.category is None]
    for (customer, sent), limit in product(times.items(), of_all):
        cap, window = limit.messages, milliseconds(limit.within)
        sent.sort()
        faults += [
            f"{customer} got {cap + 1} messages within {window} ms"
            for first, last in zip(sent, sent[cap:], strict=False)
            if last - first < window
        ]
    ids = Counter(trigger["id"] for trigger in triggers)
    return faults + [f"trigger {each} twice" for each, count in ids.items() if count > 1]


def check_quiet_hours(triggers: list[dict[str, Any]], plays: PlayFile = PLAYS) -> list[str]:
    """Nobody is told anything in quiet hours, which may go over midnight. No customer here says where he lives: all do
    where the plays say."""
    hours, zone = plays.limits.quiet_hours, ZoneInfo(plays.limits.timezone)
    if hours is None:
        return []
    faults = []
    for trigger in triggers:
        data = trigger["data"]
        clock = datetime.fromtimestamp(data["decided_at"] / 1000, zone).strftime("%H:%M")
        after, before = clock >= hours.start, clock < hours.end
        quiet = after and before if hours.start <= hours.end else after or before
        if quiet and "quiet_hours" not in plays.plays[data["play"]].skips:
            faults.append(f"trigger at {clock}, in quiet hours: {data}")
    return faults


def check_holdouts(triggers: list[dict[str, Any]], plays: PlayFile = PLAYS) -> list[str]:
    """Who is drawn by the hash of his id, for all plays or for one, is told nothing, or nothing of that one."""
    faults = []
    for trigger in triggers:
        customer, play = trigger["subject"], trigger["data"]["play"]
        drawn = _drawn("holdout", customer) < plays.limits.holdout
        drawn = drawn or _drawn("holdout", play, customer) < plays.plays[play].holdout
        if drawn and "holdout" not in plays.plays[play].skips:
            faults.append(f"trigger to who is held out: {trigger['data']}")
    return faults


def _drawn(*names: str) -> float:
    """From 0 to below 1."""
    return int.from_bytes(blake2b("\x1f".join(names).encode(), digest_size=8).digest(), "big") / 2**64


def _check_consent(data: dict[str, Any], histories: Mapping[str, list[_Step]], owner: Mapping[str, str]) -> list[str]:
    person = owner.get(data["touchpoint"])
    if person is None:
        # A score or a segment, named with a colon, is nobody's touchpoint.
        return [] if ":" in data["touchpoint"] else [f"trigger of a touchpoint nobody sent: {data}"]
    steps = histories[person]
    if len({step.partition for step in steps}) > 1:
        return []
    # Of what a timer has sent, or released, it is not known here what had been read by then.
    timed = not data["touchpoint_ts"]
    start = next(at for at, step in enumerate(steps) if step.eid == data["touchpoint"])
    newest, allowed = (-1, False), False
    for at, step in enumerate(steps):
        given = step.consents.get(data["channel"])
        if given is not None and (given[0] > newest[0] or (given[0] == newest[0] and not given[1])):
            newest = given
        allowed = allowed or (at >= start and newest[1])
        if at >= start and not timed:
            break
    return [] if allowed else [f"trigger without consent: {data}"]


def _check_some_consent(data: dict[str, Any], steps: list[_Step]) -> list[str]:
    """Somebody who never allowed the channel is never told of a product on it."""
    allowed = any(step.consents.get(data["channel"], (0, False))[1] for step in steps)
    return [] if allowed else [f"trigger without consent: {data}"]


def _event_token(config: Config, event: dict[str, Any]) -> str:
    text = f"event:{len(event['source'])} {event['source']} {event['id']}"
    digest = blake2b(text.encode(), key=bytes.fromhex(config.keys.index), digest_size=12).digest()
    return urlsafe_b64encode(digest).decode()


def check_segments(config: Config, profiles: Iterable[Profile]) -> list[str]:
    """Whoever adds up what is told of segments knows who is in them, as the profiles do."""
    told: dict[tuple[str, str], str] = {}
    faults: list[str] = []
    for read in Topic(config, topic_name(config, SEGMENTS)):
        record = json.loads(read.value or b"{}")
        whose = record["customer"], record["segment"]
        if told.get(whose, "left") == record["change"]:
            faults.append(f"{whose} {record['change']} twice, by {record['reason']}")
        told[whose] = record["change"]
    known = {(each.customer, name) for each in profiles for name, since in each.segments.items() if since > 0}
    astray = known ^ {whose for whose, change in told.items() if change == "entered"}
    return faults + [f"segments: {whose} is told otherwise than it is" for whose in sorted(astray)[:3]]
