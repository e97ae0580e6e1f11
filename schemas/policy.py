"""The identity policy: which identifiers make one customer, and what happens to those that several people share.

>>> RETAIL.of("device").shared, RETAIL.of("member").limit, RETAIL.of("something new").limit
('last_login_wins', 1, None)
>>> policy_version(RETAIL) == policy_version(msgspec.structs.replace(RETAIL))
True
>>> policy_version(RETAIL) == policy_version(msgspec.structs.replace(RETAIL, cap=100))
False

The names of the treatments of an identifier that more than one customer uses:

``last_login_wins``     it goes with the customer who used it last (a device, a recycled phone number)
``first_owner_keeps``   it stays with the customer who used it first (a card that was issued to someone)
``explicit_logout``     as last_login_wins, but a logout cuts what was linked up to then
``ambiguous``           it identifies nobody any more (a bank card that a couple shares)
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Literal

import msgspec

Treatment = Literal["last_login_wins", "first_owner_keeps", "ambiguous", "explicit_logout"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Strength = Annotated[int, msgspec.Meta(ge=0, le=100)]
DAY_MS = 86_400_000
#: In `Namespace.hub`: neighbours of whatever namespace.
ANY = "*"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of the policy: frozen, and an unknown key is a fault."""


class Namespace(Section, frozen=True):
    """How identifiers of one namespace behave.

    ``limit``: how many of them one customer may hold, None for any number. ``shared``: see above. ``hub``: who has met
    more distinct identifiers of a namespace (`ANY`: of all together) than this links nobody. ``connects``: False if
    it is known of customers but never makes two of them one.
    """

    limit: Count | None = None
    shared: Treatment = "last_login_wins"
    hub: dict[str, Count] = {}
    connects: bool = True


class Strengths(Section, frozen=True):
    """What a link is worth by its kind: in a conflict the strongest is heard first, whatever its time."""

    observed: Strength = 1
    #: A till shows that card and token were in one hand, not whose.
    till: Strength = 2
    login: Strength = 3
    #: Said by a system that knows: two names of one thing.
    alias: Strength = 3


class Policy(Section, frozen=True):
    """All of it. ``priority`` names namespaces, strongest first; others are weaker than all of them, by name, and
    behave as ``others`` says unless ``namespaces`` does.

    ``cap``: most identifiers of a cluster of evidence. ``step_ms``: the last times that decide nothing are rounded
    down to multiples of this, which spares most repeat visits a write; ``deciding_step_ms``: those that decide who was
    last.
    """

    priority: tuple[str, ...] = ()
    namespaces: dict[str, Namespace] = {}
    others: Namespace = Namespace()
    strengths: Strengths = Strengths()
    cap: Annotated[int, msgspec.Meta(ge=2)] = 200
    step_ms: Count = DAY_MS
    deciding_step_ms: Count = 1

    def __post_init__(self) -> None:
        """Refuse what the types let through. Raises ValueError, which decoders report with its path."""
        if twice := _twice(self.priority):
            raise ValueError(f"priority: names {', '.join(twice)} more than once")

    def of(self, name: str) -> Namespace:
        """The rules of a namespace."""
        return self.namespaces.get(name, self.others)


def _twice(names: Iterable[str]) -> list[str]:
    some = list(names)
    return sorted({name for name in some if some.count(name) > 1})


def policy_version(policy: Policy) -> str:
    """16 hex digits that follow from what the policy says."""
    return sha256(msgspec.json.encode(policy, order="sorted")).hexdigest()[:16]


#: More people than live in one home, and than pass a telephone on: from here on it is a kiosk, a till or a call centre.
_PEOPLE = 10

RETAIL = Policy(
    priority=(
        "member",
        "wechat_unionid",
        "phone",
        "email",
        "wechat_openid",
        "alipay",
        "loyalty_card",
        "payment_token",
        "device",
        "cookie",
        "advertising_id",
        "household",
    ),
    namespaces={
        # The retailer's own account number: one person, one account. What holds two is two people.
        "member": Namespace(limit=1),
        # One WeChat account for all of the retailer's apps; nobody has two, and nobody lends it.
        "wechat_unionid": Namespace(limit=1, hub={"member": _PEOPLE}),
        # Private, work, an old one; carriers give numbers out anew after some months, so the last owner counts.
        "phone": Namespace(limit=3, hub={"member": _PEOPLE}),
        # Five, as Segment's default for e-mail: private, work, and those made up for newsletters.
        "email": Namespace(limit=5, hub={"member": _PEOPLE}),
        # One for each app or official account of the retailer.
        "wechat_openid": Namespace(limit=10, hub={"member": _PEOPLE}),
        # Private and business; bound to a person by law.
        "alipay": Namespace(limit=2, hub={"member": _PEOPLE}),
        # Issued to someone, then lent: the family's purchases do not take it from its owner.
        "loyalty_card": Namespace(limit=5, shared="first_owner_keeps", hub={"member": _PEOPLE}),
        # Couples and companies pay with one card: then it proves nothing about who stands at the till.
        "payment_token": Namespace(limit=20, shared="ambiguous", hub={"member": _PEOPLE}),
        # Shared at home, sold, handed down: whoever logged in last uses it now. No limit: ids change with every
        # reinstallation.
        "device": Namespace(hub={"member": _PEOPLE}),
        "cookie": Namespace(hub={"member": _PEOPLE}),
        # As device, and wiped to zeros on request: those are on the junk list.
        "advertising_id": Namespace(hub={"member": _PEOPLE}),
        # Many people: known of each, never a reason to make two of them one.
        "household": Namespace(connects=False),
    },
)

#: Whatever was seen together is one customer: no limits, and no hubs but those of the cap.
UNION = Policy(others=Namespace(shared="first_owner_keeps"))
#: By the name that a configuration gives them.
POLICIES = {"retail": RETAIL, "union": UNION}
