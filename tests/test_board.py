"""The figures of the shop: what shards have counted, added up."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import thresholds
from operators.board import NAMES, OPEN, Board, State, Window
from operators.figures import bucket
from schemas.config import Threshold
from schemas.outputs import Alert, Kpis, Partial
from state.profile import pack

#: A second, the first of its minute.
S = 1_760_000_040
M = S // 60


def partial(second: int = S, minutes: dict[int, dict[str, int]] | None = None, **latency: int) -> Partial:
    return Partial(0, second, minutes or {}, {int(name[1:]): count for name, count in latency.items()})


def board_of(*partials: Partial) -> Board:
    board = Board()
    for each in partials:
        board.add(each)
    return board


def minute(board: Board, number: int = M) -> Kpis:
    return board.of_minute(number)


def test_a_second_and_its_minute_add_up_what_all_shards_say() -> None:
    counts = {"touchpoint/web/Product Viewed": 3, "new": 1, "order": 1, "revenue": 1250}
    board = board_of(partial(S, {M: counts}), partial(S, {M: counts}), partial(S + 1, {M: counts}))
    first, second, whole = board.figures(7)
    assert [(each.seconds, each.start, each.orders) for each in (first, second, whole)] == [
        (1, S * 1000, 2),
        (1, S * 1000 + 1000, 1),
        (60, M * 60_000, 3),
    ]
    assert whole.touchpoints == {"web": {"Product Viewed": 9}}
    assert (whole.revenue, whole.customers["new"], whole.revision, whole.clock) == (37.5, 3, 7, S * 1000 + 2000)
    assert board.figures(8) == [], "nothing has changed"


def test_what_is_late_corrects_its_minute_for_a_day() -> None:
    board = board_of(partial(S, {M: {"order": 1}}))
    board.figures(0)
    board.add(partial(S + 120, {M + 2: {"order": 1}, M: {"order": 1}}))
    changed = {(each.seconds, each.start): each for each in board.figures(1)}
    assert changed[60, M * 60_000].orders == 2
    assert changed[1, (S + 120) * 1000].orders == 2, "a second shows what was worked off in it"


def test_beyond_a_day_it_is_counted_as_late_in_the_minute_it_arrives() -> None:
    day = OPEN[60]
    old = {"touchpoint/web/Product Viewed": 2, "touchpoint/till/Order Completed": 1, "order": 1, "segment/vip": 1}
    board = board_of(partial(S + day, {M: old}))
    assert minute(board).orders == 0
    assert minute(board, M + day // 60).late == 3
    assert minute(board).segments == {"vip": 1}, "a level is as it is, whenever it became so"
    assert board_of(partial(S + day - 1, {M: old})).of_minute(M).orders == 1


def test_windows_that_are_over_are_forgotten() -> None:
    board = board_of(partial(S, {M: {"order": 1}}))
    board.add(partial(S + OPEN[60] + 59, {M + 1: {"order": 1}}))
    assert board.closed() == [M]
    assert sorted(board.minutes) == [M + 1, M + OPEN[60] // 60]
    assert sorted(board.state.seconds) == [S + OPEN[60] + 59]


def test_a_shard_a_day_behind_does_not_begin_a_forgotten_minute_anew() -> None:
    board = board_of(partial(S, {M: {"order": 1}}), partial(S + OPEN[60], {}))
    board.figures(0)
    assert board.closed() == [M]
    board.add(partial(S, b9=1))
    assert [each.start for each in board.figures(1) if each.seconds == 60] == []


def test_levels_add_up_over_all_time_and_goals_too() -> None:
    goal = {
        "outcome/offer/emitted/closed": 2,
        "outcome/offer/emitted/converted": 1,
        "outcome/offer/emitted/revenue": 990,
    }
    board = board_of(
        partial(S, {M: {"segment/vip": 3, "band/high": 2, "at_risk": 5000, **goal}}),
        partial(S + 3600, {M + 60: {"segment/vip": -1, "band/high": -1, "at_risk": -1000, **goal}}),
    )
    now = minute(board, M + 60)
    assert (now.segments, now.bands, now.at_risk) == ({"vip": 2}, {"high": 1}, 40.0)
    assert now.goals == {"offer": {"emitted": {"closed": 4, "converted": 2, "revenue": 19.8}}}
    assert now.plays["offer"].goals == {"emitted": {"closed": 2, "converted": 1, "revenue": 9.9}}


def test_all_that_has_happened_is_told_beside_the_windows() -> None:
    counts = {"order": 1, "revenue": 250, "touchpoint/web/Signed Up": 2, "active_minute": 1, "segment/vip": 1}
    board = board_of(partial(S, {M: counts}), partial(S + 9 * OPEN[60], {M + 1: counts}))
    told = board.so_far(7)
    assert (told.seconds, told.start, told.revision, told.clock) == (0, 0, 7, (S + 9 * OPEN[60] + 1) * 1000)
    assert (told.orders, told.revenue, told.touchpoints) == (2, 5.0, {"web": {"Signed Up": 4}}), "however late"
    assert (told.customers["active"], told.segments) == (0, {"vip": 2})


def test_senders_cannot_make_what_is_remembered_grow() -> None:
    board = board_of(*[partial(S, {M: {f"touchpoint/web{n}/Signed Up": 1}}) for n in range(NAMES + 5)])
    assert len(board.state.happened) == NAMES + 1
    assert board.so_far(0).touchpoints["other"] == {"Signed Up": 5}


def test_defects_by_source() -> None:
    defects = {"defect/web/late": 2, "defect/till/duplicates": 1}
    assert minute(board_of(partial(S, {M: defects}))).defects == {"web": {"late": 2}, "till": {"duplicates": 1}}


def test_plays_and_the_funnel() -> None:
    seen = {"Product Viewed": 100, "Product Added": 40, "Checkout Started": 20, "Order Completed": 25}
    decided = {
        "play/welcome/emitted/sms": 3, "play/welcome/emitted/email": 2, "play/welcome/stopped/no_consent": 4,
        "play/welcome/held/quiet_hours": 1, "play/welcome/held_out/holdout_play": 6, "play/welcome/shadow/shadow": 7,
    }  # fmt: skip
    figures = minute(board_of(partial(S, {M: {f"touchpoint/web/{type}": n for type, n in seen.items()} | decided})))
    assert figures.funnel == {"view": 100, "cart": 40, "pay": 20, "order": 25}
    assert figures.drop_off == {"cart": 0.6, "pay": 0.5, "order": -0.25}
    told = figures.plays["welcome"]
    assert (told.sent, told.stopped) == ({"sms": 3, "email": 2}, {"no_consent": 4})
    assert (told.held, told.held_out, told.shadow) == (1, 6, 7)


@given(st.lists(st.floats(1, 60_000), min_size=1, max_size=50))
def test_latency_is_told_within_nine_per_cent(took: list[float]) -> None:
    latency = minute(with_latency(took)).latency
    assert latency is not None
    assert latency.count == len(took)
    for told, rank in ((latency.p50, 0.5), (latency.p99, 0.99), (latency.max, 1)):
        exact = sorted(took)[max(0, -int(-len(took) * rank // 1) - 1)]
        assert exact * 0.999 - 0.1 <= told <= exact * 1.091 + 0.1


def with_latency(took: list[float]) -> Board:
    return board_of(Partial(0, S, {}, dict(Counter(map(bucket, took)))))


def test_nothing_is_lost_when_it_is_packed() -> None:
    board = board_of(partial(S, {M: {"order": 1, "segment/vip": 1}}, b9=2))
    state = msgspec.msgpack.decode(pack(board.state), type=State)
    minutes = {number: msgspec.msgpack.decode(pack(window), type=Window) for number, window in board.minutes.items()}
    board.add(partial(S + 1, {M: {"order": 1}}))
    again = Board(state, minutes)
    again.add(partial(S + 1, {M: {"order": 1}}))
    assert again.of_minute(M) == board.of_minute(M)
    assert again.so_far(1) == board.so_far(1)


counts = st.dictionaries(
    st.sampled_from(["order", "revenue", "segment/vip", "touchpoint/web/Signed Up"]), st.integers(1, 9)
)
told = st.builds(partial, st.integers(S, S + 300), st.dictionaries(st.integers(M - 5, M + 5), counts, max_size=3))


@given(st.lists(told, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_shards_does_not_matter(partials: list[Partial], chance: object) -> None:
    other = list(partials)
    chance.shuffle(other)  # type: ignore[attr-defined]
    one, two = board_of(*partials), board_of(*other)
    assert [one.of_minute(M + n) for n in range(-5, 6)] == [two.of_minute(M + n) for n in range(-5, 6)]


# -- alerts ---------------------------------------------------------------------------------------------------


def judged(threshold: Threshold, *orders: int) -> list[list[str]]:
    """What is told after each minute with so many orders."""
    board, told = Board(), []
    for number, count in enumerate(orders):
        board.add(partial(S + 60 * number, {M + number: {"order": count}} if count else {}))
        told.append([each.kind for each in thresholds.judge({"few": threshold}, board, M + number)])
    return told


def test_an_alert_begins_after_so_many_minutes_and_ends_when_it_is_clear() -> None:
    few = Threshold(figure="orders", below=3, minutes=2, clear=5)
    assert judged(few, 3, 2, 2, 2, 4, 5, 2) == [[], [], ["kpi"], [], [], ["kpi_cleared"], []]


def test_above_and_without_clear() -> None:
    many = Threshold(figure="orders", above=3)
    assert judged(many, 3, 4, 4, 3) == [[], ["kpi"], [], ["kpi_cleared"]]


def test_minutes_in_which_nothing_was_told_are_judged_too() -> None:
    board = board_of(partial(S))
    over = board.add(partial(S + 180 + 10, {M + 3: {"order": 1}}))
    assert list(over) == [M - 1, M, M + 1, M + 2]
    assert list(board.add(partial(S + 200))) == []


def test_before_anybody_counted_nothing_is_judged() -> None:
    board, few = board_of(partial(S + 1)), Threshold(figure="orders", below=1, minutes=2)
    assert [len(thresholds.judge({"few": few}, board, M + n)) for n in range(-1, 4)] == [0, 0, 0, 1, 0]


def test_an_alert_says_what_it_is_about() -> None:
    board = board_of(partial(S, {M: {"order": 1}}))
    (alert,) = thresholds.judge({"few": Threshold(figure="orders", below=3, minutes=1)}, board, M)
    assert alert == Alert("kpi", (S + 60) * 1000, "", "few: orders is 1, below 3")


def test_an_alert_that_is_no_longer_wanted_is_forgotten() -> None:
    board = board_of(partial(S))
    thresholds.judge({"few": Threshold(figure="orders", below=3)}, board, M)
    assert thresholds.judge({}, board, M + 1) == []
    assert board.state.firing == {}


@pytest.mark.parametrize(
    ("figure", "value"),
    [("orders", 2), ("touchpoints", 5), ("touchpoints.web", 4), ("touchpoints.web.Signed Up", 4), ("latency.p99", 0)],
)
def test_figures_are_named_by_their_path(figure: str, value: float) -> None:
    counts = {"order": 2, "touchpoint/web/Signed Up": 4, "touchpoint/app/Signed Up": 1}
    assert thresholds.value(minute(board_of(partial(S, {M: counts}))), figure) == value
