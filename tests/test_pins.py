"""Every package is pinned once and for all: pyproject.toml, the compiled files and this environment agree."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FILES = ("requirements.txt", "requirements-dev.txt")


def pins(lines: list[str]) -> dict[str, str]:
    """Version by canonical name. Fails on a requirement that is not one exact version."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        found[str(canonicalize_name(requirement.name))] = specifier.version
    return found


def compiled(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    entries = re.findall(r"^([^#\s].*?)(?: \\)?$", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(entries)
    return pins(entries)


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_compiled_files_follow_the_project(project: dict[str, Any]) -> None:
    runtime = pins(project["project"]["dependencies"])
    dev = pins(project["dependency-groups"]["dev"])
    transitive = pins(project["tool"]["uv"]["constraint-dependencies"])
    everything = compiled("requirements-dev.txt")
    assert everything == {**runtime, **dev, **transitive}
    assert runtime.items() <= compiled("requirements.txt").items() <= everything.items()


@pytest.mark.parametrize("name", [*FILES, "requirements-data.txt", "benchmarks/peers/quix-requirements.txt"])
def test_no_file_names_an_address(name: str) -> None:
    assert not re.search(r"://|--index|--find-links", (ROOT / name).read_text())


def test_this_environment_holds_the_pinned_versions() -> None:
    installed = {str(canonicalize_name(d.metadata["Name"])): d.version for d in importlib.metadata.distributions()}
    expected = {name: version for name, version in compiled("requirements-dev.txt").items() if name in installed}
    assert {name: installed[name] for name in expected} == expected
    assert compiled("requirements.txt").keys() - installed.keys() <= {"async-timeout"}  # Python below 3.11.3 only
