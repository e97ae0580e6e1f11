"""YAML as structs: every fault of a file found together, each with its path, its value and what is allowed.

`Checker` turns nested mappings into `schemas.config.Section` structs. What reads the configuration and what reads plays
differ only in where values may come from besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import yaml

from flows.settings_checks import describe
from schemas.config import Section

Tree = dict[str, Any]


class Checker:
    """One reading: the faults found so far. ``root`` is what is read, for hints at keys that stand elsewhere in it;
    ``secret`` are the paths of values that are never shown."""

    def __init__(self, root: type[Section], secret: tuple[str, ...] = ()) -> None:
        self.faults: list[str] = []
        self._root = root
        self._secret = secret

    def fault(self, key: str, text: str) -> None:
        """Note a fault; ``key`` is a path, empty for the whole."""
        fault = f"{key}: {text}" if key else text
        self.faults.append("".join([each if each.isprintable() else repr(each)[1:-1] for each in fault]))

    def section(self, path: str, kind: type[Section], raw: object) -> Any:
        """A section of type ``kind``, or None after at least one fault."""
        values = self.mapping(path, raw)
        if values is None:
            return None
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        before = len(self.faults)
        known = {}
        for name, value in self.contents(path, values, fields):
            if name in fields:
                known[name] = self._value(join(path, name), fields[name].type, value)
            else:
                self.fault(
                    join(path, name), f"is not a key{self.origin(value)}{self._did_you_mean(path, name, fields)}"
                )
        for name, field in fields.items():
            if field.required and name not in values and f"{name}_file" not in values:
                self.fault(join(path, name), f"is missing; {_allowed(field.type)}")
        return kind(**known) if len(self.faults) == before else None

    def contents(self, path: str, values: Tree, fields: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
        """The entries of a mapping; ``fields`` are those of the section, None where any name is good."""
        for key, value in values.items():
            yield str(key), value

    def plain(self, raw: object) -> object:
        """``raw`` as YAML holds it."""
        return raw

    def origin(self, raw: object) -> str:
        """Where a value comes from, if not from the file."""
        return ""

    def convert(self, kind: Any, raw: object) -> object:
        """A value as ``kind``. Raises `msgspec.ValidationError`."""
        return msgspec.convert(raw, kind)

    def mapping(self, path: str, raw: object) -> Tree | None:
        """``raw`` if it is a mapping; None after a fault."""
        raw = self.plain(raw)
        if raw is None:  # `kafka:` with everything below commented out
            return {}
        if not isinstance(raw, dict):
            self.fault(path, f"must hold keys and values{self._shown(path, raw)}")
            return None
        return raw

    def _value(self, path: str, kind: Any, raw: object) -> object:
        bare = _bare(kind)
        if _is_section(bare):
            return None if raw is None and bare is not kind else self.section(path, bare, raw)
        if get_origin(bare) is dict:
            return self._entries(path, kind, raw)
        if get_origin(bare) is tuple and _is_section(get_args(bare)[0]) and isinstance(raw, list):
            most = _longest(kind)
            if most is not None and len(raw) > most:
                self.fault(path, f"has {len(raw)} entries; allowed: at most {most}")
            return tuple([self.section(f"{path}[{i}]", get_args(bare)[0], each) for i, each in enumerate(raw)])
        return self._leaf(path, kind, raw)

    def _entries(self, path: str, kind: Any, raw: object) -> object:
        key, item = get_args(_bare(kind))
        values = self.mapping(path, raw)
        if values is None:
            return None
        entries = {}
        for name, value in self.contents(path, values, None):
            self._leaf(join(path, name), key, name, "is not allowed as a name")
            entries[name] = self._value(join(path, name), item, value)
        if not entries and get_origin(kind) is Annotated:
            self.fault(path, "must have at least one entry")
        return entries

    def _leaf(self, path: str, kind: Any, raw: object, wrong: str = "is not allowed") -> object:
        try:
            return self.convert(kind, raw)
        except msgspec.ValidationError:
            self.fault(path, f"{wrong}{self._shown(path, raw)}{self.origin(raw)}; {_allowed(kind)}")
            return None

    def _shown(self, path: str, raw: object) -> str:
        if any(path == each or path.startswith(f"{each}.") for each in self._secret):
            return " (value not shown)"
        shown = repr(str(raw) if isinstance(raw, str) else raw)
        return f": {shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + '...'}"

    def _did_you_mean(self, path: str, name: str, fields: Mapping[str, Any]) -> str:
        near = [join(path, each) for each in get_close_matches(name, list(fields), 1)]
        near += [f"{each.name}.{name}" for each in msgspec.structs.fields(self._root) if _has(each.type, name)]
        return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(fields)}"


#: Characters of a wrong value that are shown.
LONGEST_SHOWN = 200


class YamlLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, the first would silently be lost, and half a character, escaped: it cannot
    be written anywhere."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            raise yaml.constructor.ConstructorError(None, None, "half of a surrogate pair", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                problem = f"key {str(key_node.value)!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value if isinstance(key_node.value, str) else id(key_node))
        return super().construct_mapping(node, deep)


def larger(tree: object, most: int) -> bool:
    """Whether a tree holds more than ``most`` values. Aliases count each time; what holds itself has no end."""
    left, waiting = most, [tree]
    while waiting and left >= 0:
        value = waiting.pop()
        left -= 1
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return left < 0


def problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text around it, which may hold a key."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return "unreadable characters"


def _longest(kind: Any) -> int | None:
    """How many entries a list may have, None if any."""
    meta = [each for each in getattr(kind, "__metadata__", ()) if isinstance(each, msgspec.Meta)]
    return next((each.max_length for each in meta if each.max_length is not None), None)


def join(path: str, name: str) -> str:
    """The path of ``name`` below ``path``."""
    return f"{path}.{name}" if path else name


def _bare(kind: Any) -> Any:
    """A type without its constraints and without None."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        inner = [each for each in get_args(kind) if each is not NoneType]
        return _bare(inner[0]) if len(inner) == 1 else kind
    return kind


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _allowed(kind: Any) -> str:
    return f"allowed: {describe(kind)}"


def _has(kind: Any, name: str) -> bool:
    return _is_section(kind) and name in kind.__struct_fields__
