"""One simulated month shows every play of the starter set, and nothing of it is unexplained."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import msgspec
import pytest
import redis

from flows import playfile
from flows.status import status
from flows.why import Why
from schemas import stitched
from schemas.outputs import Decision
from schemas.stitched import Control
from schemas.topics import STITCHED
from tests.system.month import Month
from tests.system.replay import Replay

pytestmark = [pytest.mark.flows, pytest.mark.long("month")]

STARTER = playfile.load()


@pytest.fixture(scope="module")
def decisions(month: Month) -> list[Decision]:
    """All that was decided, in the order of each partition."""
    return [msgspec.json.decode(each.value or b"", type=Decision) for each in month.outputs("decisions")]


def test_every_play_is_sent_and_every_segment_entered_and_left(month: Month) -> None:
    sent = Counter(json.loads(each.value or b"")["data"]["play"] for each in month.outputs("triggers"))
    assert [name for name in STARTER.plays if not sent[name]] == []
    told = [json.loads(each.value or b"") for each in month.outputs("segments")]
    changes = {(each["segment"], each["change"]) for each in told}
    assert changes == {(name, change) for name in STARTER.segments for change in ("entered", "left")}


def test_what_was_learned_took_effect(month: Month) -> None:
    records = [stitched.decode(each.value or b"") for each in month.outputs(STITCHED)]
    learned = [each for each in records if isinstance(each, Control)]
    assert [each for each in learned if each.what == "model"]
    told = [each.arms for each in learned if each.what == "bandit" and each.key == "win_back_60"]
    assert any(min(map(sum, arms.values())) > 0 for arms in told)


def test_the_account_closes(month: Month) -> None:
    account, written = status(month.config).account, month.written
    assert account.consumed == written.written + month.others
    assert account.consumed == account.applied + account.duplicates + account.erased + (account.dead_letters or 0)
    assert account.dead_letters == written.broken > 0
    assert account.under_way == 0


def test_decisions_reconcile_play_by_play(month: Month, decisions: list[Decision], client: redis.Redis) -> None:
    """Decided = emitted + held out + stopped + still held, in the log, in its replay and in what engage counted."""
    replay = Replay(month.config, client, month.outputs(STITCHED))
    # Stitch has answered the erasure, too, and its records are no function of this log.
    assert [fault for fault in replay.check() if not fault.startswith("audit:")] == []
    waiting = Counter(
        held.play for shard in replay.shards for profile in shard.profiles.values() for held in profile.held
    )
    sent = Counter(json.loads(each.value or b"")["data"]["play"] for each in month.outputs("triggers"))
    last: dict[str, Decision] = {}
    for each in sorted(decisions, key=lambda decision: decision.at):
        if each.code != "duplicate":  # it repeats the id of what was decided
            last[each.id] = each
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in last.values():
        found[each.play][each.outcome] += 1
    assert set(found) == set(STARTER.plays)
    for play, outcomes in found.items():
        assert set(outcomes) <= {"emitted", "held_out", "stopped", "held"}
        assert (play, outcomes["emitted"], outcomes["held"]) == (play, sent[play], waiting[play])


def test_every_trigger_is_explained(month: Month, decisions: list[Decision], client: redis.Redis) -> None:
    ids = {json.loads(each.value or b"")["id"] for each in month.outputs("triggers")}
    emitted = [each for each in decisions if each.outcome == "emitted"]
    assert Counter(each.id for each in emitted) == Counter(ids)
    explained = Why(month.config, client).told(emitted)
    for told in explained:
        assert len(told.checks) >= 10
        assert [check for check in told.checks if not check.passed] == []
        assert (told.happened is None) == (":" in told.decision.touchpoint), told
    text = month.command("why", explained[0].decision.id)
    assert text.startswith(f"{explained[0].decision.play}: emitted on ")
    assert text.count("\n  ok  ") == len(explained[0].checks)
