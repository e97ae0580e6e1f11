"""Values that identify nobody: one ``null`` id has merged whole user bases elsewhere.

>>> junk = Junk(["member:0815"])
>>> [junk("member", value) for value in ("1001", "NULL", "000000", "123456789", "0815")]
[False, True, True, True, True]
>>> junk = Junk(patterns=["device:test-.*"], own_domains=["shop.cn"])
>>> junk("device", "test-7"), [junk("email", f"{name}@shop.cn") for name in ("info", "till-3")]
(True, [True, True])

Runs of one character and counting sequences are junk from six characters on: shorter ones occur as
true numbers in small, numbered customer bases. Zeros are junk at any length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Literals that programs write for "nothing" and people type for "never mind".
_NOTHING = """
    null|(null)|<null>|none|nil|nan|undefined|unknown|anonymous|anon|guest|n/a|na|#n/a|not set|(not set)|unset|
    not available|not_available|notset|empty|void|missing|invalid|default|dummy|test|tester|testuser|test user|
    sample|example|placeholder|todo|tbd|xxx|asdf|asdfgh|qwerty|true|false|-1|-|--|---|.|?|*|{}|[]|""|''|deleted|
    [object object]|object object|optout|opt-out|opted out|noid|no id|user|userid|user_id|id|uuid|customer|member|
    無|无|空|未知|匿名|游客|测试|"""
NULL_LIKE = frozenset(word.strip() for word in _NOTHING.split("|"))  # the last one is the empty text

#: Mailboxes that many people, or nobody, use; also with digits after them (``test1@``). The roles: those of RFC 2142,
#: and those that companies print on their paper.
_NOBODY = """
    info marketing sales support abuse noc security hostmaster webmaster usenet news uucp ftp www
    admin administrator office contact helpdesk service customerservice customer-service kundenservice kefu
    test tester testing example sample demo dummy fake foo foobar asdf qwerty abc aaa xxx null none nil na unknown
    undefined anonymous guest nobody noone nomail noemail no-email noreply no-reply no_reply donotreply do-not-reply
    mailer-daemon postmaster"""
MAILBOXES = frozenset(_NOBODY.split())
#: Domains that are no one's (RFC 2606, RFC 6761) where they end an address; ``example.com`` and its like
#: are documentation names, so only their test mailboxes are listed above.
DOMAINS = re.compile(r"(^|\.)(test|invalid|localhost|local|localdomain|none|null)$|^(test|none|null|nomail)\.[a-z]+$")
#: Telephone numbers that forms and tills show as a sample.
PHONES = frozenset(("+8613800138000", "+8613912345678", "+8612345678901", "+15555555555", "+12025550100"))

_SEPARATORS = re.compile(r"[\s\-_.:{}()/]+")
_COUNTING = "01234567890123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: What six characters in a row may not be a part of; spaces keep apart what is not one sequence.
_SEQUENCES = " ".join((_COUNTING, _COUNTING[::-1], _LETTERS, _LETTERS[::-1], "0123456789abcdef", "fedcba9876543210"))
_RUN = 6


class Junk:
    """The default list, ``blocked`` entries ``namespace:value`` with values normalised, ``patterns``
    ``namespace:regular expression`` that match whole values, and addresses at the shop's ``own_domains``, which staff
    type for customers who give none."""

    def __init__(
        self, blocked: Iterable[str] = (), patterns: Iterable[str] = (), own_domains: Iterable[str] = ()
    ) -> None:
        self._blocked: dict[str, set[str]] = {}
        for entry in blocked:
            ns, _, value = entry.partition(":")
            self._blocked.setdefault(ns, set()).add(value)
        self._patterns: dict[str, list[re.Pattern[str]]] = {}
        for entry in patterns:
            ns, _, pattern = entry.partition(":")
            self._patterns.setdefault(ns, []).append(re.compile(pattern))
        self._own_domains = frozenset(own_domains)

    def __call__(self, ns: str, value: str) -> bool:
        """Whether the normalised ``value`` identifies nobody."""
        lower = value.lower()
        if lower in NULL_LIKE or value in self._blocked.get(ns, ()):
            return True
        if any([pattern.fullmatch(value) for pattern in self._patterns.get(ns, ())]):
            return True
        if ns == "phone":  # the last ten digits: national numbers without their first digits at most
            return value in PHONES or _patterned(value[-10:])
        if ns == "email":
            return lower.rpartition("@")[2] in self._own_domains or _mailbox(lower)
        return _patterned(lower if lower.isalnum() else _SEPARATORS.sub("", lower))


def _mailbox(address: str) -> bool:
    local, _, domain = address.rpartition("@")
    return local.rstrip("0123456789") in MAILBOXES or _run(local) or bool(DOMAINS.search(domain))


def _patterned(text: str) -> bool:
    """Nothing but zeros, one character again and again, or a counting sequence."""
    return _run(text) or text in _SEQUENCES if len(text) >= _RUN else not text.strip("0")


def _run(text: str) -> bool:
    return len(text) >= _RUN and text == text[0] * len(text)
