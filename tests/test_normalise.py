"""One spelling per identifier."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.normalise import canonical, namespace, normalise


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("li.wei@mail.cn", "li.wei@mail.cn"),
        ("  Li.Wei@Mail.CN\n", "li.wei@mail.cn"),
        ("mailto:Li@mail.cn", "li@mail.cn"),
        ("\ufeffli@mail.cn\u200b", "li@mail.cn"),
        ('"li@mail.cn"', "li@mail.cn"),
        ("ｌｉ@ｍａｉｌ.ｃｎ", "li@mail.cn"),  # noqa: RUF001  full-width letters, as Chinese keyboards write them
        ("li+shop@mail.cn", "li+shop@mail.cn"),
        ("li@bücher.de", "li@xn--bcher-kva.de"),
        ("李@例子.中国", "李@xn--fsqu00a.xn--fiqs8s"),
    ],
)
def test_emails(written: str, meant: str) -> None:
    assert normalise("email", written, "CN") == meant


@pytest.mark.parametrize(
    "written",
    [
        *("", "li", "@mail.cn", "li@", "li@mail", "li@@mail.cn", "li wei@mail.cn", "li@mail..cn", "a@b.c", "li@.cn"),
        *(
            "x" * 65 + "@mail.cn",
            "x@" + "y" * 260 + ".cn",
            "a@b.cn,c@d.cn",
            "Li <li@mail.cn>",
            "li@" + "ü" * 63 + ".de",
        ),
    ],
)
def test_what_is_no_email(written: str) -> None:
    assert normalise("email", written, "CN") is None


@pytest.mark.parametrize(
    ("written", "country", "meant"),
    [
        ("13812345670", "CN", "+8613812345670"),
        ("138 1234-5670", "CN", "+8613812345670"),
        ("+86 138 1234 5670", "DE", "+8613812345670"),
        ("0086 13812345670", "DE", "+8613812345670"),
        ("+8613812345670", "CN", "+8613812345670"),
        ("１３８１２３４５６７０", "CN", "+8613812345670"),  # noqa: RUF001
        ("(010) 6552-9988", "CN", "+861065529988"),
        ("0171 2345678", "DE", "+491712345678"),
        ("(212) 736-5000", "US", "+12127365000"),
        ("tel:+4917123456789", "CN", "+4917123456789"),
    ],
)
def test_phones(written: str, country: str, meant: str) -> None:
    assert normalise("phone", written, country) == meant


@pytest.mark.parametrize(
    "written", ["", "0", "12", "abc", "+", "+999123456789", "138123456701381234567013812345670", "-"]
)
def test_what_is_no_phone(written: str) -> None:
    assert normalise("phone", written, "CN") is None


@given(number=st.from_regex(r"\+861[3-9][0-9]{9}", fullmatch=True))
def test_the_short_way_for_chinese_numbers_gives_what_the_library_gives(number: str) -> None:
    parsed = phonenumbers.parse(number, "CN")
    assert phonenumbers.is_possible_number(parsed)
    assert phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == number
    assert normalise("phone", number, "US") == number


@pytest.mark.parametrize("ns", ["member", "device", "whatever"])
def test_other_namespaces_are_opaque(ns: str) -> None:
    assert normalise(ns, "  Ab-12 \n", "CN") == "Ab-12"
    assert normalise(ns, " \t", "CN") == ""


@given(ns=st.sampled_from(["email", "phone", "member", "device"]), value=st.text(max_size=40))
def test_normalising_twice_changes_nothing_and_nothing_raises(ns: str, value: str) -> None:
    once = normalise(ns, value, "CN")
    assert once is None or normalise(ns, once, "CN") == once


def test_namespaces_have_one_spelling() -> None:
    assert namespace("Email ") == namespace("EMAIL") == "email"


@pytest.mark.parametrize("name", ["", "li@mail.cn", "@x", "8613812345670", "member:x", "a\0b", "会员"])
def test_what_could_be_a_value_is_no_namespace(name: str) -> None:
    assert namespace(name) is None


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("li.wei+shop@gmail.com", "liwei@gmail.com"),
        ("li.wei+shop@mail.cn", "li.wei@mail.cn"),
        ("+shop@mail.cn", "+shop@mail.cn"),
        ("...@gmail.com", "...@gmail.com"),
    ],
)
def test_sub_addresses_and_dots_go_where_they_do_not_matter(address: str, meant: str) -> None:
    assert canonical(address, ["*"], ["gmail.com"]) == meant
    assert canonical(address, [], []) == address
