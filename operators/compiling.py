"""What is common to compiling plays, windows and segments: their faults are noted, each with its path and place."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

from operators.expressions import compile_expression
from operators.language import Scope, Type
from operators.syntax import ExpressionError
from schemas import plays as written
from schemas.touchpoint import TYPES

T = TypeVar("T")


class Compiling:
    """One thing that stands at ``path`` in a file; ``faults``: what was found wrong with it."""

    def __init__(self, path: str) -> None:
        self.faults: list[str] = []
        self._path = path

    def fault(self, key: str, text: str) -> None:
        """Note a fault of what stands under ``key``."""
        self.faults.append(f"{self._path}.{key}: {text}")

    def compiled(self, key: str, text: str | None, scope: Scope, *wanted: Type) -> Callable[..., Any] | None:
        """An expression as a function of its scope's arguments; None if there is none, or it is at fault."""
        return None if text is None else self.noted(key, text, lambda: compile_expression(text, scope, wanted))

    def noted(self, key: str, text: str, compiled: Callable[[], T]) -> T | None:
        """What ``text`` compiles to; None if that is at fault, which is noted."""
        try:
            return compiled()
        except ExpressionError as error:
            for at, wrong in error.faults:
                self.fault(key, f"character {at}: {wrong}: {_around(text, at)}")
            return None

    def types(self, key: str, pattern: written.Pattern) -> tuple[str, ...]:
        """The types of touchpoints of a pattern; a typing error in a known one is a fault."""
        found = types_of(pattern)
        for type in found:
            near = get_close_matches(type.lower(), [each.lower() for each in TYPES], 1, 0.85)
            if near and type not in TYPES:
                meant = next(each for each in TYPES if each.lower() == near[0])
                self.fault(f"{key}.event", f"{type!r} is not a type of touchpoint; did you mean {meant!r}?")
        return found


def types_of(pattern: written.Pattern) -> tuple[str, ...]:
    """The types of touchpoints of a pattern, each once."""
    return (pattern.event,) if isinstance(pattern.event, str) else tuple(dict.fromkeys(pattern.event))


def _around(text: str, at: int) -> str:
    """The place in an expression, with an arrow before it."""
    flat = " ".join(text.splitlines())
    start, end = max(0, at - 21), at + 30
    return f"{'...' if start else ''}{flat[start : at - 1]}>>>{flat[at - 1 : end]}{'...' if end < len(flat) else ''}"
