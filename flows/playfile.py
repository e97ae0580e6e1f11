"""Plays from a file: read, checked completely, compiled. Every fault is listed with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from flows.checking import Checker, YamlLoader, larger, problem
from operators.playbook import PlayBook
from operators.playcompiler import faults_of
from operators.segmentbook import SegmentBook
from schemas.config import Section
from schemas.errors import ConfigError
from schemas.plays import Play, PlayFile, Segment, Window

#: The plays to begin with.
STARTER: Final = Path(__file__).parent.parent / "plays" / "retail.yaml"
T = TypeVar("T", bound=Section)
#: A larger file is not one of plays (bytes), nor one that holds more values; aliases can make millions of a few lines.
LARGEST: Final = 5_000_000
MOST: Final = 200_000


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
    if larger(tree, MOST):
        raise ConfigError([f"{name}: holds more than {MOST:,} values, aliases included, or one that holds itself"])
    if not isinstance(tree, dict):
        raise ConfigError(
            [f"{name}: must hold keys and values, `plays` above all; see `touchstream plays show --starter`"]
        )
    return tree


def _faults_inside(tree: dict[Any, Any]) -> list[str]:
    windows, broken_windows = _sound(tree, "windows", Window)
    segments, broken_segments = _sound(tree, "segments", Segment)
    book = SegmentBook(windows, segments, broken_windows, broken_segments)
    plays, _ = _sound(tree, "plays", Play)
    return [*book.faults, *[fault for name, play in plays.items() for fault in faults_of(name, play, book)]]


def _sound(tree: dict[Any, Any], key: str, kind: type[T]) -> tuple[dict[str, T], list[str]]:
    """The entries of a mapping that can be read, and the names of the others."""
    entries = tree.get(key)
    named = {str(name): raw for name, raw in entries.items()} if isinstance(entries, dict) else {}
    read = {name: Checker(PlayFile).section("", kind, raw) for name, raw in named.items()}
    sound = {name: each for name, each in read.items() if isinstance(each, kind)}
    return sound, [name for name in named if name not in sound]


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
