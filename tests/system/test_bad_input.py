"""A corpus of bad, strange and repeated records: each ends as applied, counted duplicate or dead letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.config import Config
from tests.system.bad_input import run
from tests.system.pipeline import chaotic

pytestmark = [pytest.mark.flows, pytest.mark.long("input")]


def test_each_record_ends_in_one_place(deployment: Config, tmp_path: Path) -> None:
    result = run(chaotic(deployment), tmp_path)
    assert result["faults"] == []
    assert result["dead"] >= 300
