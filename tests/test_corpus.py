"""Every record of the corpus of bad input ends in one place, short of servers: the reader, stitch and engage."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec
import pytest

from operators.reading import Reader
from operators.replaying import Replay
from operators.stitching import Stitcher
from schemas import stitched
from schemas.config import Config, Keys, Privacy, Topics
from schemas.errors import RecordFault
from schemas.outputs import DeadLetter
from state.identity_memory import MemoryIdentity
from state.tokens import Tokens
from state.vault import DeadLetterBox
from tests.corpus import TIME, Sample, corpus
from tests.messages import TOPIC, Message

KEYS = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
#: Records at a time.
BATCH = 50


def _config(unknown: Literal["drop", "seal"] = "drop") -> Config:
    return Config(keys=KEYS, topics=Topics(shards=4), clock="log", privacy=Privacy(unknown_fields=unknown))


def test_there_are_enough_of_every_kind() -> None:
    fates = Counter(sample.fate for sample in corpus())
    assert fates["dead"] >= 300
    assert fates["applied"] >= 30
    assert fates["duplicate"] >= 10
    assert len({sample.name for sample in corpus()}) == len(corpus())
    assert max(len(sample.value or b"") for sample in corpus()) >= 10_000_000


def test_each_is_refused_for_its_reason_or_read() -> None:
    reader = Reader(_config(), Tokens(bytes.fromhex(KEYS.index)))
    astray = {}
    for sample in corpus():
        try:
            reader.read(Message(0, sample.value), "t/0")
            got = ""
        except RecordFault as fault:
            got = fault.reason
            assert (sample.value or b"")[:30].decode("latin-1") not in str(fault) or len(sample.value or b"") < 5
        if got != sample.reason:
            astray[sample.name] = got
    assert astray == {}


@pytest.mark.parametrize("unknown", ["drop", "seal"])
def test_each_ends_in_one_place(unknown: Literal["drop", "seal"]) -> None:
    config = _config(unknown)
    stitcher = Stitcher(config, MemoryIdentity(), lambda: TIME)
    stitcher.positions.take([(TOPIC, 0)])
    replay = Replay(config, {}, {}, lambda output: None)
    letters: list[DeadLetter] = []
    account: Counter[str] = Counter()
    messages = [Message(offset, sample.value, extra=(("n", b"1"),)) for offset, sample in enumerate(corpus())]
    for at in range(0, len(messages), BATCH):
        batch = stitcher.stitch(messages[at : at + BATCH], {}, {})
        for out in batch.outgoing:
            if out.topic.endswith("stitched"):
                replay.feed(out.partition, stitched.decode_gist(out.value or b""), out.value or b"")
            elif out.topic.endswith("dead-letters"):
                letters.append(msgspec.json.decode(out.value or b"", type=DeadLetter))
        stitcher.published(batch)
        (lane,) = batch.lanes.values()
        account.update(consumed=lane.consumed, dead=lane.dead)
    dead = [sample for sample in corpus() if _fate(sample, unknown) == "dead"]
    counts = replay.counts()
    applied = sum(_fate(sample, unknown) == "applied" for sample in corpus())
    assert account == {"consumed": len(messages), "dead": len(dead)}
    assert (counts["applied"], counts["duplicates"]) == (applied, len(messages) - len(dead) - applied)
    box = DeadLetterBox(bytes.fromhex(KEYS.dead_letters))
    kept = [box.open(letter.sealed) for letter in letters]
    assert [each.value for each in kept] == [sample.value for sample in dead]
    assert all(each.headers == [("n", b"1")] for each in kept)


def _fate(sample: Sample, unknown: str) -> str:
    """Who keeps what nobody knows has to be able to read it."""
    unreadable = sample.fate == "applied" and sample.name.startswith("unknown with ")
    return "dead" if unreadable and unknown == "seal" else sample.fate
