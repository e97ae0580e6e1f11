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
from typing import Any, Final

import msgspec
import yaml

from flows.checking import Checker, Tree, YamlLoader, join, problem
from flows.settings_access import check_access
from flows.settings_checks import check
from schemas.config import SECRET, Config
from schemas.errors import ConfigError

FILE: Final = "TOUCHSTREAM_CONFIG"
_PREFIX: Final = "TOUCHSTREAM_"
_DEFAULT_FILE: Final = "touchstream.yaml"


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
        loading.faults += [*check(config), *check_access(config)]
    if loading.faults or not isinstance(config, Config):
        raise ConfigError(loading.faults)
    return config


class _Loading(Checker):
    """One load: the file it reads and the faults it has found so far."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        super().__init__(Config, SECRET)
        self.named = path is not None
        self.path = Path(path or _DEFAULT_FILE)

    # -- reading -----------------------------------------------------------------------------------

    def read(self) -> Tree:
        """The file as nested mappings; empty if there is none and none was named."""
        if not self.named and not self.path.exists():
            return {}
        try:
            tree = yaml.load(self.path.read_text("utf-8"), YamlLoader)
        except OSError as error:
            self.fault(str(self.path), f"cannot be read: {error.strerror}; `touchstream config init` writes one")
        except UnicodeDecodeError:
            self.fault(str(self.path), "is not UTF-8 text")
        except yaml.YAMLError as error:
            self.fault(str(self.path), f"is not YAML: {problem(error)}")
        except (ValueError, RecursionError):  # a date that is none; nested without end
            self.fault(str(self.path), "is not YAML: a value in it cannot be read")
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

    def contents(self, path: str, values: Tree, fields: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
        """As there, with ``NAME_file`` replaced by what the file holds."""
        for key, value in values.items():
            name = str(key)
            target = name.removesuffix("_file")
            if target == name or (fields is not None and target not in fields):
                yield name, value
            elif target in values:
                self.fault(join(path, name), f"{join(path, target)} is given as well; keep one of the two")
            elif (text := self._from_file(join(path, name), value)) is not None:
                yield target, EnvText.of("", text)

    def plain(self, raw: object) -> object:
        """Text from the environment read as YAML."""
        return _parsed(raw) if isinstance(raw, EnvText) else raw

    def origin(self, raw: object) -> str:
        """The variable that a value comes from."""
        return f" (from {raw.name})" if isinstance(raw, EnvText) and raw.name else ""

    def convert(self, kind: Any, raw: object) -> object:
        """Text from the environment first as it is, then as YAML. Raises `msgspec.ValidationError`."""
        if isinstance(raw, EnvText):
            try:
                return msgspec.convert(str(raw), kind)
            except msgspec.ValidationError:
                raw = _parsed(str(raw))
        return msgspec.convert(raw, kind)


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
        return yaml.load(text, YamlLoader)
    except yaml.YAMLError:
        return text
