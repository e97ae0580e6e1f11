"""The expression language of plays and segments: types, names, functions. `operators.expressions` compiles it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from operators.following import counted

Type = Literal["number", "text", "bool", "time", "duration", "texts", "unknown"]


class Name(NamedTuple):
    """What a condition may name: its type, the Python expression that reads it, whether it may be missing, and whether
    it moves evenly with time."""

    type: Type
    code: str
    maybe: bool = False
    moves: bool = False


class Scope(NamedTuple):
    """``names`` by what is written (``event.value``); ``arguments`` are those of the compiled function; ``followed``:
    it must be known when time alone turns a condition, see `operators.following`."""

    names: Mapping[str, Name]
    arguments: tuple[str, ...]
    followed: bool = False


class Function(NamedTuple):
    """A function of the language: types of its arguments, type of its result, Python of it, what it is for, and
    how many more arguments of the last type it takes."""

    takes: tuple[Type, ...]
    gives: Type
    code: str
    help: str
    more: int = 0


FUNCTIONS: Final[dict[str, Function]] = {
    "days": Function(("number",), "duration", "({0} * 86400000)", "a duration: days(7)"),
    "hours": Function(("number",), "duration", "({0} * 3600000)", "a duration: hours(2)"),
    "minutes": Function(("number",), "duration", "({0} * 60000)", "a duration: minutes(30)"),
    "since": Function(("time",), "duration", "(now - {0})", "how long ago: since(profile.last_order) > days(30)"),
    "lower": Function(("text",), "text", "{0}.lower()", "in lower case"),
    "contains": Function(("text", "text"), "bool", "({1} in {0})", "whether the second stands in the first"),
    "starts_with": Function(("text", "text"), "bool", "{0}.startswith({1})", "whether the first begins so"),
    "length": Function(("texts",), "number", "len({0})", "how many entries a list has"),
    "round": Function(("number",), "number", "round({0})", "the nearest whole number"),
    "min": Function(("number", "number"), "number", "min({all})", "the least of two or more", more=8),
    "max": Function(("number", "number"), "number", "max({all})", "the largest of two or more", more=8),
}
RUNTIME: Final = {"len": len, "tuple": tuple, "round": round, "min": min, "max": max, "counted": counted}

COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
ARITHMETIC: Final[dict[type[ast.operator], str]] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
#: (operator, left, right) -> result.
RESULTS: Final[dict[tuple[str, Type, Type], Type]] = {
    **{(sign, "number", "number"): "number" for sign in "+-*/"},
    **{(sign, "duration", "duration"): "duration" for sign in "+-"},
    ("-", "time", "time"): "duration",
    ("+", "time", "duration"): "time",
    ("-", "time", "duration"): "time",
    ("*", "duration", "number"): "duration",
    ("*", "number", "duration"): "duration",
    ("/", "duration", "duration"): "number",
    ("/", "duration", "number"): "duration",
}
ORDERED: Final = ("number", "time", "duration")


FOREIGN: Final[dict[type[ast.expr], str]] = {
    ast.Lambda: "a lambda", ast.ListComp: "a loop", ast.SetComp: "a loop", ast.DictComp: "a loop",
    ast.GeneratorExp: "a loop", ast.Subscript: "x[...]", ast.JoinedStr: "an f-string", ast.Dict: "a dictionary",
    ast.Set: "a set", ast.NamedExpr: ":=", ast.Starred: "*", ast.Await: "await",
}  # fmt: skip
