"""Carts and orders, online and at the till, and what follows: points, tickets, cancellations, returns."""

from __future__ import annotations

from functools import partial
from math import exp
from typing import NamedTuple

from flows.retailer.encode import body
from flows.retailer.population import DAY, Person
from flows.retailer.visit import Visit, at_desk, enter
from flows.retailer.world import HOUR, MINUTE, Line, World

_TIERS = ((20_000, "diamond"), (5_000, "gold"), (1_000, "silver"))
#: How long points and tiers last, and what the service desk promises (ms).
POINTS_LAST, TIER_LASTS, ANSWERED_WITHIN = 30 * DAY, 45 * DAY, DAY
#: How many of each an office needs.
_OF_EACH = 8
_COUPONS = ("WELCOME10", "SPRING", "VIP")


class Cart(NamedTuple):
    """A filled cart."""

    id: bytes
    lines: list[Line]


class Sale(NamedTuple):
    """A completed order, as far as later events need it."""

    id: str
    lines: list[Line]
    revenue: float


def need_later(world: World, person: Person, time: int) -> None:
    """Supplied until the next purchase is due."""
    person.due = time + int(world.rng.uniform(0.7, 1.3) * person.cycle * person.gap)


def buy(world: World, person: Person, time: int) -> None:
    """Something is needed: in a store, or online, where a cart may still be left behind."""
    if person.known and world.chance() < world.rates.till:
        till = at_desk(world, person, "till", time)
        _order(world, person, till, _lines(world, person), None)
        return
    came = enter(world, person, time)
    came.add(world.any_product(person).page)
    cart = _fill(world, person, came)
    _check_out(world, person, came, cart, world.rates.abandon)
    came.close()


def fill_and_leave(world: World, person: Person, came: Visit) -> None:
    """Nothing was needed, still a cart is filled; mostly it stays behind."""
    cart = _fill(world, person, came)
    _check_out(world, person, came, cart, min(1.0, 2 * world.rates.abandon))


def _lines(world: World, person: Person) -> list[Line]:
    """What runs out, mostly, and one or two things more."""
    lines = [Line(person.needs, 1 + int(world.chance() * 2))] if person.needs and world.chance() < 0.8 else []
    more = world.between(0 if lines else 1, 3)
    lines += [Line(world.any_product(person), 1) for _ in range(more)]
    return [Line(each.product, each.quantity * _OF_EACH) for each in lines] if person.office else lines


def _fill(world: World, person: Person, came: Visit) -> Cart:
    cart = Cart(world.new_id(), _lines(world, person))
    value = 0.0
    for line in cart.lines:
        value += line.value
        came.add(line.product.view)
        came.add(_cart_event(b"Product Added", cart, line, value))
    if len(cart.lines) > 1 and world.chance() < 0.1:
        line = cart.lines.pop()
        came.add(_cart_event(b"Product Removed", cart, line, value - line.value))
    return cart


def _cart_event(type: bytes, cart: Cart, line: Line | None, value: float) -> bytes:
    product = b'"product":%b,' % line.json if line else b""
    return b'"type":"%b","data":{"cart_id":"c%b",%b"value":%.2f}' % (type, cart.id, product, value)


def _check_out(world: World, person: Person, came: Visit, cart: Cart, abandon: float) -> None:
    value = sum(line.value for line in cart.lines)
    if world.chance() < 0.4:
        came.add(_cart_event(b"Cart Viewed", cart, None, value))
    leaves = world.chance() < abandon
    if not leaves or world.chance() < 0.5:
        came.add(_cart_event(b"Checkout Started", cart, None, value))
    if not leaves:
        _order(world, person, came, cart.lines, cart.id)
    elif world.chance() < world.rates.resume:
        back = came.at + world.between(40 * MINUTE, 48 * HOUR)
        world.later(back, person, partial(_resume, cart=cart))


def _resume(world: World, person: Person, time: int, cart: Cart) -> None:
    """Back to the cart left behind."""
    came = enter(world, person, time)
    came.add(_cart_event(b"Cart Viewed", cart, None, sum(line.value for line in cart.lines)))
    _order(world, person, came, cart.lines, cart.id)
    came.close()


def _order(world: World, person: Person, came: Visit, lines: list[Line], cart: bytes | None) -> None:
    value = sum(line.value for line in lines)
    discount = round(0.1 * value, 2) if world.chance() < 0.15 else 0.0
    sale = Sale(f"o{world.new_id().decode()}", lines, round(value - discount, 2))
    content = b'"type":"Order Completed","data":{"order_id":"%b","revenue":%.2f,"currency":"CNY","lines":[%b]' % (
        sale.id.encode(),
        sale.revenue,
        b",".join(line.json for line in lines),
    )
    if discount:
        content += b',"discount":%.2f,"coupon":"%b"' % (discount, _COUPONS[person.x % 3].encode())
    if cart is None:
        came.add(content + b"}")
    else:
        _say_who(world, person, came, content + b',"cart_id":"c%b","address":"%d Nanjing Rd"}' % (cart, person.uid))
    person.wish = None
    need_later(world, person, came.at)
    _after(world, person, came.at, sale)


def _say_who(world: World, person: Person, came: Visit, content: bytes) -> None:
    """Online, who is not logged in leaves an address for the parcel, and others sometimes do."""
    if not came.logged_in or world.chance() < 0.2:
        by_phone = world.chance() < 0.5
        came.with_identifier(*(("phone", person.phone) if by_phone else ("email", person.email)), content)
    else:
        came.add(content)


def _after(world: World, person: Person, time: int, sale: Sale) -> None:
    """What an order brings about; the less loyal complain and return more."""
    if person.known:
        _points(world, person, time, sale)
    trouble = exp(-0.3 * person.loyalty)
    chance = world.chance()
    if chance < world.rates.cancel:
        world.later(time + world.between(5 * MINUTE, HOUR), person, partial(_cancel, sale=sale))
    elif chance < world.rates.cancel + world.rates.refund * trouble:
        world.later(time + world.between(3 * DAY, 14 * DAY), person, partial(_refund, sale=sale))
    if world.chance() < world.rates.ticket * trouble:
        world.later(time + world.between(DAY, 6 * DAY), person, _complain)


def _points(world: World, person: Person, time: int, sale: Sale) -> None:
    """One point a yuan; some are spent; tiers are reached by points held."""
    book = at_desk(world, person, "loyalty", time)
    before, earned = person.points, int(sale.revenue)
    person.points += earned
    held = {"points": earned, "balance": person.points, "expires_at": time + POINTS_LAST}
    book.add(body("Points Earned", held), 500, 5_000)
    for least, tier in _TIERS:
        if before < least <= person.points:
            book.add(body("Tier Changed", {"tier": tier, "expires_at": time + TIER_LASTS}), 500, 5_000)
            break
    if person.points > 500 and world.chance() < 0.1:
        person.points -= 500
        book.add(body("Points Spent", {"points": -500, "balance": person.points}), 500, 5_000)


def _cancel(world: World, person: Person, time: int, sale: Sale) -> None:
    data = {"order_id": sale.id, "revenue": sale.revenue, "currency": "CNY"}
    at_desk(world, person, "service", time).add(body("Order Cancelled", data))


def _refund(world: World, person: Person, time: int, sale: Sale) -> None:
    """One position goes back."""
    line = sale.lines[int(world.chance() * len(sale.lines))]
    returned = {"sku": line.product.sku, "category": line.product.category, "quantity": line.quantity}
    amount = round(min(line.value, sale.revenue), 2)
    data = {"order_id": sale.id, "amount": amount, "currency": "CNY", "lines": [returned], "note": "did not fit"}
    at_desk(world, person, "service", time).add(body("Order Refunded", data))


def _complain(world: World, person: Person, time: int) -> None:
    ticket = {"ticket_id": f"t{world.new_id().decode()}", "topic": "delivery"}
    asked = {"subject": "Where is my parcel?", "text": "It should have come yesterday."}
    opened = ticket | asked | {"due_at": time + ANSWERED_WITHIN}
    at_desk(world, person, "service", time).add(body("Ticket Opened", opened))
    world.later(time + world.between(4 * HOUR, 3 * DAY), person, partial(_settle, ticket=ticket))


def _settle(world: World, person: Person, time: int, ticket: dict[str, str]) -> None:
    """Those about to leave are the harder ones to please."""
    satisfaction = max(0, min(10, round(7 + 1.5 * person.loyalty + world.rng.gauss(0, 1.5))))
    at_desk(world, person, "service", time).add(body("Ticket Closed", ticket | {"satisfaction": satisfaction}))
