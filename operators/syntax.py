"""The text of an expression as a syntax tree, and the places in it: what is not even an expression is refused here."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Final, NamedTuple

#: A condition is at most so long (characters) and has so many parts.
LONGEST: Final = 2_000
MOST_PARTS: Final = 200


class Fault(NamedTuple):
    """What is wrong, and at which character (from 1)."""

    at: int
    text: str


class ExpressionError(Exception):
    """A condition that cannot be used. ``faults`` lists all that is wrong with it."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.source = source
        self.faults = sorted(faults)
        super().__init__("; ".join(f"character {at}: {text}" for at, text in self.faults))


def parsed(source: str) -> ast.expr:
    """The syntax tree. Raises `ExpressionError` for what is not even an expression."""
    if not source.strip():
        raise ExpressionError(source, [Fault(1, "is empty")])
    if len(source) > LONGEST:
        raise ExpressionError(source, [Fault(LONGEST + 1, f"is longer than {LONGEST} characters")])
    try:
        # In brackets, or space before it would be an indentation and a line break its end.
        tree = ast.parse(f"({plain(source)}\n)", mode="eval").body
    except SyntaxError as error:
        at = position(source, error.lineno or 1, (error.offset or 1) - 1)
        raise ExpressionError(source, [_syntax(source, error, at)]) from None
    except (ValueError, RecursionError, MemoryError):  # null characters; nested beyond what Python reads
        raise ExpressionError(
            source, [Fault(1, "cannot be read: nested too deeply, or unreadable characters")]
        ) from None
    if sum(1 for _ in ast.walk(tree)) > MOST_PARTS * 2:  # a name is two nodes: itself and how it is used
        raise ExpressionError(source, [Fault(1, f"has more than {MOST_PARTS} parts; split it")])
    return tree


def terms(source: str) -> list[str]:
    """What must all hold for an expression to hold. Raises `ExpressionError`."""
    tree, text = parsed(source), f"({plain(source)}\n)"
    both = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)
    parts = tree.values if both and isinstance(tree, ast.BoolOp) else [tree]
    return [" ".join((ast.get_source_segment(text, part) or source).split()) for part in parts]


def plain(source: str) -> str:
    """As many characters, but of all kinds of space only blanks and line feeds."""
    return "".join([" " if each.isspace() and each != "\n" else each for each in source])


def position(source: str, line: int, column: int) -> int:
    """Which character of ``source`` (from 1) stands in ``line`` (from 1) after ``column`` others; the first line has a
    bracket before it."""
    before = sum([len(each) + 1 for each in source.split("\n")[: line - 1]])
    at = before + column + (line > 1)
    return max(1, min(at, len(source)))


def _syntax(source: str, error: SyntaxError, at: int) -> Fault:
    """What is wrong, with the words of this language where those of another were used."""
    for foreign, meant in (("&&", "and"), ("||", "or"), ("<>", "!=")):
        if foreign in source:
            return Fault(source.index(foreign) + 1, f"is not an expression; write `{meant}` for `{foreign}`")
    if "=" in source.replace("==", "").replace("<=", "").replace(">=", "").replace("!=", ""):
        return Fault(at, "is not an expression; equality is written `==`")
    return Fault(at, f"is not an expression ({error.msg.partition('. ')[0]})")
