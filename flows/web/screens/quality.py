"""Data quality: what each source sends, what is wrong with it, and whether it has gone quiet."""

from __future__ import annotations

from collections import Counter
from typing import Final

from flows.web.known import Known
from flows.web.screens import parts
from flows.web.screens.live import View
from flows.web.screens.overview import span, touchpoints
from flows.web.screens.parts import Column, Html

#: A source that says nothing for so many times its usual pause, and so long (ms) at least, has gone quiet.
_PAUSES, _QUIET = 20, 30_000
#: Shares of touchpoints with a defect above which it stands out.
_WARN, _BAD = 0.02, 0.1

_COLUMNS: Final = (
    Column("Source"), Column("Touchpoints", "num"), Column("Last heard of", "num"), Column("Duplicates", "num"),
    Column("Late", "num"), Column("No channel", "num wide"), Column("Mostly", "wide"),
)  # fmt: skip

LAYOUT: Final = parts.join(
    [
        parts.tag("div", data_html="tiles"),
        parts.grid(
            parts.card("Sources", "sources", "in the last hour", "all"),
            parts.card("Touchpoints", "touchpoints", "a second, by source", "two", "Touchpoints a second by source"),
            parts.card("Dead letters", "dead", "records that could not be used, by reason and by topic"),
        ),
        parts.tag(
            "p",
            "Late is what came more than five minutes after it happened. A dead letter names its topic, since its "
            "source could not be read. Identifiers that contradict each other are counted by topic alone, in "
            "the metric touchstream_source_defects_total.",
            class_="foot",
        ),
    ]
)


def view(known: Known, now: int) -> View:
    """What it shows."""
    return View(
        {
            "tiles": _tiles(known, now),
            "sources": _sources(known, now),
            "dead": _dead(known),
        },
        {"touchpoints": touchpoints(known, now, stack=False)},
    )


def _tiles(known: Known, now: int) -> Html:
    since, touchpoints = span(known, now), known.of("touchpoints")
    dead, defects = sum(known.hour.get("dead", {}).values()), known.nested("defect")
    duplicates, late = [sum(each.get(kind, 0) for each in defects.values()) for kind in ("duplicates", "late")]
    quiet = [name for name in known.seen if _quiet(known, name, now)]
    every = touchpoints + duplicates + dead
    heard = f"{', '.join(quiet)} gone quiet" if quiet else "all are heard of"
    return parts.tiles(
        parts.tile("Valid", _rest(dead, every), "", f"{parts.short(dead)} dead letters {since}"),
        parts.tile("Unique", _rest(duplicates, every), "", f"{parts.short(duplicates)} duplicates"),
        parts.tile("In time", _rest(late, touchpoints), "", f"{parts.short(late)} late"),
        parts.tile("Sources", parts.count(len(known.seen)), "", heard),
        parts.tile("Too late to count", parts.short(known.of("too_late")), "", "more than a day after they happened"),
    )


def _rest(defects: float, of: float) -> str:
    return _percent(1 - defects / of) if of else parts.NONE


def _sources(known: Known, now: int) -> Html:
    defects, types = known.nested("defect"), known.nested("type")
    rows = []
    for name in sorted(known.seen, key=lambda name: (-known.of("source", name), name)):
        n = known.of("source", name)
        heard = parts.ago(known.seen[name])
        if _quiet(known, name, now):
            heard = parts.badge(heard, "bad")
        mostly = sorted(types.get(name, {}).items(), key=lambda item: -item[1])[:3]
        found = defects.get(name, {})
        rows.append(
            [
                name,
                parts.tag("strong", parts.short(n)),
                heard,
                _defect(found.get("duplicates", 0), n + found.get("duplicates", 0)),
                _defect(found.get("late", 0), n),
                _defect(found.get("no_channel", 0), n),
                ", ".join(f"{type} {parts.share(count / n, 0)}" for type, count in mostly),
            ]
        )
    return parts.table("Sources", _COLUMNS, rows, "No source has sent anything yet.")


def _quiet(known: Known, name: str, now: int) -> bool:
    """Whether a source is silent for much longer than it uses to be."""
    n = known.of("source", name)
    usual = (now - known.since) / n if n else 0
    return now - known.seen[name] > max(_QUIET, _PAUSES * usual)


def _defect(count: float, of: float) -> Html:
    if not of or not count:
        return parts.tag("span", parts.NONE, class_="muted")
    found = count / of
    kind = "bad" if found > _BAD else "warn" if found > _WARN else ""
    return parts.badge(_percent(found), kind) if kind else parts.text(_percent(found))


def _percent(value: float) -> str:
    return parts.share(value, 2 if 0.99 < value < 1 or 0 < value < 0.01 else 1)


def _dead(known: Known) -> Html:
    reasons, topics = Counter[str](), Counter[str]()
    for name, n in known.hour.get("dead", {}).items():
        topic, _, reason = name.rpartition("/")
        reasons[parts.words(reason)] += int(n)
        topics[topic] += int(n)
    if not reasons:
        return parts.nothing("No dead letters.")
    shown = [
        parts.bars([(name, n, parts.short(n)) for name, n in each.most_common(8)], "") for each in (reasons, topics)
    ]
    return parts.join([shown[0], Html("<hr class=rule>"), shown[1]])
