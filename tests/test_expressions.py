"""The expression language: what it computes, what it refuses and where, and that nothing gets out of it."""

from __future__ import annotations

from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.expressions import DEEPEST, LONGEST_LIST, compile_expression
from operators.language import FUNCTIONS, Name, Scope
from operators.syntax import LONGEST, ExpressionError
from tests.effort import thorough

DAY = 86_400_000
NOW = 1_760_000_000_000
SCOPE = Scope(
    {
        "n": Name("number", "n"),
        "m": Name("number", "m", maybe=True),
        "t.text": Name("text", "text", maybe=True),
        "t.sure": Name("text", "sure"),
        "t.list": Name("texts", "several"),
        "b": Name("bool", "b"),
        "then": Name("time", "then", maybe=True),
        "now": Name("time", "now"),
    },
    ("n", "m", "text", "sure", "several", "b", "then", "now"),
)
KNOWN = {
    "n": 3, "m": 4, "text": "Gold", "sure": "x", "several": ("a", "b"), "b": True, "then": NOW - 2 * DAY, "now": NOW,
}  # fmt: skip
MISSING = {**KNOWN, "m": None, "text": None, "then": None}


def value(source: str, given: dict[str, Any] = KNOWN) -> Any:
    return compile_expression(source, SCOPE)(*given.values())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("n == 3 and not b", False),
        ("n == 3 or m / 0 > 1", True),
        ("1 < n <= 3 < m", True),
        ("1 < n < 3", False),
        ("n + m * 2 - -1", 12),
        ("(n + m) * 2", 14),
        ("m / n > 1.3", True),
        ("lower(t.text) == 'gold'", True),
        ("t.text in ['Gold', 'Silver']", True),
        ("t.text not in ('Gold', 'Silver')", False),
        ("'a' in t.list and 'c' not in t.list", True),
        ("contains(t.text, 'ol') and starts_with(t.text, 'G')", True),
        ("length(t.list)", 2),
        ("since(then) > days(1)", True),
        ("since(then) >= days(1) + hours(23) + minutes(60)", True),
        ("now - then == days(2)", True),
        ("then + days(2) == now and now - days(2) == then", True),
        ("since(then) / days(1)", 2.0),
        ("days(1) * 2 == 2 * days(1)", True),
        ("days(4) / 2 == days(2)", True),
        ("-days(1) < days(0)", True),
        ("'high' if m > n else 'low'", "high"),
        ("min(n, m, 2)", 2),
        ("max(n, m)", 4),
        ("round(m / n)", 1),
        ("default(m, 7) + default(n, 7)", 7),
        ("known(m) and known(n)", True),
        ("m # the many\n  >\n  n # the few", True),
        ("b", True),
        ("b == True", True),
        ("'it''s' != \"x\"", True),
    ],
)
def test_what_is_computed(source: str, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("m > 1", False),
        ("m < 1", False),
        ("m != 1", False),
        ("not m == 1", True),
        ("m + 1", None),
        ("-m", None),
        ("m / n", None),
        ("n / m", None),
        ("n / 0", None),
        ("n / 0 > 1 or n / 0 < 1", False),
        ("t.text in ['Gold']", False),
        ("t.text not in ['Gold']", False),
        ("lower(t.text)", None),
        ("starts_with(t.text, 'G')", False),
        ("since(then)", None),
        ("since(then) < days(1)", False),
        ("then == then", False),
        ("known(m) or known(then)", False),
        ("default(m, 7)", 7),
        ("default(m / n, n)", 3),
        ("default(default(m, m), 2)", 2),
        ("max(n, m)", None),
        ("m if b else n", None),
        ("m if not b else n", 3),
    ],
)
def test_what_is_missing(source: str, expected: object) -> None:
    assert value(source, MISSING) == expected


def faults(source: str, *wanted: Any, scope: Scope = SCOPE) -> list[tuple[int, str]]:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, scope, wanted)
    return [(at, text) for at, text in caught.value.faults]


@pytest.mark.parametrize(
    ("source", "at", "text"),
    [
        ("", 1, "is empty"),
        ("   ", 1, "is empty"),
        ("n >", 3, "not an expression"),
        ("n = 3", 1, "equality is written `==`"),
        ("n > 1 && b", 7, "write `and` for `&&`"),
        ("b || b", 3, "write `or` for `||`"),
        ("n <> 3", 3, "write `!=` for `<>`"),
        ("n > 1 x", 1, "not an expression"),
        ("(n > 1", 1, "not an expression"),
        ("nn > 1", 1, "nn is not known here"),
        ("b and t.txt == 'x'", 7, "did you mean t.text?"),
        ("t.other == 'x'", 1, "known: t.list, t.sure, t.text"),
        ("days == 3", 1, "it is a function"),
        ("n > 'x'", 5, "a number is compared with a text"),
        ("t.sure > 'x'", 10, "cannot be compared with >"),
        ("t.list == t.list", 11, "cannot be compared with =="),
        ("since(then) > 30", 15, "days(7)"),
        ("then > 30", 8, "since(x)"),
        ("then > days(3)", 8, "since(x)"),
        ("n + then", 1, "number + time has no meaning"),
        ("t.sure + 'x' == 'y'", 1, "text + text has no meaning"),
        ("then + then == now", 1, "time + time has no meaning"),
        ("n % 2 == 1", 1, "there are + - * /"),
        ("n ** 9 > 1", 1, "there are + - * /"),
        ("n is 3", 6, "`is` is not part"),
        ("n and b", 1, "is a number, but a bool is wanted here; compare it"),
        ("not t.sure", 5, "is a text, but a bool is wanted here"),
        ("-t.sure == 'x'", 1, "cannot have this sign"),
        ("+n > 1", 1, "cannot have this sign"),
        ("~n > 1", 1, "cannot have this sign"),
        ("n in [1, 2]", 6, "a list holds texts"),
        ("'a' in 'abc'", 8, "a text in a list of texts"),
        ("n in t.list", 6, "a text in a list of texts"),
        ("t.sure in []", 11, f"1 to {LONGEST_LIST} entries"),
        ("t.sure in [t.sure]", 11, "a list holds texts"),
        ("dayz(3) > days(1)", 1, "did you mean days?"),
        ("print(n)", 1, "print is not a function of the language; there are: days"),
        ("days(n, n) > days(1)", 1, "days takes 1 arguments, not 2"),
        ("min(n) > 1", 1, "min takes 2 to 10 arguments, not 1"),
        ("days('x') > days(1)", 6, "days takes a number here, not a text"),
        ("days(x=1) > days(1)", 1, "arguments have no names"),
        ("known() and b", 1, "known takes one argument"),
        ("default(m) > 1", 1, "default takes two arguments"),
        ("default(m, 'x') > 1", 1, "must be a number, not a text"),
        ("n if b else 'x'", 1, "both must be of one type"),
        ("n if n else 1", 6, "but a bool is wanted here"),
        ("1e400 > n", 1, "too large"),
        ("99999999999999999 > n", 1, "too large"),
        ("b'x' == t.sure", 1, "is not a value of the language"),
        ("None == n", 1, "is not a value of the language"),
        ("1j == n", 1, "is not a value of the language"),
        ("t == n", 1, "t is not known here"),
        ("[x for x in t.list]", 1, "a loop is not part"),
        ("(lambda: 1)() > 1", 1, "this is not a function"),
        ("f'{n}' == 'x'", 1, "an f-string is not part"),
        ("t.list[0] == 'x'", 1, "x[...] is not part"),
        ("(n := 3) > 1", 2, ":= is not part"),
        ("{'a': 1} == n", 1, "a dictionary is not part"),
        ("n" + " + n" * 200, 1, "parts"),
        ("n " * LONGEST, LONGEST + 1, "longer than"),
        ("not " * (DEEPEST + 1) + "b", DEEPEST * 4 + 1, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(source: str, at: int, text: str) -> None:
    found = faults(source)
    assert [place for place, said in found if text in said] == [at], found


def test_all_faults_are_listed_by_place_and_count_characters_not_bytes() -> None:
    found = faults("'你好' == t.txt and n == 'x' and foo")
    assert [at for at, _ in found] == [9, 24, 32]


def test_the_type_that_is_wanted() -> None:
    assert faults("n", "bool") == [(1, "is a number, but a bool is wanted here; compare it: x > 0")]
    assert faults("now", "text", "number")[0][1].startswith("is a time, but a text or number is wanted here")
    assert compile_expression("n > 1", SCOPE, ("bool",))(*KNOWN.values()) is True


def test_what_python_cannot_even_read_is_refused() -> None:
    for source in ("(" * 300 + "n" + ")" * 300, "n > 1\0", "n > '\ud800'", "\ufeffn"):
        assert faults(source)


def test_places_in_several_lines() -> None:
    assert [at for at, _ in faults("n > 1\n  and é\n\tand 'é' == x")] == [13, 27]
    assert [at for at, _ in faults("n > 1\nand and b")] == [11]


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os')", "n.__class__", "().__class__.__bases__", "t.sure.__class__ == 'x'", "t.sure.format(n)",
        "'{0.__class__}' == t.__doc__", "eval('1')", "open('x')", "getattr(n, 'x')", "t.sure.upper() == 'X'",
        "globals()", "len(t.list)", "tuple(t.list)", "_1 == 1", "now.real > 1", "exec('x')", "n.real > 1",
        "[].append(1)", "yield n", "await n", "*n", "n; n", "import os", "def f(): pass", "n\nimport os",
        "'a' * 999999999 == 'b'", "9 ** 9 ** 9", "0 if n else __builtins__", "True.__class__",
    ],
)  # fmt: skip
def test_nothing_gets_out(source: str) -> None:
    assert faults(source)


_WORDS = [
    "n", "m", "t.text", "then", "now", "b", "and", "or", "not", "(", ")", "[", "]", ",", "+", "-", "*", "/", "<", "==",
    "in", "if", "else", "1", "2.5", "'x'", "days", "known", "default", "since", ".", "é", " ", "\n", "\\", "{", ":",
    "#",
]  # fmt: skip


@given(st.lists(st.sampled_from([*_WORDS, *FUNCTIONS]), max_size=30).map(" ".join) | st.text(max_size=40))
@thorough
def test_rubbish_is_refused_with_places_inside_and_never_crashes(source: str) -> None:
    try:
        function = compile_expression(source, SCOPE)
    except ExpressionError as error:
        assert error.faults
        assert all(1 <= at <= max(1, len(source)) and text for at, text in error.faults)
    else:
        function(*KNOWN.values())
        function(*MISSING.values())


#: Pairs of a source and what it gives with `MISSING`, worked out beside the compiler.
_numbers = st.recursive(
    st.integers(0, 9).map(lambda n: (str(n), n)) | st.sampled_from([("n", 3), ("m", None)]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda each: _computed(*each)),
    max_leaves=6,
)
_truths = st.recursive(
    st.tuples(_numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _numbers).map(
        lambda each: _compared(*each)
    ),
    lambda inner: st.one_of(
        inner.map(lambda each: (f"(not {each[0]})", not each[1])),
        st.tuples(inner, inner).map(lambda each: (f"({each[0][0]} and {each[1][0]})", each[0][1] and each[1][1])),
        st.tuples(inner, inner).map(lambda each: (f"({each[0][0]} or {each[1][0]})", each[0][1] or each[1][1])),
    ),
    max_leaves=6,
)


def _computed(one: tuple[str, Any], sign: str, other: tuple[str, Any]) -> tuple[str, Any]:
    (left, a), (right, b) = one, other
    if a is None or b is None or (sign == "/" and b == 0):
        result = None
    else:
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[sign]
    return f"({left} {sign} {right})", result


def _compared(one: tuple[str, Any], sign: str, other: tuple[str, Any]) -> tuple[str, bool]:
    (left, a), (right, b) = one, other
    if a is None or b is None:
        return f"({left} {sign} {right})", False
    holds = {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[sign]
    return f"({left} {sign} {right})", holds


@given(_truths, _numbers)
@thorough
def test_what_is_missing_is_missing_however_deep(truth: tuple[str, bool], number: tuple[str, Any]) -> None:
    for source, expected in (truth, number):
        found = value(source, MISSING)
        assert found == expected
        assert found is None or isfinite(found)
