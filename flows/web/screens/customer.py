"""One customer: who it is and how that came together, how it stands, what was decided of it and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flows.web.answers import Customer, WhyAnswer
from flows.web.known import Scored
from flows.web.screens import parts
from flows.web.screens.parts import Column, Html

_LINKS: Final = (
    Column("Seen together"),
    Column("As", "wide"),
    Column("First", "num"),
    Column("Last", "num wide"),
    Column("What became of it"),
)
_BANDS: Final = {"low": "good", "medium": "warn", "high": "bad"}
#: Lines of the timeline.
LINES: Final = 20


def body(customer: Customer, scored: Scored | None) -> Html:
    """All of it but the decisions, of which more can be asked."""
    return parts.join(
        [
            tiles(customer),
            parts.grid(
                _card("Timeline", timeline(customer), "what is kept, the latest first", "two tall"),
                _card("Score", score(customer, scored), "what moved it most"),
                _card("Reached by", reached(customer), "addresses, language, consent"),
                _card("Identifiers", identifiers(customer), "keyed hashes; values are not stored"),
                _card(
                    "How they came together", links(customer), "what was seen together, and what became of it", "two"
                ),
            ),
        ]
    )


def _card(title: str, inside: Html, note: str, kind: str = "") -> Html:
    return parts.tag("section", parts.head(title, note), inside, class_=f"card {kind}".strip())


def head(customer: Customer) -> Html:
    """Who it is, by the name that is its own."""
    masked = parts.badge("masked" if customer.masked else "in the clear", "" if customer.masked else "warn")
    return parts.join([parts.tag("code", customer.customer), masked])


def tiles(customer: Customer) -> Html:
    """How it stands."""
    it = customer.standing
    churn = parts.share(it.churn.probability, 0) if it.churn else parts.NONE
    band = parts.badge(f"{it.churn.band} band", _BANDS.get(it.churn.band, "")) if it.churn else "no score yet"
    returned = f"; {parts.money(it.returned)} returned" if it.returned else ""
    return parts.tiles(
        parts.tile(
            "Orders",
            parts.count(it.orders),
            "",
            parts.join(["since ", parts.when(it.first_seen)]) if it.first_seen else "",
        ),
        parts.tile(
            "Spent",
            parts.money(it.spent),
            "",
            f"{parts.money(it.spent / it.orders)} an order{returned}" if it.orders else returned,
        ),
        parts.tile(
            "Last seen",
            parts.ago(it.last_seen) if it.last_seen else parts.NONE,
            "",
            parts.when(it.last_seen) if it.last_seen else "",
        ),
        parts.tile("Will leave", churn, "", band),
        parts.tile("Points", parts.count(it.points), "", "" if it.tier is None else it.tier or "no tier"),
        parts.tile("Open tickets", parts.count(it.tickets)),
    )


def reached(customer: Customer) -> Html:
    """By what it can be reached, and what it has agreed to."""
    contacts = [
        (name, parts.join([value, parts.badge("bounced", "bad") if name in customer.bounced else ""]))
        for name, value in sorted(customer.contacts.items())
    ]
    consent = [
        (
            f"{each.channel}, {each.purpose}",
            parts.join(
                [
                    parts.badge("agreed", "good") if each.granted else parts.badge("refused", "bad"),
                    parts.when(each.time),
                ]
            ),
        )
        for each in customer.consent
    ]
    about = [(name, value) for name, value in _about(customer) if value]
    return pairs([*contacts, *about, *consent], "No address and no consent is known.")


def _about(customer: Customer) -> Iterator[tuple[str, object]]:
    it = customer.standing
    yield "language", it.language
    yield "time zone", it.timezone
    yield "country", it.country
    yield "birthday", it.birth_day or ""


def identifiers(customer: Customer) -> Html:
    """What it is known by; values are not stored."""
    named = [
        parts.tag("li", parts.badge(each.namespace), parts.tag("code", each.name)) for each in customer.identifiers
    ]
    was = [parts.tag("li", parts.badge("was"), parts.tag("code", each)) for each in customer.merged]
    return parts.lines("Identifiers", [*named, *was], "It has no identifier any more.")


def links(customer: Customer) -> Html:
    """How the identifiers came together, and what did not hold."""
    rows: list[list[object]] = [
        [
            parts.join([parts.tag("code", each.a), " + ", parts.tag("code", each.b)]),
            each.kind,
            parts.when(each.first),
            parts.when(each.last),
            parts.badge("holds", "good")
            if each.holds
            else parts.join([parts.badge("cut", "bad"), " ", each.why.removeprefix("cut: ")]),
        ]
        for each in customer.links
    ]
    said = [parts.tag("p", each, class_="foot") for each in customer.decided]
    table = parts.table(
        "How identifiers came together", _LINKS, rows, "One identifier alone: nothing had to come together."
    )
    return parts.join([table, *said])


def score(customer: Customer, scored: Scored | None) -> Html:
    """What the churn model says, and what moved it most."""
    if customer.standing.churn is None:
        return parts.nothing("There is no score yet.")
    reasons = scored.reasons if scored is not None else {}
    most = max([abs(by) for by in reasons.values()], default=0) or 1
    rows = [
        (
            parts.words(name),
            abs(by) / most,
            parts.badge("towards leaving", "bad") if by > 0 else parts.badge("towards staying", "good"),
        )
        for name, by in reasons.items()
    ]
    told = parts.join(["computed ", parts.when(customer.standing.churn.at), _further(scored)])
    unknown = "The reasons are not among the scores read lately."
    return parts.join([parts.bars(rows, unknown), parts.tag("p", told, class_="foot")])


def _further(scored: Scored | None) -> str:
    said = [parts.words(each) for each in (scored.stage, scored.segment) if each] if scored else []
    if scored and scored.value is not None:
        said.append(f"{parts.money(scored.value)} to be expected within the horizon")
    return "".join(f"; {each}" for each in said)


def timeline(customer: Customer) -> Html:
    """What happened with it, the latest first."""
    found = sorted(_happened(customer), key=lambda each: -each[0])[:LINES]
    rows = [
        parts.tag("li", parts.when(at), parts.badge(kind, look), parts.tag("span", said, class_="what"))
        for at, kind, look, said in found
    ]
    return parts.lines("Timeline", rows, "Nothing is known of it.")


def _happened(customer: Customer) -> Iterator[tuple[int, str, str, object]]:
    it = customer.standing
    if it.first_seen:
        yield it.first_seen, "seen", "", "for the first time"
    if it.last_seen and it.last_seen != it.first_seen:
        yield it.last_seen, "seen", "", "for the last time"
    for cart in it.carts:
        yield cart.time, "cart", "", f"changed, worth {parts.money(cart.value)}"
    for segment, since in it.segments.items():
        yield since, "segment", "", f"entered {parts.words(segment)}"
    if it.churn:
        yield (
            it.churn.at,
            "score",
            _BANDS.get(it.churn.band, ""),
            f"{parts.share(it.churn.probability, 0)} to leave, {it.churn.band} band",
        )
    for consent in customer.consent:
        yield (
            consent.time,
            "consent",
            "",
            f"{'given' if consent.granted else 'withdrawn'} for {consent.channel}, {consent.purpose}",
        )
    for link in customer.links:
        yield link.first, "identity", "", f"{link.a} + {link.b}{'' if link.holds else ', ' + link.why}"
    for each in customer.decisions:
        sent = each.code == "emitted"
        yield (
            each.at,
            "sent" if sent else "stopped",
            "good" if sent else "",
            f"{parts.words(each.play)}{'' if sent else ': ' + parts.words(each.code)}",
        )
    for waiting in it.waiting:
        yield waiting.until, "waits", "warn", f"{parts.words(waiting.play)}: {parts.words(waiting.code)}"


def why(answer: WhyAnswer) -> Html:
    """Why a decision came out so: every check, in order."""
    steps = [
        parts.tag(
            "li",
            parts.badge("passed", "good") if each.passed else parts.badge("stopped", "bad"),
            parts.tag("b", parts.words(each.step)),
            parts.tag("span", each.text, class_="what"),
        )
        for each in answer.checks
    ]
    about = answer.touchpoint
    brought = (
        parts.join(["brought about by ", about.type, " from ", about.source, ", ", parts.when(about.time)])
        if about
        else "brought about by no touchpoint that is still kept"
        if answer.complete
        else "there was no time to look for what brought it about"
    )
    said = "; ".join(
        part
        for part in (answer.channel and f"on {answer.channel}", answer.variant and f"variant {answer.variant}")
        if part
    )
    return parts.join(
        [
            parts.tag("ol", *steps, class_="lines checks"),
            parts.tag("p", brought, f"; {said}" if said else "", class_="foot"),
        ]
    )


def pairs(rows: list[tuple[str, object]], empty: str) -> Html:
    """Names with their values."""
    if not rows:
        return parts.nothing(empty)
    return parts.tag(
        "dl", *[parts.tag("div", parts.tag("dt", name), parts.tag("dd", value)) for name, value in rows], class_="pairs"
    )
