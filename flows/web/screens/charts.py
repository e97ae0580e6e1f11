"""Charts as options of ECharts: plain data. Colours are names of the style sheet's, so that dark and light share them.

``unit`` is ours: the page adds it to what it tells of a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flows.web.screens.live import Chart

Points = Sequence[tuple[int, float | None]]

COLOURS: Final = [f"var(--c{number})" for number in range(1, 9)]
#: The series of all that is not shown by itself.
OTHERS: Final = "others"
_AXIS: Final = {"axisLine": {"show": False}, "axisTick": {"show": False}, "axisLabel": {"color": "var(--muted)"}}
_GRID: Final = {"left": 4, "right": 12, "top": 36, "bottom": 4, "containLabel": True}


def course(
    series: Mapping[str, Points],
    unit: str,
    *,
    kind: str = "line",
    stack: bool = False,
    digits: int = 0,
    from_zero: bool = True,
) -> Chart:
    """What becomes of something, over time. One alone needs no name beside it."""
    return {
        **_base(unit, digits, list(series) if len(series) > 1 else []),
        "xAxis": {"type": "time", **_AXIS, "splitLine": {"show": False}, "axisLabel": _LABEL | {"hideOverlap": True}},
        "yAxis": _values() | {"scale": not from_zero},
        "series": [
            {
                "id": name,
                "name": name,
                "type": kind,
                "data": [[at, value if value is None else round(value, 4)] for at, value in points],
                **({"color": "var(--muted)"} if name == OTHERS else {}),
                "showSymbol": len(points) < 3,
                "symbolSize": 5,
                "lineStyle": {"width": 1.75},
                "barMaxWidth": 14,
                **({"stack": "all"} if stack else {}),
                **({"areaStyle": {"opacity": 0.16}} if stack and kind == "line" else {}),
                "emphasis": {"focus": "series"},
            }
            for name, points in series.items()
        ],
    }


def columns(names: Sequence[str], values: Sequence[float], unit: str, colours: Sequence[str] = ()) -> Chart:
    """Values side by side."""
    data = [
        {"value": value, **({"itemStyle": {"color": colours[number]}} if colours else {})}
        for number, value in enumerate(values)
    ]
    return {
        **_base(unit, 0, []),
        "xAxis": {"type": "category", "data": list(names), **_AXIS, "axisLabel": _LABEL | {"hideOverlap": True}},
        "yAxis": _values(),
        "series": [
            {"id": unit, "name": unit, "type": "bar", "data": data, "barCategoryGap": "28%",
             "itemStyle": {"borderRadius": [3, 3, 0, 0]}}
        ],
    }  # fmt: skip


_LABEL: Final = {"color": "var(--muted)"}


def _values() -> dict[str, Any]:
    return {
        "type": "value",
        **_AXIS,
        "splitNumber": 4,
        "splitLine": {"lineStyle": {"color": "var(--line)"}},
    }


def _base(unit: str, digits: int, names: Sequence[str]) -> Chart:
    legend = {
        "type": "scroll", "top": 0, "left": 0, "right": 0, "icon": "roundRect", "itemWidth": 10, "itemHeight": 10,
        "textStyle": _LABEL, "pageIconColor": "var(--muted)", "pageTextStyle": _LABEL, "data": list(names),
    }  # fmt: skip
    return {
        "unit": unit,
        "digits": digits,
        "color": COLOURS,
        "animation": False,
        "grid": _GRID if names else _GRID | {"top": 12},
        **({"legend": legend} if names else {}),
        "tooltip": {"trigger": "axis", "confine": True, "backgroundColor": "var(--card)",
                    "borderColor": "var(--line)", "textStyle": {"color": "var(--text)"}},
    }  # fmt: skip
