"""Where a partition starts, for every combination of what Kafka and Redis still know."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.starting import FRESH, Start, start
from schemas.errors import PositionError

PARTITION = ("ts.stitched", 3)


def committed(k: int | None, metadata: str = "") -> TopicPartition:
    return TopicPartition(*PARTITION, OFFSET_INVALID if k is None else k, metadata)


def begin(
    k: int | None,
    r: int | None,
    first: int = 0,
    metadata: str = "",
    initialise: bool = False,
    end: int = 50,
    renewed: bool = False,
) -> Start:
    return start(PARTITION, committed(k, metadata), r, first, end, renewed=renewed, initialise=initialise)


def test_a_new_deployment_starts_at_the_beginning_of_the_log() -> None:
    assert begin(None, None, first=7) == Start(7, 7, "fresh")


def test_a_first_start_that_died_before_its_first_commit_starts_again() -> None:
    assert begin(5, None, metadata=FRESH) == Start(5, 5, "fresh")
    assert begin(5, None, first=9, metadata=FRESH) == Start(9, 9, "fresh")


def test_r_ahead_of_k_goes_on_at_r_and_publishes_what_lies_between() -> None:
    assert begin(10, 14) == Start(14, 10, "crash")
    assert begin(10, 10) == Start(10, 10, "crash")


def test_redis_that_forgot_is_told_again_without_saying_it_twice() -> None:
    assert begin(14, 10) == Start(10, 14, "rollback")


@pytest.mark.parametrize(
    ("k", "r", "gone"), [(5, None, "missing in Redis"), (None, 5, "missing in Kafka's consumer group")]
)
def test_a_lost_position_stops(k: int | None, r: int | None, gone: str) -> None:
    with pytest.raises(PositionError, match=rf"ts\.stitched/3: the position is {gone}.*--initialise"):
        begin(k, r)


@pytest.mark.parametrize(("k", "r"), [(14, 10), (10, 14), (10, 10)])
def test_a_log_that_no_longer_holds_the_position_stops(k: int, r: int) -> None:
    with pytest.raises(PositionError, match="offset 10 is needed but the log starts at 11"):
        begin(k, r, first=11)


@pytest.mark.parametrize(("k", "r"), [(14, 10), (10, 14), (14, 14)])
def test_a_log_that_ends_before_the_position_is_another_one(k: int, r: int) -> None:
    with pytest.raises(PositionError, match=r"offset 14 is needed but the log ends at 13.*--initialise"):
        begin(k, r, end=13)
    assert begin(k, r, first=3, initialise=True, end=13) == Start(3, 3, "fresh")
    assert begin(k, r, end=14).offset == r


@pytest.mark.parametrize(("k", "r"), [(14, 10), (10, 14), (10, 10)])
def test_a_topic_that_was_created_again_stops(k: int, r: int) -> None:
    """However long its log is."""
    with pytest.raises(PositionError, match=r"ts\.stitched/3: the topic was deleted and created again.*--initialise"):
        begin(k, r, renewed=True)
    assert begin(k, r, first=3, initialise=True, renewed=True) == Start(3, 3, "fresh")


@pytest.mark.parametrize(("k", "r"), [(5, None), (None, 5)])
def test_told_to_initialise_it_starts_at_the_beginning_where_a_position_is_lost(k: int | None, r: int | None) -> None:
    assert begin(k, r, first=3, initialise=True) == Start(3, 3, "fresh")


@pytest.mark.parametrize(
    ("k", "r", "found"), [(14, 10, (12, 14, "rollback")), (10, 14, (14, 12, "crash")), (10, 11, (12, 12, "crash"))]
)
def test_told_to_initialise_it_goes_on_without_what_was_deleted(k: int, r: int, found: tuple[int, int, str]) -> None:
    assert begin(k, r, first=12, initialise=True) == Start(*found)


@given(st.none() | st.integers(0, 20), st.none() | st.integers(0, 20), st.integers(0, 20), st.booleans())
@settings(deadline=None)
def test_to_initialise_changes_nothing_where_nothing_is_lost(
    k: int | None, r: int | None, first: int, fresh: bool
) -> None:
    """It is told to a process, which takes over whenever another joins or leaves."""
    told = begin(k, r, first, FRESH if fresh else "", initialise=True)
    try:
        found = begin(k, r, first, FRESH if fresh else "")
    except PositionError:
        # What is begun anew is not lost afterwards.
        found = begin(max(told.offset, told.floor), told.offset, first)
        assert found[:2] == (told.offset, max(told.offset, told.floor))
    else:
        assert told == found


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
@settings(deadline=None)
def test_nothing_is_skipped_and_nothing_said_twice(k: int, r: int, first: int) -> None:
    if min(k, r) < first:
        with pytest.raises(PositionError):
            begin(k, r, first)
    else:
        found = begin(k, r, first)
        assert found.offset == r >= first
        assert found.floor == k
