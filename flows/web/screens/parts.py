"""Pieces of pages: HTML from plain values, everything escaped, figures with their units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

from operators.uplift import Interval

#: What stands for a figure that there is not.
NONE: Final = "\u2013"
#: Characters of a customer id by which people tell customers apart.
_SHORT: Final = 8


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as HTML: escaped, unless it is."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *inside: object, **attributes: object) -> Html:
    """An element; ``class_`` and ``data_at`` stand for ``class`` and ``data-at``, None leaves an attribute out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{''.join(map(text, inside))}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Pieces behind each other."""
    return Html("".join(map(text, parts)))


# -- figures -----------------------------------------------------------------------------------------------


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A number as short as a person wants it: 950, 12.3 k, 4.56 M."""
    for unit, size in (("M", 1e6), ("k", 1e4)):
        if abs(value) >= size:
            return f"{value / (1e6 if unit == 'M' else 1e3):,.3g} {unit}"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def money(value: float) -> str:
    """An amount in major units of the shop's currency."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.2f}"


def share(value: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * value:.{digits}f} %"


def took(milliseconds: float | None) -> str:
    """A duration."""
    if milliseconds is None:
        return NONE
    return f"{milliseconds:,.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:,.1f} s"


def when(at: int) -> Html:
    """A moment (ms), which the page tells in the viewer's own zone."""
    return tag("time", "", data_at=at)


def ago(at: int) -> Html:
    """How long since a moment (ms), which the page keeps counting."""
    return tag("time", "", data_ago=at)


def words(name: str) -> str:
    """A name of ours as people read it: ``cart_abandoned`` is cart abandoned."""
    return name.replace("_", " ")


def customer(id: str) -> Html:
    """A customer, by which one gets to him."""
    return tag("a", id[:_SHORT], href=f"/customers/{id}", title=id, class_="id")


# -- pieces ------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column of a table. ``kind``: ``num`` for figures, ``wide`` where only large screens have room."""

    title: str
    kind: str = ""


def tile(title: str, value: object, unit: str = "", caption: object = "") -> Html:
    """One figure that matters."""
    figure = tag("dd", tag("strong", value), tag("span", unit, class_="unit") if unit else "", class_="figure")
    return tag("div", tag("dt", title), figure, tag("dd", caption, class_="caption"), class_="tile")


def tiles(*each: Html) -> Html:
    """Figures side by side."""
    return tag("dl", *each, class_="tiles")


def table(title: str, columns: Sequence[Column], rows: Iterable[Sequence[object]], empty: str) -> Html:
    """A table that says so when it is empty; wide ones are moved by keys, too."""
    body = [
        tag(
            "tr",
            *[
                _cell(column, value, first=not number)
                for number, (column, value) in enumerate(zip(columns, row, strict=True))
            ],
        )
        for row in rows
    ]
    if not body:
        return nothing(empty)
    head = tag("tr", *[tag("th", each.title, scope="col", class_=each.kind or None) for each in columns])
    grid = tag("table", tag("caption", title, class_="hidden"), tag("thead", head), tag("tbody", *body))
    return tag("div", grid, class_="scroll", tabindex=0, role="region", aria_label=title)


def _cell(column: Column, value: object, *, first: bool) -> Html:
    return tag("th" if first else "td", value, scope="row" if first else None, class_=column.kind or None)


def nothing(why: str) -> Html:
    """What stands where there is nothing yet."""
    return tag("p", why, class_="nothing")


def bars(rows: Iterable[tuple[object, float, object]], empty: str, kind: str = "") -> Html:
    """Names with bars as long as their values are large, and what is said of each."""
    found = list(rows)
    most = max([value for _, value, _ in found], default=0) or 1
    if not found:
        return nothing(empty)
    return tag(
        "ul",
        *[
            tag(
                "li",
                tag("span", name, class_="name"),
                tag("span", tag("i", style=f"width:{100 * value / most:.1f}%"), class_="track", aria_hidden="true"),
                tag("span", said, class_="said"),
            )
            for name, value, said in found
        ],
        class_=f"bars {kind}".strip(),
    )


def badge(said: object, kind: str = "") -> Html:
    """A word that stands out. ``kind``: good, warn, bad or none."""
    return tag("span", said, class_=f"badge {kind}".strip())


def interval(found: Interval, reach: float) -> Html:
    """A difference in points and between what it lies, drawn on a scale from -``reach`` to ``reach``."""
    low, mid, high = [
        50 + 50 * max(-1.0, min(1.0, value / reach)) for value in (found.low, found.difference, found.high)
    ]
    kind = "good" if found.low > 0 else "bad" if found.high < 0 else "unclear"
    drawn = tag(
        "span",
        tag("i", class_="zero"),
        tag("i", class_="reach", style=f"left:{low:.1f}%;width:{max(high - low, 1):.1f}%"),
        tag("i", class_="point", style=f"left:{mid:.1f}%"),
        class_=f"interval {kind}",
        aria_hidden="true",
    )
    said = f"{100 * found.difference:+.1f} points"
    between = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
    return join([tag("span", said, class_=f"points {kind}"), tag("small", between), drawn])


def card(title: str, place: str, note: str = "", kind: str = "", label: str = "") -> Html:
    """A frame for what comes to ``place``: HTML, or a chart if it has a ``label`` for those who cannot see it."""
    inside = (
        tag("div", data_chart=place, class_="chart", role="img", aria_label=label)
        if label
        else tag("div", data_html=place)
    )
    return tag("section", head(title, note), inside, class_=f"card {kind}".strip())


def head(title: str, note: str) -> Html:
    """What stands above a card."""
    return tag("header", tag("h2", title), tag("p", note) if note else "")


def grid(*cards: Html) -> Html:
    """Cards side by side where there is room."""
    return tag("div", *cards, class_="grid")


def lines(title: str, rows: Sequence[Html], empty: str, kind: str = "") -> Html:
    """A list of what happened, the newest first."""
    return tag("ol", *rows, class_=f"lines {kind}".strip(), aria_label=title) if rows else nothing(empty)
