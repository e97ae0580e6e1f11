"""What each page shows of what is known, and that what is pushed to viewers is the same for all."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any, Final

import msgspec
import pytest

from flows.identity_show import Link
from flows.web import answers
from flows.web.feed import Feed
from flows.web.known import Known, Learned, Scored
from flows.web.screens import charts, churn, customer, overview, parts, plays, quality
from flows.web.screens.live import BEHIND, Board, View, Viewer
from flows.why import Happened, Line
from operators.reasons import Check
from schemas.config import Config
from schemas.outputs import Alert, DeadLetter, Kpis, PlayFigures, Score
from tests.conftest import new_config
from tests.test_known import LOG, NOW, so_far, tell, trigger

PAGES: Final = {"overview": overview, "plays": plays, "churn": churn, "quality": quality}
#: Whoever names things: none of this may become part of a page.
EVIL: Final = '<img src=x onerror="alert(1)">'


def known() -> Known:
    """A shop of two sources at work for ten seconds, the figures of which are easy to do in one's head."""
    found = Known()
    tell(found, NOW, so_far())
    for second in range(1, 11):
        tell(found, NOW + second * 1000, figures(second))
        found.take(
            "triggers", None, msgspec.json.encode(trigger("welcome", NOW + second * 1000 - 40)), NOW + second * 1000
        )
    return found


def figures(n: int) -> Kpis:
    goals = (
        {"closed": 2_000.0, "converted": 200.0, "revenue": 9_000.0},
        {"closed": 1_000.0, "converted": 50.0, "revenue": 2.0},
    )
    return so_far(
        touchpoints={"web": {"Product Viewed": 10 * n, "Product Added": n}, "till": {"Order Completed": n}},
        orders=n,
        revenue=20.0 * n,
        customers={"new": 2 * n, "merged": n},
        funnel={"view": 10 * n, "cart": 2 * n, "pay": n, "order": n},
        plays={
            "cart_abandoned": PlayFigures(
                sent={"sms": 3 * n}, held=n, held_out=n, stopped={"no_consent": 5 * n, "cool_down": n}
            ),
            "offer": PlayFigures(shadow=4 * n),
        },
        bands={"low": 60, "medium": 30, "high": 10},
        at_risk=1_234.5,
        defects={"web": {"late": n, "duplicates": n}},
        goals={"cart_abandoned": {"emitted": goals[0], "held_out": goals[1]}, "offer": {"emitted": goals[1]}},
    )


def shown(page: Any, found: Known, now: int = NOW + 11_000) -> dict[str, str]:
    """What a page says, without its markup, by place."""
    return {place: said(html) for place, html in page.view(found, now).html.items()}


def said(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def values(chart: dict[str, Any], name: str) -> list[float]:
    """The values of a series that are not 0."""
    (series,) = [each for each in chart["series"] if each["name"] == name]
    return [value for _, value in series["data"] if value]


class Places(HTMLParser):
    """The places of a layout, and what is open when it ends."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, set[str]] = {"data-html": set(), "data-chart": set()}
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in self.found:
                self.found[name].add(value or "")
        if tag not in ("hr", "input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("found", [Known(), known()], ids=["empty", "at work"])
def test_every_piece_has_a_place_and_every_place_a_piece(name: str, found: Known) -> None:
    page = PAGES[name]
    places, view = Places(page.LAYOUT), page.view(found, NOW)
    assert places.found == {"data-html": set(view.html), "data-chart": set(view.charts)}
    for html in [page.LAYOUT, *view.html.values()]:
        assert Places(html).open == []
    assert json.loads(json.dumps(view.charts)) == view.charts


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_shop_says_so(name: str) -> None:
    view = PAGES[name].view(Known(), NOW)
    assert any('class="nothing"' in html for html in view.html.values())
    assert not re.search(r"\bnan\b|\binf\b|None", "".join(view.html.values()))


def test_the_overview_tells_rates_money_and_the_funnel() -> None:
    page = shown(overview, known())
    assert "Touchpoints 12 / s 120 in 1 min" in page["tiles"]
    assert "Orders 10 / min 10 in 1 min" in page["tiles"]
    assert "Revenue 200.00 in 1 min; 20.00 an order" in page["tiles"]
    assert "New customers 20 in 1 min; 10 merged" in page["tiles"]
    assert "Messages 30 in 1 min; 60 stopped" in page["tiles"]
    assert re.search(r"To trigger 4\d ms median; p99 4\d ms", page["tiles"])
    assert "Put into the cart 20 80 % lost" in page["funnel"]
    assert "Ordered 10 0 % lost" in page["funnel"]
    assert page["triggers"].startswith("welcome c sms 40 ms")


def test_courses_are_rates_and_what_is_too_much_to_show_is_told_together() -> None:
    view = overview.view(known(), NOW + 40_000)
    assert values(view.charts["touchpoints"], "web") == [8.8, 11.0, 2.2]
    assert sum(values(view.charts["sent"], "cart abandoned")) == 120.0
    many = Known()
    tell(many, NOW, so_far())
    tell(many, NOW, so_far(touchpoints={f"s{n}": {"Page Viewed": 5} for n in range(9)}))
    assert values(overview.touchpoints(many, NOW + 10_000), "others") == [3.0]


def test_alerts_say_what_and_whom() -> None:
    found = known()
    found.take("alerts", None, msgspec.json.encode(Alert("play_error", LOG, "c-1", "broken")), NOW)
    assert "play error broken c-1" in shown(overview, found)["alerts"]
    assert 'href="/customers/c-1"' in overview.view(found, NOW).html["alerts"]


def test_plays_tell_what_was_sent_and_why_not_and_shadows_beside() -> None:
    page = shown(plays, known())
    assert "cart abandoned sms 30 30 30 \u2013 10 10 60 no consent 83 %, cool down 17 %" in page["plays"]
    assert "offer 0 0 40 0 0 0" in page["plays"]
    assert page["reasons"] == "no consent 50 cool down 10"


def test_uplift_has_an_interval_where_there_is_enough_to_go_by() -> None:
    page = shown(plays, known())
    assert "cart abandoned 10.0 % 200 of 2,000 5.0 % 50 of 1,000 +5.0 points +3.0 to +6.8 9,000.00" in page["effect"]
    assert "offer 5.0 % 50 of 1,000 \u2013 nobody is held out" in page["effect"]
    assert 'class="interval good"' in plays.view(known(), NOW).html["effect"]


def test_churn_tells_bands_value_and_how_good_the_model_is() -> None:
    found = known()
    for number in range(10):
        score = Score(
            f"c{number}", LOG, number / 10, "low", "m", stage="active", rfm_segment="champion", clv=float(number)
        )
        found.take("scores", None, msgspec.json.encode(score), NOW)
    page, view = shown(churn, found), churn.view(found, NOW)
    assert "About to leave 10 customers 10.0 % are in the high band" in page["tiles"]
    assert "Value at risk 1,234.50" in page["tiles"]
    assert page["bands"] == "high 10 10.0 % medium 30 30.0 % low 60 60.0 %"
    assert (page["stages"], page["segments"]) == ("active 100 %", "champion 100 %")
    assert [each["value"] for each in view.charts["probability"]["series"][0]["data"]][::2] == [1] * 10
    assert values(view.charts["at_risk"], "value at risk") == [1234.5]


def test_the_model_that_is_told_is_that_of_all_customers() -> None:
    found = known()
    found.models.append(Learned(NOW, "default", {"auc": 0.8}))
    found.models.append(Learned(NOW + 1, "gap:default", {"auc": 0.7}))
    assert "Model 0.800 AUC" in shown(churn, found)["tiles"]


def test_quality_is_told_by_source() -> None:
    found = known()
    dead = DeadLetter("not_json", "$", "s", "ts.web", 0, 1, NOW, NOW, "")
    found.take("dead-letters", None, msgspec.json.encode(dead), NOW)
    page = shown(quality, found)
    assert "web 110 8.3 % 9.1 % \u2013 Product Viewed 91 %, Product Added 9 %" in page["sources"]
    assert page["dead"] == "not json 1 ts.web 1"
    assert "Valid 99.24 % 1 dead letters" in page["tiles"]
    assert "all are heard of" in page["tiles"]


def test_a_source_that_is_silent_for_long_has_gone_quiet() -> None:
    found, till = Known(), {"Order Completed": 100}
    tell(found, NOW, so_far())
    tell(found, NOW + 1_000, so_far(touchpoints={"till": till}))
    tell(found, NOW + 60_000, so_far(touchpoints={"till": till, "web": {"Page Viewed": 5}}))
    assert "till gone quiet" in shown(quality, found, NOW + 61_000)["tiles"]
    assert "all are heard of" in shown(quality, found, NOW + 30_000)["tiles"]


def test_nothing_that_others_named_becomes_part_of_a_page() -> None:
    found = Known()
    tell(found, NOW, so_far())
    tell(found, NOW, so_far(touchpoints={EVIL: {EVIL: 1}}, plays={EVIL: PlayFigures(sent={EVIL: 1}, stopped={EVIL: 1})},
                            defects={EVIL: {"late": 1}}, goals={EVIL: {"emitted": {"closed": 1.0}}}))  # fmt: skip
    found.take("triggers", None, msgspec.json.encode(trigger(EVIL, NOW, EVIL)), NOW)
    found.take("alerts", None, msgspec.json.encode(Alert(EVIL, LOG, EVIL, EVIL)), NOW)
    found.take("dead-letters", None, msgspec.json.encode(DeadLetter(EVIL, "$", "s", EVIL, 0, 1, NOW, NOW, "")), NOW)
    for page in PAGES.values():
        for html in page.view(found, NOW + 1_000).html.values():
            assert "<img" not in html
            assert 'onerror="' not in html
    assert "&lt;img" in overview.view(found, NOW).html["alerts"]


# -- one customer ---------------------------------------------------------------------------------------------


def person(**more: Any) -> answers.Customer:
    standing = answers.Standing(
        first_seen=NOW - 9, last_seen=NOW, orders=4, spent=100.0, returned=10.0, points=7, tier="gold", tickets=1,
        language="zh", timezone="", country="CN", birth_day=None, carts=[answers.Cart(NOW - 5, 12.5)],
        segments={"keen": NOW - 4}, churn=answers.Churn(0.25, "low", NOW - 3),
        waiting=[answers.Waiting("offer", "quiet_hours", NOW + 9)],
    )  # fmt: skip
    link = customer_link(holds=False, why="cut: a hub")
    given: dict[str, Any] = {
        "customer": "c-1", "masked": True, "contacts": {"email": "z***@e***.com"}, "bounced": ["email"],
        "consent": [answers.Consent("sms", "marketing", True, NOW)], "standing": standing,
        "identifiers": [answers.Identifier("email", "email:ab12")], "links": [link], "decided": ["hub"],
        "merged": ["c-0"],
        "decisions": [Line("d1", NOW - 1, "welcome", "emitted"), Line("d2", NOW - 2, "offer", "no_consent")],
    }  # fmt: skip
    return answers.Customer(**(given | more))


def customer_link(*, holds: bool, why: str) -> Any:
    return Link("login", "device:x", "email:y", NOW - 8, NOW - 7, holds, why)


def test_a_customer_is_told_with_how_it_came_together_and_what_was_decided() -> None:
    scored = Scored(NOW, 0.25, "low", "active", "champion", 55.0, {"gap": 0.5, "orders": -0.25})
    page = said(customer.body(person(), scored))
    for part in (
        "Orders 4", "Spent 100.00 25.00 an order; 10.00 returned", "Will leave 25 % low band", "Points 7 gold",
        "z***@e***.com bounced", "sms, marketing agreed", "device:x + email:y login cut a hub",
        "gap towards leaving orders towards staying", "active; champion; 55.00 to be expected",
        "waits offer: quiet hours", "sent welcome", "stopped offer: no consent", "was c-0",
    ):  # fmt: skip
        assert part in page, part
    timeline = said(customer.timeline(person()))
    assert timeline.index("waits") < timeline.index("sent") < timeline.index("stopped") < timeline.index("keen")


def test_what_others_named_stays_text_with_customers_too() -> None:
    evil = person(
        contacts={EVIL: EVIL}, decided=[EVIL], merged=[EVIL], decisions=[Line("d", NOW, EVIL, EVIL)],
        consent=[answers.Consent(EVIL, EVIL, False, NOW)], identifiers=[answers.Identifier(EVIL, EVIL)],
        links=[customer_link(holds=True, why=EVIL)],
    )  # fmt: skip
    assert "<img" not in customer.body(evil, None)


def test_why_is_told_step_by_step() -> None:
    checks = [Check("consent", True, "agreed to"), Check("caps", False, "3 of 3 sent")]
    about = Happened("Signed Up", "web", NOW, "ts.web/0/1", [], "c")
    page = said(customer.why(answers.WhyAnswer("c", True, "welcome", "v", "stopped", NOW, checks, touchpoint=about)))
    assert page == "passed consent agreed to stopped caps 3 of 3 sent brought about by Signed Up from web,"


# -- what is pushed -------------------------------------------------------------------------------------------


@pytest.fixture
def feed() -> Feed:
    """One that was never started."""
    config: Config = new_config("127.0.0.1:1", "redis://127.0.0.1:1/0")
    return Feed(config)


def test_what_is_pushed_is_what_has_changed_and_who_comes_gets_all(feed: Feed) -> None:
    drawn = iter([View({"a": "1", "b": "1"}, {"c": {"n": 1}}), View({"a": "1", "b": "2"}, {"c": {"n": 1}})])
    board = Board(lambda known, now: next(drawn))
    first, second = json.loads(board.redraw(feed)), json.loads(board.redraw(feed))
    assert (first["html"], first["charts"]) == ({"a": "1", "b": "1"}, {"c": {"n": 1}})
    assert (second["html"], "charts" in second) == ({"b": "2"}, False)
    whole = json.loads(board.whole())
    assert (whole["html"], whole["charts"]) == ({"a": "1", "b": "2"}, {"c": {"n": 1}})


def test_how_fresh_it_is_goes_along(feed: Feed) -> None:
    board = Board(lambda known, now: View({}))
    with feed.known() as found:
        tell(found, NOW, so_far())
    standing = json.loads(board.redraw(feed))["standing"]
    assert (standing["told"], standing["clock"]) == (NOW, LOG)
    assert standing["problem"] == "Kafka has not answered yet"


def test_while_nothing_can_be_read_the_page_stays_at_what_was_told_last(feed: Feed) -> None:
    moments: list[int] = []

    def draw(known: Known, now: int) -> View:
        moments.append(now)
        return View({})

    board = Board(draw)
    with feed.known() as found:
        tell(found, NOW, so_far())
    board.redraw(feed)
    feed.problem = ""
    board.redraw(feed)
    assert moments[0] == NOW
    assert moments[1] > NOW


def test_who_is_slow_gets_the_whole_page_instead_and_holds_up_nobody() -> None:
    viewer = Viewer()
    for number in range(BEHIND + 2):
        viewer.tell(str(number).encode(), lambda: b"whole")
    waiting = [viewer.waiting.get_nowait() for _ in range(viewer.waiting.qsize())]
    assert waiting == [b"whole", str(BEHIND + 1).encode()]


# -- pieces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.2"), (9.5, "9.5"), (950, "950"), (9_999, "9,999"), (12_345, "12.3 k"), (4_560_000, "4.56 M")],
)
def test_numbers_are_as_short_as_people_want_them(value: float, text: str) -> None:
    assert parts.short(value) == text


def test_one_series_alone_needs_no_legend() -> None:
    assert "legend" not in charts.course({"a": []}, "ms")
    assert charts.course({"a": [], "b": []}, "ms")["legend"]["data"] == ["a", "b"]
