"""The churn report as one page of HTML with its plots drawn in it: nothing else is needed to look at it.

Plots are SVG of our own: lines and bars are all there is to draw, and a plotting library would be forty times the size
of this program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from flows.churn_report import GROUPS, MEASURES, day, widest_first
from operators.quality import LEVELS, measured
from operators.review import ALONE, HELD_OUT, TREATED, Review, Reviewed

_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:1em 1em 0 0}
figcaption{font-weight:600}svg text{font:11px system-ui,sans-serif;fill:#555}
"""
_COLOURS = {ALONE: "#1f77b4", HELD_OUT: "#2ca02c", TREATED: "#d62728"}
_WIDTH, _HEIGHT, _MARGIN = 320, 240, 34


class _Frame(NamedTuple):
    """What the axes of a plot span."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        """Where a value stands, in pixels from the left."""
        share = (value - self.left) / ((self.right - self.left) or 1.0)
        return round(_MARGIN + share * (_WIDTH - 2 * _MARGIN), 1)

    def y(self, value: float) -> float:
        """Where a value stands, in pixels from the top."""
        share = (min(value, self.top) - self.bottom) / ((self.top - self.bottom) or 1.0)
        return round(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN), 1)


_UNIT = _Frame(0, 1, 0, 1)


def page(found: Review, title: str) -> str:
    """The whole page."""
    keys = sorted(found.keys, key=widest_first)
    body = "".join([part for key in keys for part in _section(key, found.keys[key])])
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>\n"


def _section(key: str, known: Reviewed) -> Iterator[str]:
    yield f"<h2>{escape(key)}</h2>{_table(known)}"
    yield _figure("Calibration: served, and what came of it", _reliability(known), GROUPS, _COLOURS)
    yield _figure("Left alone, by the time of the score", _periods(known), _RATES, _SHADES)
    yield _figure("Scores", _bars([(n / LEVELS, count) for n, count in enumerate(known.levels)], 1 / LEVELS, "0", "1"))
    leads = sorted(known.warnings.leads.items())
    if leads:
        yield _figure("Days from warning to lapse", _bars(leads, 1, "0", str(leads[-1][0] + 1)))


def _table(known: Reviewed) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in ("", *MEASURES.values()))
    rows = ""
    for name, title in GROUPS.items():
        if name in known.groups:
            found = known.groups[name].measures()
            cells = "".join(f"<td>{_number(found.get(measure))}</td>" for measure in MEASURES)
            rows += f"<tr><td>{escape(title)}</td>{cells}</tr>"
    warned = known.warnings.measures()
    said = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in warned.items())
    return f"<table><tr>{head}</tr>{rows}</table><p>{escape(said)}</p>"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and value > 1 else f"{value:.3f}"


def _figure(
    title: str, drawn: str, names: Mapping[str, str] | None = None, colours: Mapping[str, str] | None = None
) -> str:
    legend = "".join(
        f'<span style="color:{colour}">&#9632; {escape((names or {})[name])} </span>'
        for name, colour in (colours or {}).items()
    )
    box = f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{box}<div>{legend}</div></figure>"


def _reliability(known: Reviewed) -> str:
    drawn = _axes(_UNIT, "0", "1", "0", "1") + _line(_UNIT, [(0, 0), (1, 1)], "#bbb")
    for name, colour in _COLOURS.items():
        if name in known.groups:
            points = [(served, left) for served, left, _ in known.groups[name].reliability()]
            drawn += _line(_UNIT, points, colour) + _dots(_UNIT, points, colour)
    return drawn


_RATES = {"auc": "AUC", "base_rate": "share that left", "log_loss": "log loss"}
_SHADES = {"auc": "#1f77b4", "base_rate": "#7f7f7f", "log_loss": "#ff7f0e"}


def _periods(known: Reviewed) -> str:
    starts = sorted(known.periods)
    if not starts:
        return ""
    frame = _Frame(starts[0], starts[-1], 0, 1)
    drawn = _axes(frame, day(starts[0]), day(starts[-1]), "0", "1")
    found = {start: measured(known.periods[start]) for start in starts}
    for name, colour in _SHADES.items():
        points = [(float(start), found[start][name]) for start in starts if name in found[start]]
        drawn += _line(frame, points, colour) + _dots(frame, points, colour)
    return drawn


def _bars(values: Sequence[tuple[float, int]], width: float, first: str, last: str) -> str:
    most = max([count for _, count in values], default=0) or 1
    frame = _Frame(0, values[-1][0] + width, 0, most)
    drawn = _axes(frame, first, last, "0", f"{most:,}")
    for start, count in values:
        left, top = frame.x(start), frame.y(count)
        wide, high = round(frame.x(start + width) - left - 1, 1), round(frame.y(0) - top, 1)
        drawn += f'<rect x="{left}" y="{top}" width="{max(wide, 1)}" height="{high}" fill="#1f77b4"/>'
    return drawn


def _axes(frame: _Frame, left: str, right: str, bottom: str, top: str) -> str:
    x0, x1, y0, y1 = frame.x(frame.left), frame.x(frame.right), frame.y(frame.bottom), frame.y(frame.top)
    lines = f'<path d="M{x0} {y1}V{y0}H{x1}" fill="none" stroke="#888"/>'
    texts = [(x0, y0 + 16, "start", left), (x1, y0 + 16, "end", right)]
    texts += [(x0 - 4, y0, "end", bottom), (x0 - 4, y1 + 8, "end", top)]
    return lines + "".join(
        f'<text x="{x}" y="{y}" text-anchor="{side}">{escape(said)}</text>' for x, y, side, said in texts
    )


def _line(frame: _Frame, points: Sequence[tuple[float, float]], colour: str) -> str:
    said = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
    return f'<polyline points="{said}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _dots(frame: _Frame, points: Sequence[tuple[float, float]], colour: str) -> str:
    return "".join(f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="2.5" fill="{colour}"/>' for x, y in points)
