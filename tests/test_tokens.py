"""Tokens: keyed, distinct, readable by namespace; and ids that follow from them."""

from __future__ import annotations

from uuid import uuid5

from hypothesis import assume, given
from hypothesis import strategies as st

from operators.birth import CUSTOMERS, customer_id
from state.tokens import Tokens, token_text

TOKENS = Tokens(bytes(32))


@given(text=st.text())
def test_customer_ids_are_uuids_of_version_5(text: str) -> None:
    assert customer_id(text) == str(uuid5(CUSTOMERS, text))


@given(a=st.text(max_size=8), b=st.text(max_size=8))
def test_tokens_tell_values_and_kinds_apart(a: str, b: str) -> None:
    assume(a != b)
    assert TOKENS.identifier("device", a) != TOKENS.identifier("device", b)
    assert TOKENS.text("order_id", a) != TOKENS.text("order_id", b)
    assert TOKENS.text("order_id", a) != TOKENS.text("cart_id", a)
    assert TOKENS.event("web", a) != TOKENS.event("till", a)
    assert TOKENS.event("a", f":{b}") != TOKENS.event("a:", b)


def test_tokens_are_keyed_and_readable_by_namespace() -> None:
    token = TOKENS.identifier("device", "ab12")
    assert token != Tokens(b"\x01" * 32).identifier("device", "ab12")
    assert token.startswith(b"device:")
    assert len(token) == len("device:") + 16
    assert len(token_text(token)) == len("device:") + 22
    assert len(TOKENS.text("session", "s1")) == 16
