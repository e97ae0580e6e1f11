"""Processes of the version before, beside those of this one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from schemas.config import Config
from tests.system.pipeline import Flow, await_
from tests.system.scenarios.stage import Stage, commits

ROOT: Final = Path(__file__).parents[3]
#: The version before, as a commit of this repository; and what the configuration has learned since.
BEFORE: Final = "7551e6e6ef0caa2b376103e3ff67d4a405827f6b"
NEWER: Final = (
    ("identity", "anonymous"),
    ("identity", "anonymous_days"),
    ("limits", "cached_bytes"),
    ("limits", "commit_interval_ms"),
)


def upgrade(stage: Stage) -> dict[str, Any]:
    """Process by process gives way to one of the version before, until all are, and process by process comes back: old
    and new work side by side, in every mixture, and read what the others have written."""
    pipeline, mixtures = stage.pipeline, list[str]()
    tree = tree_before(pipeline.folder / "before")
    old = tree / "touchstream.yaml"
    old.write_text(yaml.safe_dump(known_before(pipeline.config)))
    new = pipeline.folder / "touchstream.yaml"
    for place, file in ((tree, old), (None, new)):
        for flow in pipeline.flows:
            _give_way(flow, place, file)
            for each in stage.committing:
                await_(partial(_goes_on, stage, each, commits(each)), f"commits of {each.log.stem}")
            mixtures.append(" ".join("new" if each.tree is None else "old" for each in pipeline.flows))
    return {"mixtures": mixtures}


def _give_way(flow: Flow, tree: Path | None, config: Path) -> None:
    """Drain a process and start one with the code in ``tree`` in its place."""
    assert flow.drain() == 0
    flow.tree = tree
    flow.environment["TOUCHSTREAM_CONFIG"] = str(config)
    flow.start()
    await_(lambda: flow.up, f"{flow.log.stem} to start")


def _goes_on(stage: Stage, flow: Flow, before: float) -> bool:
    return stage.pipeline.revive() and commits(flow) > before


def tree_before(folder: Path) -> Path:
    """The code of the version before."""
    archived = subprocess.run(["git", "-C", str(ROOT), "archive", BEFORE], capture_output=True)
    assert archived.returncode == 0, f"the version before is missing here (git fetch --unshallow): {archived.stderr!r}"
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def known_before(config: Config) -> dict[str, Any]:
    """The configuration without what the version before does not know."""
    found: dict[str, Any] = msgspec.to_builtins(config)
    for section, key in NEWER:
        del found[section][key]
    return found
