"""Plays: what each has sent and what stopped it, what its messages bring about, what those on trial would have done."""

from __future__ import annotations

from typing import Final

from flows.web.known import Known, newest
from flows.web.screens import parts
from flows.web.screens.live import View
from flows.web.screens.overview import sent, span
from flows.web.screens.parts import Column, Html
from operators.uplift import Comparison, Group, compare
from schemas.outputs import PlayFigures

LINES: Final = 12
_STOPS: Final = 3
#: Least half of the scale on which differences are drawn.
_REACH: Final = 0.02

_COLUMNS: Final = (
    Column("Play"), Column("Sent", "num"), Column("last hour", "num wide"), Column("Shadow", "num"),
    Column("Held out", "num wide"), Column("Held", "num wide"), Column("Stopped", "num"),
    Column("mostly because of", "wide"),
)  # fmt: skip
_EFFECT: Final = (
    Column("Play"), Column("Sent, converted", "num"), Column("Held out, converted", "num wide"),
    Column("Uplift, 95 % interval"), Column("Revenue of those", "num wide"),
)  # fmt: skip

LAYOUT: Final = parts.join(
    [
        parts.tag("div", data_html="tiles"),
        parts.grid(
            parts.card("Messages", "sent", "a minute, by play", "two", "Messages a minute by play"),
            parts.card("Stopped", "reasons", "in the last hour, by reason"),
            parts.card("What plays did", "plays", "since counting began; shadow beside what was sent", "all"),
            parts.card(
                "What messages bring about",
                "effect",
                "decisions whose window has closed: those sent a message beside those held out",
                "all",
            ),
            parts.card("Latest stops", "stops", "", "all"),
        ),
    ]
)


def view(known: Known, now: int) -> View:
    """What it shows."""
    plays = known.so_far.plays if known.so_far else {}
    return View(
        {
            "tiles": _tiles(known, now, plays),
            "plays": _table(known, plays),
            "effect": _effect(known),
            "reasons": _reasons(known),
            "stops": _stops(known),
        },
        {"sent": sent(known, now)},
    )


def _tiles(known: Known, now: int, plays: dict[str, PlayFigures]) -> Html:
    since = span(known, now)
    messages, stopped, held_out, shadow = [
        sum(known.hour.get(kind, {}).values()) for kind in ("sent", "stops", "held_out", "shadow")
    ]
    decided = messages + stopped + held_out
    return parts.tiles(
        parts.tile("Sent", parts.short(messages), "messages", since),
        parts.tile("Stopped", parts.short(stopped), "decisions",
                   f"{parts.share(stopped / decided, 0)} of what was decided" if decided else since),
        parts.tile("Held out", parts.short(held_out), "decisions", f"{since}; to compare with"),
        parts.tile("Shadow", parts.short(shadow), "decisions", f"{since}; on trial, not sent"),
        parts.tile("Plays", parts.count(len(plays)), "", "have decided something"),
    )  # fmt: skip


def _table(known: Known, plays: dict[str, PlayFigures]) -> Html:
    order = sorted(plays, key=lambda name: (-sum(plays[name].sent.values()) - plays[name].shadow, name))
    return parts.table(
        "What plays did",
        _COLUMNS,
        [_row(known, name, plays[name]) for name in order],
        "No play has decided anything yet.",
    )


def _row(known: Known, name: str, play: PlayFigures) -> list[object]:
    messages, stopped = sum(play.sent.values()), sum(play.stopped.values())
    channels = ", ".join(f"{channel} {parts.short(n)}" for channel, n in _most(play.sent))
    why = ", ".join(f"{parts.words(code)} {parts.share(n / stopped, 0)}" for code, n in _most(play.stopped)[:_STOPS])
    shadow = parts.badge(f"{parts.short(play.shadow)}", "shadow") if play.shadow else parts.NONE
    return [
        parts.join([parts.words(name), parts.tag("small", channels)]),
        parts.tag("strong", parts.short(messages)),
        parts.short(known.of("sent", name)),
        shadow,
        parts.short(play.held_out),
        parts.short(play.held),
        parts.short(stopped),
        why,
    ]


def comparisons(known: Known) -> list[Comparison]:
    """Of each play that has a goal, the conversion of those sent a message beside those held out. Decisions are
    compared, since the figures count no customers; and of revenue only sums are known, which have no interval."""
    goals = known.so_far.goals if known.so_far else {}
    return [
        compare(name, None, *[_group(outcomes.get(outcome, {})) for outcome in ("emitted", "held_out")])
        for name, outcomes in sorted(goals.items())
    ]


def _group(goals: dict[str, float]) -> Group:
    return Group(int(goals.get("closed", 0)), int(goals.get("converted", 0)))


def _effect(known: Known) -> Html:
    found, goals = comparisons(known), known.so_far.goals if known.so_far else {}
    drawn = [each.conversion for each in found if each.conversion and not each.lacking]
    reach = max([_REACH, *[abs(end) for each in drawn for end in (each.low, each.high)]])
    rows = [
        [
            parts.words(each.play),
            _converted(each.treated),
            _converted(each.held_out),
            _uplift(each, reach),
            parts.money(goals[each.play].get("emitted", {}).get("revenue", 0)),
        ]
        for each in found
    ]
    table = parts.table("What messages bring about", _EFFECT, rows, "No window of a goal has closed yet.")
    note = (
        "A customer may count more than once here. `touchstream report uplift` compares first decisions on customers, "
        "which are independent of each other: go by that for what is to last."
    )
    return parts.join([table, parts.tag("p", note, class_="foot")]) if rows else table


def _uplift(each: Comparison, reach: float) -> object:
    if each.conversion is None or each.lacking:
        return parts.tag("span", each.lacking if each.held_out.customers else "nobody is held out", class_="muted")
    return parts.interval(each.conversion, reach)


def _converted(group: Group) -> Html:
    if not group.customers:
        return parts.text(parts.NONE)
    return parts.join(
        [
            parts.tag("strong", parts.share(group.rate)),
            parts.tag("small", f"{parts.short(group.conversions)} of {parts.short(group.customers)}"),
        ]
    )


def _reasons(known: Known) -> Html:
    found: dict[str, float] = {}
    for codes in known.nested("stopped").values():
        for code, n in codes.items():
            found[code] = found.get(code, 0) + n
    return parts.bars(
        [(parts.words(code), n, parts.short(n)) for code, n in _most(found)[:10]],
        "Nothing was stopped in the last hour.",
    )


def _stops(known: Known) -> Html:
    rows = [
        parts.tag(
            "li",
            parts.when(each.at),
            parts.tag("span", parts.words(each.play), class_="what"),
            parts.badge(parts.words(each.code or each.outcome), "" if each.outcome == "stopped" else "shadow"),
            parts.customer(each.customer),
        )
        for each in newest(known.decisions)[:LINES]
    ]
    return parts.lines("Latest stops", rows, "Nothing was stopped yet.")


def _most(counts: dict[str, float] | dict[str, int]) -> list[tuple[str, float]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
