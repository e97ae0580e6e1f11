"""Load the configuration: a YAML file, overridden by the environment, checked once, all faults together.

``touchstream.yaml`` in the working directory, or the file named by TOUCHSTREAM_CONFIG. A variable
``TOUCHSTREAM_KAFKA__BOOTSTRAP`` overrides ``kafka.bootstrap`` (two underscores nest). Any key may come
from a file instead: ``index_file: /run/secrets/index`` for ``index``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
import yaml

from flows.settings_checks import check, describe
from schemas.config import Config, Section
from schemas.errors import ConfigError

FILE: Final = "TOUCHSTREAM_CONFIG"
_PREFIX: Final = "TOUCHSTREAM_"
_DEFAULT_FILE: Final = "touchstream.yaml"
#: Values that hold passwords and keys: never shown.
_SECRET: Final = ("keys", "kafka.properties", "redis.url")

Tree = dict[str, Any]
Fault = tuple[str, str]


class EnvText(str):
    """A value from the environment: taken as text where text fits, else read as YAML. ``name``: its variable."""

    __slots__ = ("name",)
    name: str

    @classmethod
    def of(cls, name: str, text: str) -> EnvText:
        value = cls(text)
        value.name = name
        return value


def load(path: str | os.PathLike[str] | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """The configuration from ``path`` (or TOUCHSTREAM_CONFIG, or ./touchstream.yaml if there is one) and ``env``.

    Raises `ConfigError` that lists every fault: its key, the value unless secret, and what is allowed.
    """
    loading = _Loading(path or env.get(FILE))
    tree = loading.read()
    if loading.faults:  # without the file, all that follows would be noise
        raise ConfigError(loading.faults)
    loading.override(tree, env)
    config = loading.section("", Config, tree)
    if isinstance(config, Config):
        loading.faults += check(config)
    if loading.faults or not isinstance(config, Config):
        raise ConfigError(loading.faults)
    return config


class _Loading:
    """One load: the file it reads and the faults it has found so far."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.faults: list[str] = []
        self.named = path is not None
        self.path = Path(path or _DEFAULT_FILE)

    def fault(self, key: str, text: str) -> None:
        self.faults.append(f"{key}: {text}")

    # -- reading -----------------------------------------------------------------------------------

    def read(self) -> Tree:
        """The file as nested mappings; empty if there is none and none was named."""
        if not self.named and not self.path.exists():
            return {}
        try:
            tree = yaml.load(self.path.read_text("utf-8"), _Loader)
        except OSError as error:
            self.fault(str(self.path), f"cannot be read: {error.strerror}; `touchstream config init` writes one")
        except UnicodeDecodeError:
            self.fault(str(self.path), "is not UTF-8 text")
        except yaml.YAMLError as error:
            self.fault(str(self.path), f"is not YAML: {_problem(error)}")
        else:
            if isinstance(tree, dict):
                return tree
            if tree is not None:
                self.fault(str(self.path), "must hold keys and values, as written by `touchstream config init`")
        return {}

    def override(self, tree: Tree, env: Mapping[str, str]) -> None:
        """Put the variables into ``tree``; sections before their keys."""
        for name in sorted(each for each in env if each.startswith(_PREFIX)):
            keys = name.removeprefix(_PREFIX).lower().split("__")
            if keys[0] in Config.__struct_fields__ or self._meant(name, keys):
                _put(tree, keys, EnvText.of(name, env[name]))

    def _meant(self, name: str, keys: list[str]) -> bool:
        """Whether an unknown variable was meant for us: cluster managers set TOUCHSTREAM_SERVICE_HOST and the like
        for a service of that name, so a name without sections counts only when it is nearly right."""
        if name.startswith((FILE, f"{_PREFIX}FAILPOINT")):
            return False
        return len(keys) > 1 or bool(get_close_matches(keys[0], Config.__struct_fields__, cutoff=0.8))

    def _from_file(self, key: str, name: object) -> str | None:
        try:
            return (self.path.parent / Path(str(name))).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            self.fault(key, f"the file {str(name)!r} cannot be read: {getattr(error, 'strerror', None) or 'not text'}")
            return None

    # -- checking ----------------------------------------------------------------------------------

    def section(self, path: str, kind: type[Section], raw: object) -> object:
        """A section of type ``kind``, or None after at least one fault."""
        values = self._mapping(path, raw)
        if values is None:
            return None
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        before = len(self.faults)
        known = {}
        for name, value in self._contents(path, values, fields):
            if name in fields:
                known[name] = self._value(_join(path, name), fields[name].type, value)
            else:
                self.fault(_join(path, name), f"is not a key{_origin(value)}{_did_you_mean(path, name, fields)}")
        for name, field in fields.items():
            if field.required and name not in values and f"{name}_file" not in values:
                self.fault(_join(path, name), f"is missing; {_allowed(field.type)}")
        return kind(**known) if len(self.faults) == before else None

    def _contents(self, path: str, values: Tree, fields: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
        """The entries of a mapping, with ``NAME_file`` replaced by what the file holds."""
        for key, value in values.items():
            name = str(key)
            target = name.removesuffix("_file")
            if target == name or (fields is not None and target not in fields):
                yield name, value
            elif target in values:
                self.fault(_join(path, name), f"{_join(path, target)} is given as well; keep one of the two")
            elif (text := self._from_file(_join(path, name), value)) is not None:
                yield target, EnvText.of("", text)

    def _mapping(self, path: str, raw: object) -> Tree | None:
        raw = _parsed(raw) if isinstance(raw, EnvText) else raw
        if raw is None:  # `kafka:` with everything below commented out
            return {}
        if not isinstance(raw, dict):
            self.fault(path, f"must hold keys and values{_shown(path, raw)}")
            return None
        return raw

    def _value(self, path: str, kind: Any, raw: object) -> object:
        if isinstance(kind, type) and issubclass(kind, Section):
            return self.section(path, kind, raw)
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if get_origin(bare) is dict:
            return self._entries(path, kind, get_args(bare)[1], raw)
        return self._leaf(path, kind, raw)

    def _entries(self, path: str, kind: Any, item: Any, raw: object) -> object:
        values = self._mapping(path, raw)
        if values is None:
            return None
        entries = {
            name: self._leaf(_join(path, name), item, value) for name, value in self._contents(path, values, None)
        }
        if not entries and get_origin(kind) is Annotated:
            self.fault(path, "must have at least one entry")
        return entries

    def _leaf(self, path: str, kind: Any, raw: object) -> object:
        try:
            return _convert(kind, raw)
        except msgspec.ValidationError:
            self.fault(path, f"is not allowed{_shown(path, raw)}{_origin(raw)}; {_allowed(kind)}")
            return None


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice: the first would silently be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                problem = f"key {str(key_node.value)!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value if isinstance(key_node.value, str) else id(key_node))
        return super().construct_mapping(node, deep)


def _problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text around it, which may hold a key."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return "unreadable characters"


def _put(tree: Tree, keys: list[str], value: EnvText) -> None:
    for key in keys[:-1]:
        inner = tree.get(key)
        inner = _parsed(inner) if isinstance(inner, EnvText) else inner
        if inner is not None and not isinstance(inner, dict):
            return  # reported when the section is checked
        tree[key] = tree = dict(inner or {})
    last = keys[-1].replace("_", ".") if keys[:2] == ["kafka", "properties"] and len(keys) > 2 else keys[-1]
    tree.pop(last.removesuffix("_file") if last.endswith("_file") else f"{last}_file", None)
    tree[last] = value


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def _convert(kind: Any, raw: object) -> object:
    """``raw`` as ``kind``; text from the environment first as it is, then as YAML. Raises ValidationError."""
    if isinstance(raw, EnvText):
        try:
            return msgspec.convert(str(raw), kind)
        except msgspec.ValidationError:
            raw = _parsed(str(raw))
    return msgspec.convert(raw, kind)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _secret(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in _SECRET)


def _shown(path: str, raw: object) -> str:
    if _secret(path):
        return " (value not shown)"
    return f": {str(raw) if isinstance(raw, EnvText) else raw!r}"


def _origin(raw: object) -> str:
    return f" (from {raw.name})" if isinstance(raw, EnvText) and raw.name else ""


def _allowed(kind: Any) -> str:
    return f"allowed: {describe(kind)}"


def _did_you_mean(path: str, name: str, fields: Mapping[str, Any]) -> str:
    near = [_join(path, each) for each in get_close_matches(name, list(fields), 1)]
    near += [f"{each.name}.{name}" for each in msgspec.structs.fields(Config) if _has(each.type, name)]
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(fields)}"


def _has(kind: Any, name: str) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section) and name in kind.__struct_fields__
