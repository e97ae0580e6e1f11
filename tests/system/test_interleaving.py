"""Merges, splits and moves told by several processes, in any order of their steps: who is who, and what engage tells
of it, depends on none of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.config import Identity
from schemas.policy import Namespace
from tests.effort import examples
from tests.system.interleaving import Story, Touch

PROCESSES = 3
#: Thousands were tried by hand.
EXAMPLES = examples(80)
#: What happens, where, and with how many records.
Act = tuple[str, int, int]
#: Few people, so that everything collides.
POOL = ("member:m1", "member:m2", "member:m3", "device:d1", "device:d2", "phone:13812345670", "payment_token:p1")
#: Who meets two members stands for nobody.
HUBS = {"device": Namespace(hub={"member": 2}), "phone": Namespace(limit=1, hub={"member": 1})}
POLICIES = {"retail": Identity(), "hubs": Identity(namespaces=HUBS), "union": Identity(rules="union")}
#: What may happen between the steps of the processes.
TROUBLE = {
    "stopped": (),
    "killed": ("kill", "kill"),
    "forgotten": ("kill", "remember", "remember", "forget", "forget"),
}


def _shown(tokens: list[str]) -> tuple[str, ...]:
    """One member at most, and who is seen with something else is logged in."""
    members = [each for each in tokens if each.startswith("member")]
    proven = [f"!{each}" if len(tokens) > 1 else each for each in members[:1]]
    return (*proven, *[each for each in tokens if each not in members])


touches = st.builds(
    Touch,
    st.integers(0, PROCESSES - 1),
    st.lists(st.sampled_from(POOL), min_size=1, max_size=3, unique=True).map(_shown),
    st.integers(0, 30),
)


@pytest.mark.parametrize(
    ("policy", "trouble"),
    [("retail", "stopped"), ("retail", "killed"), ("union", "killed"), ("retail", "forgotten"), ("hubs", "forgotten")],
)
def test_the_order_of_steps_does_not_matter(client: redis.Redis, policy: str, trouble: str) -> None:
    acts = ("step",) * 8 + ("engage",) * 3 + TROUBLE[trouble]
    what = st.tuples(st.sampled_from(acts), st.integers(0, 3), st.integers(1, 3))

    @given(st.lists(touches, min_size=2, max_size=9), st.lists(what, max_size=40))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def check(some: list[Touch], schedule: list[Act]) -> None:
        story = Story(client, POLICIES[policy], some)
        for act in schedule:
            happen(story, *act)
        faults = story.finish()
        story.clear()
        assert faults == []

    check()


#: What was once told wrongly: the touches and, in order, what happened until everybody finished.
TALES: dict[str, tuple[list[Touch], list[Act]]] = {
    # The first is given the phone; at once with what follows he never is, and nobody had taken it from him.
    "a move that is not made again": (
        [
            Touch(0, ("member:m1",), 0),
            Touch(0, ("!member:m2", "phone:13812345670"), 0),
            Touch(0, ("!member:m1", "phone:13812345670"), 1),
        ],
        [("step", 0, 1), ("step", 0, 1), ("remember", 0, 0), ("step", 0, 1), ("step", 0, 1), ("forget", 0, 0)],
    ),
    # What the second process stitched the first has told of, and Redis has forgotten before it was published.
    "a change told by another process only": (
        [
            Touch(0, ("member:m1",), 0),
            Touch(0, ("!member:m2", "device:d1"), 0),
            Touch(1, ("!member:m1", "device:d1"), 0),
        ],
        [("remember", 0, 0), ("step", 1, 1), ("step", 0, 1), ("step", 0, 1), ("forget", 0, 0)],
    ),
    # The same merge once more, after the state of both has gone the other way.
    "a merge made again": (
        [
            Touch(0, ("member:m1",), 0),
            Touch(0, ("member:m1",), 0),
            Touch(0, ("!member:m1", "device:d1"), 1),
            Touch(0, ("!member:m1", "device:d1"), 0),
            Touch(0, ("member:m1",), 0),
        ],
        [("step", 0, 1), ("step", 0, 1), ("remember", 0, 0), *[("step", 0, 1)] * 6, ("forget", 0, 0)],
    ),
    # Whoever tells again dies before he has.
    "a death while it is told again": (
        [
            Touch(0, ("member:m1",), 0),
            Touch(0, ("!member:m2", "phone:13812345670"), 0),
            Touch(1, ("!member:m1", "phone:13812345670"), 1),
        ],
        [
            *[("step", 0, 1), ("step", 0, 1), ("remember", 0, 0), ("step", 0, 1), ("step", 0, 1), ("forget", 0, 0)],
            *[("step", 1, 1), ("step", 1, 1), ("step", 0, 1), ("kill", 0, 0)],
        ],
    ),
    # A device that never left its owner as far as engage knows comes back to him.
    "a move back of what had not left": (
        [
            Touch(0, ("member:m1",), 0),
            Touch(0, ("member:m1",), 0),
            Touch(0, ("device:d2", "!member:m2"), 0),
            Touch(1, ("!member:m1", "device:d2"), 1),
        ],
        [*[("step", 0, 1)] * 4, ("remember", 0, 0), ("step", 1, 1), ("step", 0, 1), ("step", 0, 1), ("forget", 0, 0)],
    ),
}


@pytest.mark.parametrize("tale", TALES)
def test_what_redis_forgot_is_told_again(client: redis.Redis, tale: str) -> None:
    touches, schedule = TALES[tale]
    story = Story(client, POLICIES["retail"], touches)
    for act in schedule:
        happen(story, *act)
    assert story.finish() == []


def happen(story: Story, act: str, place: int, most: int) -> None:
    """One act of a schedule."""
    partition = story.partitions[place % len(story.partitions)]
    actions: dict[str, Callable[[], object]] = {
        "step": lambda: story.step(partition, most),
        "engage": lambda: story.engage(place, most),
        "kill": lambda: story.kill(partition),
        "remember": story.remember,
        "forget": story.forget,
    }
    actions[act]()
