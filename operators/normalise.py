"""One spelling per identifier, by namespace.

>>> normalise("email", " Li.Wei@Mail.CN ", "CN"), normalise("phone", "138 1234 5678", "CN")
('li.wei@mail.cn', '+8613812345678')
>>> normalise("member", " M-7 ", "CN"), normalise("email", "nobody", "CN")
('M-7', None)

>>> canonical("li.wei+shop@gmail.com", ["*"], ["gmail.com"])
'liwei@gmail.com'

Namespaces without a rule are opaque: their values are trimmed and otherwise left as they are, since the
case of an id may matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from unicodedata import normalize

import phonenumbers

_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}@(?:[^\s@.]{1,63}\.)+[^\s@.]{2,63}")
_MAX_EMAIL = 254
_NAMESPACE = re.compile(r"[a-z][a-z0-9_. /-]*")
#: Chinese mobile numbers in E.164, by far the most frequent: what the library would make of them, 60 times faster.
_CHINESE = re.compile(r"\+861[3-9][0-9]{9}")
#: What wraps a value without belonging to it: quotes, zero-width characters, byte order marks.
_TRIM = " \t\r\n\f\v\0\"'\u200b\u200c\u200d\u2060\ufeff\xa0\u3000"


def normalise(ns: str, value: str, country: str) -> str | None:
    """The value's one spelling, None if it cannot be one of its namespace. ``country``: of local phone numbers."""
    rule = _RULES.get(ns)
    return rule(value, country) if rule else value.strip(_TRIM)


def namespace(name: str) -> str | None:
    """A namespace's one spelling; None if it is no name: namespaces stay readable in tokens."""
    text = name.strip().lower()
    return text if _NAMESPACE.fullmatch(text) else None


def email(value: str, country: str = "") -> str | None:
    """Trimmed, NFKC, lower case, an international domain in its ASCII form; None if it is no address.

    Dots and sub-addresses stay: whether they matter is up to each provider, see `canonical`.
    """
    text = normalize("NFKC", value).strip(_TRIM).removeprefix("mailto:").lower()
    if len(text) > _MAX_EMAIL or not _EMAIL.fullmatch(text):
        return None
    local, _, domain = text.rpartition("@")
    if domain.isascii():
        return text
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None


def canonical(address: str, tags: Collection[str], dots: Collection[str]) -> str:
    """A normalised address without its sub-address (``+tag``) at the domains ``tags``, and without the dots of its
    local part at the domains ``dots``; "*" is every domain."""
    local, _, domain = address.rpartition("@")
    if domain in tags or "*" in tags:
        local = local.partition("+")[0] or local
    if domain in dots or "*" in dots:
        local = local.replace(".", "") or local
    return f"{local}@{domain}"


def phone(value: str, country: str) -> str | None:
    """E.164; None if the number is impossible in its country.

    Possible, not valid: whether a range has been given out changes faster than the tables do.
    """
    if _CHINESE.fullmatch(value):
        return value
    text = normalize("NFKC", value).strip(_TRIM)
    try:
        number = phonenumbers.parse("+" + text[2:] if text.startswith("00") else text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_RULES: dict[str, Callable[[str, str], str | None]] = {"email": email, "phone": phone}
