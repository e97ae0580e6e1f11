"""Where customers are met: per channel the source, the identifiers it sees and whether they are proven by a login."""

from __future__ import annotations

from collections.abc import Callable

from flows.retailer.encode import head, identifier
from flows.retailer.population import KIOSKS, Person
from flows.retailer.world import World

_DEVICES = ({"kind": "phone", "os": "ios"}, {"kind": "phone", "os": "android"}, {"kind": "desktop", "os": "windows"})


def open_head(person: Person, channel: str, logged_in: bool, time: int) -> tuple[bytes, bytes]:
    """Key and head of the customer's events in a channel; rendered once per customer, channel and login."""
    if channel == "web":
        cookie = person.cookie(time)
        key, name = cookie.encode(), cookie if logged_in else cookie + "?"
    else:
        key, name = channel.encode() + b"-%d" % person.uid, channel if logged_in else channel + "?"
    known = person.heads.get(name)
    if known is None:
        known = person.heads[name] = _render(person, channel, logged_in, time)
    return key, known


def kiosk_head(world: World, person: Person, logged_in: bool) -> tuple[bytes, bytes]:
    """Key and head at one of the kiosks, with the customer's member number after a login."""
    kiosk = KIOSKS[int(world.chance() * len(KIOSKS))]
    member = [identifier("member", person.member, login=True)] if logged_in else []
    return kiosk.encode(), head("kiosk", "store", [identifier("device", kiosk), *member], {"kind": "kiosk"})


def _render(person: Person, channel: str, logged_in: bool, time: int) -> bytes:
    member = [identifier("member", person.member, login=True)] if logged_in else []
    device = _DEVICES[person.x % 3]
    if channel == "web":
        return head("web", "web", [identifier("cookie", person.cookie(time)), *member], device)
    if channel == "app":
        own = [identifier("device", person.device)]
        if person.x & 1:
            own.append(identifier("advertising_id", person.advertising_id))
        return head("app", "app", own + member, _DEVICES[person.x % 2])
    if channel == "mini":
        own = [identifier("wechat_openid", person.open_id), identifier("wechat_unionid", person.union_id)]
        return head("miniprogram", "wechat", own + member)
    if channel == "tablet":
        return head("web", "web", [identifier("device", person.tablet or ""), *member], {"kind": "tablet"})
    return _HEADS[channel](person)


def _till(person: Person) -> bytes:
    """Half show the card, half tell their number the way people do."""
    phone = person.phone[3:] if person.x & 2 else f"{person.phone[3:6]} {person.phone[6:10]} {person.phone[10:]}"
    shown = identifier("member", person.member) if person.x & 4 else identifier("phone", phone)
    return head("till", "store", [shown]) + b'"store":"%b",' % person.store.encode()


def _service(person: Person) -> bytes:
    by = identifier("email", person.email) if person.x & 8 else identifier("phone", person.phone)
    return head("service", "service", [by])


def _records(person: Person) -> bytes:
    """The member file: number and addresses."""
    own = [identifier("member", person.member), identifier("phone", person.phone), identifier("email", person.email)]
    if "mini" in person.channels:
        own.append(identifier("wechat_unionid", person.union_id))
    return head("crm", "crm", own)


#: Channels of the shop itself: what it knows of the customer there.
_HEADS: dict[str, Callable[[Person], bytes]] = {
    "till": _till,
    "service": _service,
    "crm": _records,
    "loyalty": lambda person: head("loyalty", "loyalty", [identifier("member", person.member)]),
    "email": lambda person: head("campaigns", "email", [identifier("email", person.email)]),
    "sms": lambda person: head("campaigns", "sms", [identifier("phone", person.phone)]),
    "wechat": lambda person: head("campaigns", "wechat", [identifier("wechat_openid", person.open_id)]),
}
