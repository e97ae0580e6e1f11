"""The overview: does the shop breathe, what does it sell, what is sent, is anything wrong."""

from __future__ import annotations

from typing import Final

from flows.web.known import Known, newest, steps
from flows.web.screens import charts, parts
from flows.web.screens.live import Chart, View
from flows.web.screens.parts import Html
from operators.figures import quantile
from schemas.outputs import Alert

#: What courses show: the last quarter of an hour (seconds), in steps.
OVER, STEP, COARSE = 900, 5, 15
#: Latency is told of so many seconds.
RECENT: Final = 300
#: Series of a chart, and lines of a list.
SERIES, LINES = 6, 10
_FUNNEL: Final = {"view": "Viewed a product", "cart": "Put into the cart", "pay": "Went to pay", "order": "Ordered"}
_BAD: Final = ("kpi", "model_broken", "model_drift", "play_error", "quarantined")

LAYOUT: Final = parts.join(
    [
        parts.tag("div", data_html="tiles"),
        parts.grid(
            parts.card("Touchpoints", "touchpoints", "a second, by source", "two", "Touchpoints a second by source"),
            parts.card("From looking to buying", "funnel", "touchpoints of each step in the last hour"),
            parts.card("Messages", "sent", "a minute, by play", "two", "Messages a minute by play"),
            parts.card("Triggers", "triggers", "as they are sent", "tall"),
            parts.card(
                "Touchpoint to trigger", "latency", "from the broker's time to the trigger", "two", "Latency over time"
            ),
            parts.card("Alerts", "alerts", "what a person should look at", "all"),
        ),
    ]
)


def view(known: Known, now: int) -> View:
    """What it shows."""
    return View(
        {"tiles": _tiles(known, now), "funnel": _funnel(known), "triggers": _triggers(known), "alerts": _alerts(known)},
        {"touchpoints": touchpoints(known, now), "sent": sent(known, now), "latency": _latency(known, now)},
    )


def span(known: Known, now: int) -> str:
    """How far back figures of the hour go."""
    minutes = (now - known.since) / 60_000 if known.since else 60
    return "in the last hour" if minutes >= 59 else f"in {max(1, round(minutes))} min"


def over(known: Known, now: int) -> int:
    """How far back (s) courses go: not further than what is known."""
    return min(OVER, max(60, (now - known.since) // 1000 // COARSE * COARSE))


def _tiles(known: Known, now: int) -> Html:
    orders, revenue, since = known.of("orders"), known.of("revenue") / 100, span(known, now)
    found = known.between("latency", now // 1000 - RECENT, now // 1000)
    p50, p99 = [quantile({int(name): int(n) for name, n in found.items()}, of) for of in (0.5, 0.99)]
    stopped, messages = [sum(known.hour.get(kind, {}).values()) for kind in ("stops", "sent")]
    active = _active(known)
    return parts.tiles(
        parts.tile("Touchpoints", parts.short(known.rate("touchpoints", now)), "/ s",
                   f"{parts.short(known.of('touchpoints'))} {since}"),
        parts.tile("Orders", parts.short(60 * known.rate("orders", now, over=60)), "/ min",
                   f"{parts.short(orders)} {since}"),
        parts.tile("Revenue", parts.money(revenue), "", f"{since}; {parts.money(revenue / orders)} an order"
                   if orders else since),
        parts.tile("New customers", parts.short(known.of("customers", "new")), "",
                   f"{since}; {parts.short(known.of('customers', 'merged'))} merged{active}"),
        parts.tile("Messages", parts.short(messages), "", f"{since}; {parts.short(stopped)} stopped"),
        parts.tile("To trigger", parts.took(p50), "", f"median; p99 {parts.took(p99)}, last 5 min"),
    )  # fmt: skip


def _active(known: Known) -> str:
    """Customers of the last minute that is over, where the log goes by the clock on the wall."""
    clock = known.so_far.clock if known.so_far else 0
    if abs(clock - known.told) > 60_000:
        return ""
    over = [start for start in known.active if start + 60_000 <= clock]
    return f"; {parts.short(known.active[max(over)])} active" if over else ""


def touchpoints(known: Known, now: int, *, stack: bool = True) -> Chart:
    """Touchpoints a second, by source."""
    return charts.course(_courses(known, "source", now, STEP, 1 / STEP), "/ s", stack=stack, digits=1)


def sent(known: Known, now: int) -> Chart:
    """Messages a minute, by play."""
    return charts.course(_courses(known, "sent", now, COARSE, 60 / COARSE), "/ min", kind="bar", stack=True)


def _courses(known: Known, kind: str, now: int, step: int, by: float) -> dict[str, list[tuple[int, float]]]:
    """The courses of what there is most of, and of all others together."""
    names, back = known.names(kind), over(known, now)
    found = {
        parts.words(name): [(at, n * by) for at, n in known.course(kind, now, back, step, name)]
        for name in names[:SERIES]
    }
    rest = [known.course(kind, now, back, step, name) for name in names[SERIES:]]
    if rest:
        found[charts.OTHERS] = [(each[0][0], by * sum([n for _, n in each])) for each in zip(*rest, strict=True)]
    return found


def _latency(known: Known, now: int) -> Chart:
    found: dict[str, list[tuple[int, float | None]]] = {"median": [], "p99": []}
    for start in steps(now, over(known, now), COARSE):
        buckets = {int(name): int(n) for name, n in known.between("latency", start, start + COARSE).items()}
        for name, of in (("median", 0.5), ("p99", 0.99)):
            found[name].append((start * 1000, quantile(buckets, of)))
    return charts.course(found, "ms")


def _funnel(known: Known) -> Html:
    steps = [(step, known.of("funnel", step)) for step in _FUNNEL]
    if not any([n for _, n in steps]):
        return parts.nothing("Nobody has looked at anything yet.")
    rows, before = [], 0.0
    for step, n in steps:
        lost = f"{parts.share(1 - n / before, 0)} lost" if before and n <= before else ""
        said = parts.join([parts.tag("b", parts.short(n)), parts.tag("small", lost)])
        rows.append((_FUNNEL[step], n, said))
        before = n
    return parts.bars(rows, "", "funnel")


def _triggers(known: Known) -> Html:
    rows = [
        parts.tag(
            "li",
            parts.when(each.at),
            parts.tag("span", parts.words(each.play), class_="what"),
            parts.customer(each.customer),
            parts.tag("span", each.channel, class_="where"),
            parts.tag("span", "timer" if each.latency is None else parts.took(each.latency), class_="took"),
        )
        for each in newest(known.triggers)[:LINES]
    ]
    return parts.lines("Triggers", rows, "No message has been sent yet.", "two")


def _alerts(known: Known) -> Html:
    return alerts(newest(known.alerts)[:8], "Nothing needs a person.")


def alerts(found: list[Alert], empty: str) -> Html:
    """Alerts, as they are listed."""
    rows = [
        parts.tag(
            "li",
            parts.when(each.at),
            parts.badge(parts.words(each.kind), "bad" if each.kind in _BAD else "good"),
            parts.tag("span", each.text, class_="what"),
            parts.customer(each.customer) if each.customer else "",
        )
        for each in found
    ]
    return parts.lines("Alerts", rows, empty, "alerts")
