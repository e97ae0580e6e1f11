"""Plays from a file: read, checked completely, compiled. Every fault is listed with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from flows.checking import Checker, YamlLoader, problem
from operators.playbook import PlayBook, faults_of
from schemas.errors import ConfigError
from schemas.plays import Play, PlayFile

#: The plays to begin with.
STARTER: Final = Path(__file__).parent.parent / "plays" / "retail.yaml"
#: A larger file is not one of plays.
LARGEST: Final = 5_000_000


def load(path: Path = STARTER) -> PlayFile:
    """The plays of a YAML file. Raises `ConfigError` that lists every fault."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    return parse(text, str(path))


def parse(text: bytes, name: str) -> PlayFile:
    """The plays in ``text``, read from ``name``. Raises `ConfigError` that lists every fault."""
    checker = Checker(PlayFile)
    file = checker.section("", PlayFile, _tree(text, name))
    if isinstance(file, PlayFile):
        PlayBook(file)  # raises what is wrong beyond the shape
        return file
    # Plays that are sound in themselves are looked into all the same: a second reading should find nothing new.
    raise ConfigError([*checker.faults, *_faults_inside(_tree(text, name))])


def _tree(text: bytes, name: str) -> dict[Any, Any]:
    """The file as nested mappings. Raises `ConfigError`."""
    if len(text) > LARGEST:
        raise ConfigError([f"{name}: is larger than {LARGEST // 1_000_000} MB"])
    try:
        tree = yaml.load(text.decode(), YamlLoader)
    except UnicodeDecodeError:
        raise ConfigError([f"{name}: is not UTF-8 text"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{name}: is not YAML: {problem(error)}"]) from None
    except (ValueError, RecursionError):  # a date that is none; nested without end
        raise ConfigError([f"{name}: is not YAML: a value in it cannot be read"]) from None
    if not isinstance(tree, dict):
        raise ConfigError(
            [f"{name}: must hold keys and values, `plays` above all; see `touchstream plays show --starter`"]
        )
    return tree


def _faults_inside(tree: dict[Any, Any]) -> list[str]:
    found: list[str] = []
    plays = tree.get("plays")
    for name, raw in plays.items() if isinstance(plays, dict) else ():
        play = Checker(PlayFile).section("", Play, raw)
        if isinstance(play, Play):
            found += faults_of(str(name), play)
    return found


def dump(file: PlayFile) -> str:
    """Plays as YAML, without what says nothing."""
    return yaml.safe_dump(_told(msgspec.to_builtins(file)), sort_keys=False, allow_unicode=True)


def _told(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _told(each) for key, each in value.items() if each is not None}
    return [_told(each) for each in value] if isinstance(value, list | tuple) else value


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file, for editors."""
    schema = msgspec.json.schema(PlayFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "plays.yaml", **schema}
