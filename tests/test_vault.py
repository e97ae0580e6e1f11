"""Sealing: what was sealed opens under its own key, and under nothing else."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.vault import DeadLetterBox, Original, SealError, Vault, kid

MASTER = {"2024": "00" * 32, "2025": "11" * 32}


@given(plain=st.binary(max_size=300))
def test_a_sealed_value_opens_again(plain: bytes) -> None:
    vault = Vault(MASTER)
    wrapped = vault.new_key("c1")
    key = vault.data_key(wrapped, "c1", kid("c1", wrapped))
    sealed = key.seal(plain)
    assert key.open(sealed) == plain
    assert key.seal(plain) != sealed, "a nonce is never used twice"


def test_the_layout_is_the_documented_one() -> None:
    vault = Vault(MASTER)
    wrapped = vault.new_key("c1")
    key = vault.data_key(wrapped, "c1", kid("c1", wrapped))
    assert len(b64decode(key.seal(b"12345"))) == 1 + 12 + 5 + 16
    assert wrapped[:6] == b"\x01\x042025"
    assert len(wrapped) == 6 + 12 + 32 + 16
    assert key.kid.startswith("c1.")
    assert len(key.kid) == len("c1.") + 8


def test_data_keys_differ_even_for_the_same_customer() -> None:
    vault = Vault(MASTER)
    assert len({kid("c1", vault.new_key("c1")) for _ in range(100)}) == 100


def test_the_last_master_key_wraps_and_all_unwrap() -> None:
    old = Vault({"2024": MASTER["2024"]})
    wrapped = old.new_key("c1")
    name = kid("c1", wrapped)
    sealed = old.data_key(wrapped, "c1", name).seal(b"a@b.cn")
    assert Vault(MASTER).data_key(wrapped, "c1", name).open(sealed) == b"a@b.cn"


@pytest.mark.parametrize(
    ("master", "customer"),
    [({"2026": "22" * 32}, "c1"), ({"2025": "22" * 32}, "c1"), (MASTER, "c2")],
    ids=["unlisted master", "another master of that name", "another customer"],
)
def test_a_data_key_opens_only_for_its_owner_under_its_master(master: dict[str, str], customer: str) -> None:
    wrapped = Vault(MASTER).new_key("c1")
    with pytest.raises(SealError, match="data key k"):
        Vault(master).data_key(wrapped, customer, "k")


@pytest.mark.parametrize("wrapped", [b"", b"\x01", b"\x01\x09ab", b"\x02\x042025" + bytes(60), b"\x01\x042025"])
def test_a_damaged_data_key_is_told(wrapped: bytes) -> None:
    with pytest.raises(SealError):
        Vault(MASTER).data_key(wrapped, "c1", "k")


def test_a_value_moved_to_another_key_or_damaged_does_not_open() -> None:
    vault = Vault(MASTER)
    wrapped = vault.new_key("c1")
    key, renamed = vault.data_key(wrapped, "c1", "c1.a"), vault.data_key(wrapped, "c1", "c1.b")
    sealed = key.seal(b"secret")
    blob = b64decode(sealed)
    damaged = [b"", b"\x02" + blob[1:], blob[:-1], blob[:-1] + bytes([blob[-1] ^ 1])]
    for wrong in [b64encode(each).decode() for each in damaged] + ["%%%", "a"]:
        with pytest.raises(SealError):
            key.open(wrong)
    with pytest.raises(SealError):
        renamed.open(sealed)


@given(
    value=st.none() | st.binary(max_size=100),
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3),
)
def test_a_dead_letter_comes_back_whole(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    original = Original("ts.touchpoints", 3, 42, key, value, headers, "invalid at $.id")
    assert DeadLetterBox(bytes(32)).open(DeadLetterBox(bytes(32)).seal(original)) == original


def test_a_dead_letter_opens_under_its_key_only() -> None:
    original = Original("t", 0, 1, None, b"x" * 2_000_000, [], "")
    with pytest.raises(SealError):
        DeadLetterBox(b"\x01" * 32).open(DeadLetterBox(bytes(32)).seal(original))
