"""The queries of the Grafana dashboard, as Prometheus gets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "deploy" / "grafana" / "touchstream.json"
ROWS = ("SLO and throughput", "Lag", "Stages", "Errors", "Redis and producer", "Process", "Business")
#: What Grafana puts in.
_VARIABLES = {"$__rate_interval": "30s", "$flow": ".+"}


def panels() -> list[dict[str, Any]]:
    """All panels, rows among them, in their order."""
    return list(json.loads(FILE.read_text())["panels"])


def queries() -> dict[str, str]:
    """Every query by panel and letter."""
    found = {}
    for panel in panels():
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found
