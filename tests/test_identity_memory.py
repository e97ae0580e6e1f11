"""Identity in memory comes to what identity in Redis comes to: the pure function of all input."""

from __future__ import annotations

from random import Random
from typing import Literal

import pytest

from operators.stitching import Stitcher
from schemas import stitched
from schemas.config import Config, Identity, Topics
from schemas.stitched import Change
from state.identity_memory import MemoryIdentity
from state.tokens import token_text
from tests.messages import START, Message, message
from tests.system.identity_world import KEYS, folded, pure


def messages(seed: int, count: int = 150) -> list[Message]:
    """People who log in on each other's devices, with times in any order."""
    rng = Random(seed)
    names = [f"{ns}:{number}" for ns in ("member", "device", "cookie") for number in range(1, 15)]
    return [
        message(
            offset,
            *[rng.choice(("", "", "!")) + name for name in rng.sample(names, rng.choice((1, 1, 2, 2, 3)))],
            time=START + rng.randrange(6 * 3_600_000),
        )
        for offset in range(count)
    ]


@pytest.mark.parametrize("rules", ["union", "retail"])
@pytest.mark.parametrize("seed", range(4))
def test_customers_are_those_of_the_pure_function(seed: int, rules: Literal["union", "retail"]) -> None:
    identity = Identity(rules=rules)
    stitcher = Stitcher(
        Config(keys=KEYS, topics=Topics(shards=4), identity=identity), MemoryIdentity(), lambda: START + 10**8
    )
    rng, left, every = Random(seed), messages(seed), messages(seed)
    changes: list[Change] = []
    while left:
        size = rng.randint(1, 9)
        batch = stitcher.stitch(left[:size], {}, {})
        stitcher.published(batch)
        left = left[size:]
        records = [stitched.decode(out.value) for out in batch.outgoing if out.topic == "ts.stitched" and out.value]
        changes += [record for record in records if isinstance(record, Change)]
    expected = pure(every, identity)
    assert folded(changes) == {token_text(each): owner for each, owner in expected.items()}
