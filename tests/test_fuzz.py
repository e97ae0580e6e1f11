"""What every decoder does with bytes that are not what they should be; `python -m tests.fuzz` tries for long."""

from __future__ import annotations

import pytest

from tests.effort import examples
from tests.fuzz import Fuzzed, attempt, check, decoders, main

TRIED = examples(300)


@pytest.mark.parametrize("name", decoders())
def test_only_declared_errors_escape(name: str) -> None:
    attempt(decoders()[name], TRIED, 0)


@pytest.mark.parametrize("name", decoders())
def test_what_is_valid_is_decoded(name: str) -> None:
    """... or the changes would begin with rubbish."""
    one = decoders()[name]
    for raw in one.seeds:
        one.decode(raw)


def test_what_escapes_is_found() -> None:
    def decode(raw: bytes) -> None:
        if raw.endswith(b"\0"):
            raise KeyError("nobody expects this")

    one = Fuzzed("fragile", decode, [b"0123456789"], (ValueError,))
    check(one, b"sound")
    with pytest.raises(KeyError):
        attempt(one, 1_000, 0)


def test_the_command_says_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0.01", "--decoder", "source"]) == 0
    assert '"decoders": 1' in capsys.readouterr().out
