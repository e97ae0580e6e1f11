"""How well churn is learned online, beside its rivals, on real purchase logs.

::

    python -m benchmarks.churn --data completejourney            # a grocer's year
    python -m benchmarks.churn --data cdnow --json               # a CD shop's 18 months
    python -m benchmarks.churn --data cdnow --share 0.1 --rivals none     # a sample, in seconds

The log is lived through by the product's own code under a virtual clock (`benchmarks.churn.lived`). Reported: AUC,
average precision, Brier score, calibration error, log loss, precision and recall at one half, with 95 % intervals by
drawing customers; early warnings; how much of what customers spend is explained; and what it costs. Accuracy is not:
the majority has .90 of it. An AUC above .90 would mean that the future has leaked. The data are installed by hand
(`logs.locate` says how); pyarrow and scikit-learn are in the dependency group ``dev``.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import msgspec
import numpy as np

from benchmarks.churn.cost import cost
from benchmarks.churn.figures import NAMES, Floats, Forecast, intervals, r2
from benchmarks.churn.lived import Clock, Lived
from benchmarks.churn.logs import LOGS, Log, Purchase, locate
from benchmarks.churn.rivals import rivals
from benchmarks.churn.warnings import Silences, warnings
from schemas.errors import TouchstreamError


def measure(
    log: Log, purchases: list[Purchase], *, seed: int = 1, draws: int = 200, beside: bool = True
) -> dict[str, Any]:
    """All figures of a log. ``draws`` of the bootstrap, 0 for no intervals; ``beside``: rivals too."""
    lived = Clock(log, purchases, _told(log)).run()
    rows = lived.judged
    figures: dict[str, Any] = {
        "data": log.name,
        "customers": len(lived.names),
        "orders": len(purchases),
        "examples": lived.examples,
        "models": lived.models,
        "rows": int(rows.sum()),
        "base_rate": float(lived.table["label"][rows].mean()),
        "forecasts": {"online": _forecast(lived, lived.table["probability"], seed, draws)},
    }
    for name, answers in rivals(lived, seed) if beside else ():
        _say(name)
        figures["forecasts"][name] = _forecast(lived, answers, seed, draws)
    figures["value"] = _value(lived, seed, draws)
    if log.warned:
        figures["warnings"] = warnings(Silences(lived, purchases), log.warned)
    return figures


def _forecast(lived: Lived, answers: Floats, seed: int, draws: int) -> dict[str, Any]:
    rows = lived.judged
    forecast = Forecast(answers[rows], lived.table["label"][rows])
    customers = lived.table["customer"][rows].astype(np.int64)
    return {**forecast.figures(), "intervals": intervals(customers, forecast.figures, seed, draws)}


def _value(lived: Lived, seed: int, draws: int) -> dict[str, Any]:
    """R2 of the expected spend as served, and of what it was chosen from."""
    rows = lived.judged
    spent, customers = lived.table["spent"][rows], lived.table["customer"][rows].astype(np.int64)
    served = {name: lived.table[name][rows] for name in ("value", "patient", "hasty")}

    def explained(weights: Floats | None = None) -> dict[str, float]:
        return {name: r2(spent, expected, weights) for name, expected in served.items()}

    return {**explained(), "intervals": intervals(customers, explained, seed, draws)}


def _told(log: Log) -> Any:
    return lambda day: _say(f"{log.name}: day {day} of {log.days}")


def _say(text: str) -> None:
    """Progress, where somebody looks on."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def show(figures: dict[str, Any]) -> str:
    """The figures as text."""
    counts = (
        f"{figures['customers']:,} customers, {figures['orders']:,} orders, {figures['examples']:,} examples learned"
    )
    lines = [
        f"{figures['data']}: {counts}, {figures['models']:,} models",
        f"judged: {figures['rows']:,} rows, base rate {figures['base_rate']:.3f}",
        "",
        f"{'':16}" + "".join(f"{name.replace('average_precision', 'avg prec'):>18}" for name in NAMES),
    ]
    for name, found in figures["forecasts"].items():
        lines.append(f"{name:16}" + "".join(f"{_cell(found, figure):>18}" for figure in NAMES))
    value = figures["value"]
    lines += [
        "",
        f"spend within the horizon, R2: {_cell(value, 'value')}  of {value['patient']:.3f}, {value['hasty']:.3f}",
    ]
    for name, found in figures.get("warnings", {}).items():
        early = found["early"]
        lines.append(
            f"warnings, {name:8} first: precision {early['precision']:.3f}, recall {early['recall']:.3f}, "
            f"{early['days_ahead']:.1f} days ahead, {early['two_weeks_ahead']:.3f} by two weeks; "
            + ", ".join(
                f"{found[left]['recall']:.3f} at {found[left]['precision']:.3f} {left}" for left in ("left_3", "left_5")
            )
        )
    if "cost" in figures:
        lines += ["", "CPU us: " + ", ".join(f"{name} {each:.2f}" for name, each in figures["cost"].items())]
    return "\n".join(lines)


def _cell(found: dict[str, Any], figure: str) -> str:
    low, high = found["intervals"].get(figure, (None, None))
    text = f"{found[figure]:.4f}".lstrip("0")
    return text if low is None else f"{text} {low:.3f}-{high:.3f}".replace("0.", ".")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.churn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=sorted(LOGS), required=True)
    parser.add_argument("--path", default="", help="the data, if their package is not installed")
    parser.add_argument("--share", type=float, default=1.0, help="of the customers, drawn by hash")
    parser.add_argument("--first", type=int, help="the first day that is judged")
    parser.add_argument("--rivals", choices=["all", "none"], default="all")
    parser.add_argument("--draws", type=int, default=200, help="of the bootstrap; 0: no intervals")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    log = LOGS[given.data]
    if given.first is not None:
        log = msgspec.structs.replace(log, first=given.first)
    try:
        purchases = log.purchases(locate(log, given.path), given.share)
    except (TouchstreamError, OSError) as error:
        sys.exit(str(error))
    figures = measure(log, purchases, seed=given.seed, draws=given.draws, beside=given.rivals == "all")
    figures["cost"] = cost(purchases)
    _say("")
    print(msgspec.json.encode(figures).decode() if given.json else show(figures))


if __name__ == "__main__":
    main()
