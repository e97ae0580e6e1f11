"""What identifies nobody, and what only looks like it."""

from __future__ import annotations

import pytest

from operators.junk import Junk

JUNK = [
    *(
        ("device", value)
        for value in ("", "null", "NULL", "undefined", "None", "N/A", "[object Object]", "unknown", "-1")
    ),
    *(
        ("member", value)
        for value in ("0", "00000", "000-000", "1111111", "123456", "0123456789", "987654", "test", "无")
    ),
    *(
        ("advertising_id", value)
        for value in ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
    ),
    *(("cookie", value) for value in ("aaaaaaaa", "abcdefgh", "0123456789abcdef", "{}", "''")),
    *(("phone", value) for value in ("+8611111111111", "+8613800138000", "+12222222222", "+11234567890")),
    *(
        ("email", value)
        for value in ("test@shop.cn", "test12@shop.cn", "noreply@shop.cn", "null@null.com", "aaaaaa@b.cn", "info@b.cn")
    ),
    *(("email", value) for value in ("li@shop.test", "li@localhost", "li@test.com", "li@a.invalid")),
]
PEOPLE = [
    *(("member", value) for value in ("1", "1001", "00001", "11111", "12345", "10000001", "M-7", "testarossa")),
    *(("phone", value) for value in ("+8613812345670", "+8613888888888", "+8613800000001", "+491712345678")),
    *(("email", value) for value in ("li@mail.cn", "alice@example.com", "contest@mail.cn", "testa@mail.cn", "a1@b.cn")),
    *(("device", value) for value in ("ab12", "5f3b6c1e-8d0a-5b7e-9c44-2f6d1a7e0b93", "nullpointer")),
]


@pytest.mark.parametrize(("ns", "value"), JUNK)
def test_junk(ns: str, value: str) -> None:
    assert Junk()(ns, value)


@pytest.mark.parametrize(("ns", "value"), PEOPLE)
def test_not_junk(ns: str, value: str) -> None:
    assert not Junk()(ns, value)


def test_blocked_values_are_junk_in_their_namespace_only() -> None:
    junk = Junk(["device:kiosk-1", "member:a:b"])
    assert junk("device", "kiosk-1")
    assert junk("member", "a:b")
    assert not junk("member", "kiosk-1")
    assert not junk("device", "Kiosk-1")


def test_patterns_match_whole_values_and_own_domains_are_exact() -> None:
    junk = Junk(patterns=["device:test-[0-9]+"], own_domains=["shop.cn"])
    values = [("device", "test-7"), ("device", "my test-7"), ("member", "test-7"), ("email", "li@shop.cn"),
              ("email", "li@pet.shop.cn"), ("email", "li@petshop.cn")]  # fmt: skip
    assert [junk(*value) for value in values] == [True, False, False, True, False, False]
