"""The consent ledger of a customer: what was allowed or forbidden on which channel, for which purpose, and when.

``channel/purpose`` → (granted, event time in ms). Newest wins, at the same time a refusal does; silence is no consent.
Under the purpose `ANY` stands what was said of all purposes at once: a complaint about spam forbids whatever was
allowed before it, also what is only learned of afterwards, but for `TRANSACTIONAL`.
"""

from __future__ import annotations

from typing import Final

Said = tuple[bool, int]
Ledger = dict[str, Said]

MARKETING: Final = "marketing"
#: Messages that a customer needs to have, whatever he thinks of the others: receipts, a ticket's answer.
TRANSACTIONAL: Final = "transactional"
ANY: Final = "*"


def put(ledger: Ledger, channel: str, purpose: str, granted: bool, time: int) -> None:
    """Something was allowed or forbidden at ``time``, in place."""
    key = f"{channel}/{purpose}"
    known = ledger.get(key)
    if known is None or time > known[1] or (time == known[1] and not granted):
        ledger[key] = (granted, time)


def said(ledger: Ledger, channel: str, purpose: str) -> Said | None:
    """What holds for ``purpose`` on ``channel``, since when; None if nothing was said."""
    return _held(ledger, f"{channel}/{purpose}", channel, purpose)


def join(mine: Ledger, other: Ledger) -> Ledger:
    """The most restrictive of both, as of the newest of both."""
    joined: Ledger = {}
    for key in {**mine, **other}:
        channel, _, purpose = key.rpartition("/")
        held = [each for ledger in (mine, other) if (each := _held(ledger, key, channel, purpose)) is not None]
        joined[key] = (all([granted for granted, _ in held]), max([time for _, time in held]))
    return joined


def _held(ledger: Ledger, key: str, channel: str, purpose: str) -> Said | None:
    known = ledger.get(key)
    if purpose in (TRANSACTIONAL, ANY) or (known is not None and not known[0]):
        return known
    of_all = ledger.get(f"{channel}/{ANY}")
    if of_all is None or of_all[0] or (known is not None and known[1] > of_all[1]):
        return known
    return of_all
