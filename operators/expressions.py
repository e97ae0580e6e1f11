"""The conditions of plays and segments: a small, typed expression language, compiled once to a Python function.

::

    scope = Scope({"event.value": Name("number", "body.value", maybe=True)}, ("body", "now"))
    big = compile_expression("event.value >= 100 and event.value < 1000", scope, ("bool",))
    big(cart, now)   # True or False

Python's syntax and a small part of its meaning: literals, names of the scope, ``and or not``, comparisons, ``in`` a
list, arithmetic, ``a if c else b`` and the functions of `FUNCTIONS`. What is not listed here does not compile, so a
condition can neither reach anything nor run for long: there are no loops, and its size is bounded.

Types are checked when compiling: number, text, bool, time, duration, texts (a list). A value may be *missing* (an
optional field of a touchpoint, a customer without an order): what is computed from it is missing too, and a comparison
with it is false, also with ``!=``. ``known(x)`` asks for it, ``default(x, y)`` fills it in.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final, NamedTuple

from operators.language import (
    ARITHMETIC,
    COMPARISONS,
    FOREIGN,
    FUNCTIONS,
    ORDERED,
    RESULTS,
    RUNTIME,
    Function,
    Name,
    Scope,
    Type,
)
from operators.syntax import ExpressionError, Fault, parsed, plain, position

#: A list has so many entries, and parts stand in each other so deep: Python reads up to 200 brackets in each other, and
#: every level may become three.
LONGEST_LIST, DEEPEST = 200, 50
#: Numbers beyond are typing errors; sums of them stay finite.
LARGEST: Final = 10**15


def compile_expression(source: str, scope: Scope, wanted: tuple[Type, ...] = ()) -> Callable[..., Any]:
    """Compile ``source`` to a function of ``scope.arguments``. ``wanted``: types it may have, if not any. Raises
    `ExpressionError`."""
    return _function(scope.arguments, _compiled(source, scope, wanted)[1].code)


def names_in(source: str, scope: Scope) -> list[str]:
    """What an expression that compiles names."""
    return sorted(_compiled(source, scope, ())[0].named)


class Condition(NamedTuple):
    """A condition in two steps: ``read`` gives what it names, by name, of the arguments of its scope; ``holds`` whether
    it holds of that at a time (ms). What was read can be kept, and the condition asked again."""

    read: Callable[..., dict[str, Any]]
    holds: Callable[[Mapping[str, Any], int], bool]


def compile_condition(source: str, scope: Scope) -> Condition:
    """Compile ``source``. Raises `ExpressionError`."""
    compiler, _ = _compiled(source, scope, ("bool",))
    names = {written: name for written, name in sorted(compiler.named.items()) if name.code != "now"}
    read = ", ".join([f"{written!r}: {name.code}" for written, name in names.items()])
    kept = {written: name._replace(code=f"read[{written!r}]") for written, name in names.items()}
    again = Scope({**scope.names, **kept}, ("read", "now"))
    return Condition(
        _function(scope.arguments, f"{{{read}}}"), _function(again.arguments, _compiled(source, again, ())[1].code)
    )


def _compiled(source: str, scope: Scope, wanted: tuple[Type, ...]) -> tuple[_Compiler, _Part]:
    tree = parsed(source)
    compiler = _Compiler(source, scope)
    part = compiler.part(tree)
    if wanted and part.type not in (*wanted, "unknown"):
        compiler.wrong(tree, part.type, *wanted)
    if compiler.faults:
        raise ExpressionError(source, compiler.faults)
    return compiler, part


def _function(arguments: Sequence[str], code: str) -> Callable[..., Any]:
    # All of the text is made here, of the fragments below; nothing of the source but checked constants is in it.
    function: Callable[..., Any] = eval(f"lambda {', '.join(arguments)}: {code}", {"__builtins__": {}, **RUNTIME})
    return function


class _Part(NamedTuple):
    """A piece of Python that computes a value. ``constant``: it is a literal; ``moves``: evenly with time."""

    type: Type
    code: str
    maybe: bool = False
    constant: bool = False
    moves: bool = False


_UNKNOWN = _Part("unknown", "None")
_AS_BOOL: dict[Type, str] = {
    "number": "; compare it: x > 0",
    "text": "; compare it: x == 'this'",
    "time": "; compare it: x > now - days(7)",
}


class _Compiler:
    """One compilation: what has been found wrong, what is ``named``, and how many values were given a name."""

    def __init__(self, source: str, scope: Scope) -> None:
        self.faults: list[Fault] = []
        self.named: dict[str, Name] = {}
        self._source = source
        self._scope = scope
        self._temporaries = 0
        self._depth = 0

    def fault(self, node: ast.expr, text: str) -> _Part:
        """Note a fault at ``node``."""
        line = f"({plain(self._source)}".split("\n")[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode())  # columns count bytes
        self.faults.append(Fault(position(self._source, node.lineno, column), text))
        return _UNKNOWN

    def wrong(self, node: ast.expr, type: Type, *wanted: Type) -> None:
        """Note that a value is of another type than it must be."""
        self.fault(node, f"is a {type}, but a {' or '.join(wanted)} is wanted here{_AS_BOOL.get(type, '')}")

    def part(self, node: ast.expr) -> _Part:
        """Compile one node."""
        self._depth += 1
        part = self._part(node) if self._depth <= DEEPEST else self.fault(node, "is nested too deeply")
        self._depth -= 1
        return part

    def _part(self, node: ast.expr) -> _Part:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp():
                return self._logic(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.IfExp():
                return self._choice(node)
            case ast.Call():
                return self._call(node)
            case ast.List() | ast.Tuple():
                return self._list(node)
            case _:
                return self.fault(node, f"{FOREIGN.get(type(node), 'this')} is not part of the language")

    def _constant(self, node: ast.Constant) -> _Part:
        match node.value:
            case bool():
                return _Part("bool", repr(node.value), constant=True)
            case int() | float() if isfinite(node.value) and abs(node.value) <= LARGEST:
                return _Part("number", repr(node.value), constant=True)
            case int() | float():
                return self.fault(node, f"is too large; numbers go up to {LARGEST:.0e}")
            case str():
                return _Part("text", repr(node.value), constant=True)
            case _:
                return self.fault(node, "is not a value of the language: a number, a text, True or False")

    def _name(self, node: ast.Name | ast.Attribute) -> _Part:
        written = _dotted(node)
        name = self._scope.names.get(written) if written else None
        if name is not None and written is not None:
            self.named[written] = name
            return _Part(name.type, name.code, name.maybe, moves=name.moves)
        if written is None:
            return self.fault(node, "only event, profile and other names of the language have attributes")
        return self.fault(node, f"{written} is not known here{self._meant(written)}")

    def _meant(self, written: str) -> str:
        known = list(self._scope.names)
        if written.startswith("segment."):
            return "; conditions do not name segments: write out what makes one"
        if near := get_close_matches(written, known, 1, 0.7):
            return f"; did you mean {near[0]}?"
        if written in FUNCTIONS:
            return f"; it is a function: {FUNCTIONS[written].help}"
        root = written.partition(".")[0]
        found = [name for name in known if name.partition(".")[0] == root] or known
        return f"; known: {', '.join(sorted(found))}"

    def _logic(self, node: ast.BoolOp) -> _Part:
        word = " and " if isinstance(node.op, ast.And) else " or "
        parts = [self._bool(each) for each in node.values]
        return _Part("bool", f"({word.join(part.code for part in parts)})")

    def _bool(self, node: ast.expr) -> _Part:
        part = self.part(node)
        if part.type not in ("bool", "unknown"):
            self.wrong(node, part.type, "bool")
        return part

    def _unary(self, node: ast.UnaryOp) -> _Part:
        if isinstance(node.op, ast.Not):
            return _Part("bool", f"(not {self._bool(node.operand).code})")
        part = self.part(node.operand)
        if not isinstance(node.op, ast.USub) or part.type not in ("number", "duration", "unknown"):
            return self.fault(node, f"a {part.type} cannot have this sign")
        return self._guarded([part], part.type, "(-{0})")

    def _compare(self, node: ast.Compare) -> _Part:
        """A chain ``a < b < c`` is ``a < b and b < c``."""
        nodes = [node.left, *node.comparators]
        parts = [self.part(each) for each in nodes]
        pairs = [self._pair(node, op, parts[i], parts[i + 1], nodes[i + 1]) for i, op in enumerate(node.ops)]
        return _Part("bool", f"({' and '.join(pairs)})" if len(pairs) > 1 else pairs[0])

    def _pair(self, node: ast.Compare, op: ast.cmpop, left: _Part, right: _Part, place: ast.expr) -> str:
        if "unknown" in (left.type, right.type):
            return "False"
        if isinstance(op, ast.In | ast.NotIn):
            if right.type != "texts" or left.type != "text":
                self.fault(place, f"`in` asks for a text in a list of texts, not for a {left.type} in a {right.type}")
            word = "in" if isinstance(op, ast.In) else "not in"
            return self._guarded([left, right], "bool", f"({{0}} {word} {{1}})").code
        sign = COMPARISONS.get(type(op))
        if sign is None:
            self.fault(place, "`is` is not part of the language; write ==, or known(x)")
            return "False"
        if left.type != right.type:
            self.fault(place, f"a {left.type} is compared with a {right.type}{_units(left.type, right.type)}")
        elif left.type == "texts" or (sign not in ("==", "!=") and left.type not in ORDERED):
            self.fault(place, f"values of the type {left.type} cannot be compared with {sign}")
        return self._guarded([left, right], "bool", f"({{0}} {sign} {{1}})").code

    def _arithmetic(self, node: ast.BinOp) -> _Part:
        left, right = self.part(node.left), self.part(node.right)
        sign = ARITHMETIC.get(type(node.op))
        if sign is None:
            return self.fault(node, "this operator is not part of the language; there are + - * /")
        if "unknown" in (left.type, right.type):
            return _UNKNOWN
        result = RESULTS.get((sign, left.type, right.type))
        if result is None:
            return self.fault(node, f"{left.type} {sign} {right.type} has no meaning{_units(left.type, right.type)}")
        if (sign == "*" and left.moves and right.moves) or (sign == "/" and right.moves):
            self._unfollowed(node)
        if sign != "/":
            return self._guarded([left, right], result, f"({{0}} {sign} {{1}})")
        # What is divided by nothing is missing.
        divided = self._guarded([left, right], result, "({0} / {1} if {1} else None)", bind=True)
        return divided._replace(maybe=True)

    def _choice(self, node: ast.IfExp) -> _Part:
        test, yes, no = self._bool(node.test), self.part(node.body), self.part(node.orelse)
        if "unknown" in (test.type, yes.type, no.type):
            return _UNKNOWN
        if yes.type != no.type:
            return self.fault(node, f"gives a {yes.type} or a {no.type}; both must be of one type")
        code = f"({yes.code} if {test.code} else {no.code})"
        return _Part(yes.type, code, yes.maybe or no.maybe, moves=yes.moves or no.moves)

    def _unfollowed(self, node: ast.expr) -> None:
        if self._scope.followed:
            self.fault(node, "when this turns cannot be foretold; compare a time alone: since(x) > days(30) * 2")

    def _call(self, node: ast.Call) -> _Part:
        name = _dotted(node.func) or "this"
        if node.keywords:
            return self.fault(node, "arguments have no names here")
        parts = [self.part(each) for each in node.args]
        if name == "known":
            return self._known(node, parts)
        if name == "default":
            return self._default(node, parts)
        function = FUNCTIONS.get(name)
        if function is None:
            known = [*FUNCTIONS, "known", "default"]
            near = get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            return self.fault(node, f"{name} is not a function of the language; {meant}")
        return self._applied(node, name, function, parts)

    def _applied(self, node: ast.Call, name: str, function: Function, parts: list[_Part]) -> _Part:
        least, most = len(function.takes), len(function.takes) + function.more
        if not least <= len(parts) <= most:
            number = least if least == most else f"{least} to {most}"
            return self.fault(node, f"{name} takes {number} arguments, not {len(parts)}: {function.help}")
        wanted = [*function.takes, *function.takes[-1:] * function.more]
        for part, type, place in zip(parts, wanted, node.args, strict=False):
            if part.type not in (type, "unknown"):
                self.fault(place, f"{name} takes a {type} here, not a {part.type}: {function.help}")
        if name == "round" and parts[0].moves:
            self._unfollowed(node)
        if name == "since" and "now" not in self._scope.names:
            self.fault(node, "what the time is has no meaning here: only what the touchpoint says counts")
        every = ", ".join([f"{{{i}}}" for i in range(len(parts))])
        part = self._guarded(parts, function.gives, function.code.replace("{all}", every))
        return part._replace(moves=part.moves or name == "since")

    def _known(self, node: ast.Call, parts: list[_Part]) -> _Part:
        if len(parts) != 1:
            return self.fault(node, "known takes one argument: known(profile.last_order)")
        return _Part("bool", f"({parts[0].code} is not None)" if parts[0].maybe else "True")

    def _default(self, node: ast.Call, parts: list[_Part]) -> _Part:
        if len(parts) != 2:
            return self.fault(node, "default takes two arguments: default(event.value, 0)")
        value, otherwise = parts
        if "unknown" in (value.type, otherwise.type):
            return _UNKNOWN
        if value.type != otherwise.type:
            return self.fault(node, f"default of a {value.type} must be a {value.type}, not a {otherwise.type}")
        if not value.maybe:
            return value
        name = self._temporary()
        code = f"({name} if ({name} := {value.code}) is not None else {otherwise.code})"
        return _Part(value.type, code, otherwise.maybe, moves=value.moves or otherwise.moves)

    def _list(self, node: ast.List | ast.Tuple) -> _Part:
        parts = [self.part(each) for each in node.elts]
        if any(part.type != "text" or not part.constant for part in parts):
            return self.fault(node, "a list holds texts: ['a', 'b']")
        if not 0 < len(parts) <= LONGEST_LIST:
            return self.fault(node, f"a list has 1 to {LONGEST_LIST} entries")
        return _Part("texts", f"({', '.join(part.code for part in parts)},)", constant=True)

    def _guarded(self, parts: Sequence[_Part], type: Type, form: str, *, bind: bool = False) -> _Part:
        """``form`` of ``parts``, but missing (a bool: false) if one of them is. ``bind``: ``form`` uses the last one
        twice."""
        tests, codes = [], []
        for i, part in enumerate(parts):
            if part.maybe:
                name = self._temporary()
                tests.append(f"({name} := {part.code}) is not None")
                codes.append(name)
            elif bind and i == len(parts) - 1 and not part.constant:
                name = self._temporary()
                tests.append(f"(({name} := {part.code}) or True)")
                codes.append(name)
            else:
                codes.append(part.code)
        code = form.format(*codes)
        moves = type != "bool" and any(part.moves for part in parts)
        if not tests:
            return _Part(type, code, moves=moves)
        if type == "bool":
            return _Part(type, f"({' and '.join(tests)} and {code})")
        maybe = any(part.maybe for part in parts)
        return _Part(type, f"({code} if {' and '.join(tests)} else None)", maybe, moves=moves)

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"_{self._temporaries}"


def _dotted(node: ast.expr) -> str | None:
    """``a.b.c`` as it is written; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (root := _dotted(node.value)) is not None:
        return f"{root}.{node.attr}"
    return None


def _units(left: Type, right: Type) -> str:
    """What helps where a plain number stands for a time."""
    types = {left, right}
    if types == {"duration", "number"}:
        return "; durations are written days(7), hours(2), minutes(30)"
    if types == {"time", "number"} or types == {"time", "duration"}:
        return "; write since(x) for how long ago x is"
    return ""
