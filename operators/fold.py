"""Folding a touchpoint into a profile: plain functions, one per family, in place. Those about messages are in
`operators.feedback`.

Counters and sums do not depend on the order of touchpoints; registers (consent, stock, price) keep the newest by event
time; tier and points follow the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable

from operators import consent as ledger
from operators import features
from operators.features import cents
from schemas.stitched import Event, Gist
from schemas.touchpoint import TYPES, Body, Cart, Loyalty, Order, Price, Registration, Stock
from state import profile as state
from state.behaviour import Behaviour
from state.profile import SEEN_EVENTS, SEEN_WIDTH, Profile, Timer

#: Open carts kept of a customer.
KEPT_CARTS = 8

_SEEN = SEEN_EVENTS * SEEN_WIDTH


def last_order(behaviour: Behaviour) -> int:
    """Time of the latest order (ms), 0 if there is none."""
    return behaviour.recent[-1] if behaviour.recent else 0


def seen(profile: Profile, eid: str) -> bool:
    """Whether the event is among the latest `SEEN_EVENTS` folded; if not it is now."""
    mark, known = eid[:SEEN_WIDTH], profile.seen
    at = known.find(mark)
    while at >= 0:
        if at % SEEN_WIDTH == 0:
            return True
        at = known.find(mark, at + 1)
    profile.seen = (known + mark)[-_SEEN:]
    return False


def fold(profile: Profile, event: Event | Gist, body: Body | None) -> None:
    """Fold one new touchpoint. Times in ms."""
    time = event.time
    for consent in event.consent:
        ledger.put(profile.consent, consent.channel, consent.purpose, consent.granted, time)
    if body is None:
        return
    family = TYPES[event.type][0]
    features.observe(profile.behaviour, family, event.type, body, time, event.channel)
    apply = _FAMILIES.get(family)
    if apply is not None:
        apply(profile, event, body)


def set_timer(profile: Profile, kind: str, key: str, due: int | None) -> None:
    """Schedule, move or (None) cancel one timer."""
    profile.timers = [timer for timer in profile.timers if timer.kind != kind or timer.key != key]
    if due is not None:
        profile.timers.append(Timer(due, kind, key))


def _cart(profile: Profile, event: Event | Gist, body: Cart) -> None:
    if body.cart_id is None or event.type == "Cart Viewed":
        return
    known = profile.carts.get(body.cart_id)
    if last_order(profile.behaviour) >= event.time or (known is not None and known.time > event.time):
        return
    value = cents(body.value) if body.value is not None else (known.value if known else 0)
    profile.carts[body.cart_id] = state.Cart(event.time, value)
    if len(profile.carts) > KEPT_CARTS:
        del profile.carts[min(profile.carts, key=lambda cart: (profile.carts[cart].time, cart))]


def _order(profile: Profile, event: Event | Gist, body: Order) -> None:
    if event.type == "Order Cancelled":
        return
    profile.units += sum(line.quantity for line in body.lines)
    # An order ends the cart it names, and every cart that has not changed since.
    profile.carts = {
        cart_id: cart for cart_id, cart in profile.carts.items() if cart_id != body.cart_id and cart.time > event.time
    }


def _registration(profile: Profile, event: Event | Gist, body: Registration) -> None:
    profile.language = body.language or profile.language
    profile.timezone = body.timezone or profile.timezone
    profile.country = body.country or profile.country
    profile.birth_day = body.birth_day or profile.birth_day


def _service(profile: Profile, event: Event | Gist, body: Body) -> None:
    profile.tickets += 1 if event.type == "Ticket Opened" else -1


def _loyalty(profile: Profile, event: Event | Gist, body: Loyalty) -> None:
    if body.balance is not None:
        profile.points = body.balance
    elif body.points is not None:
        profile.points += body.points if event.type == "Points Earned" else -body.points
    profile.tier = body.tier or profile.tier


def _product(profile: Profile, event: Event | Gist, body: Stock | Price) -> None:
    if isinstance(body, Stock):
        if event.time >= profile.stock_time:
            profile.stock, profile.stock_time = body.stock, event.time
    elif event.time >= profile.price_time:
        profile.price, profile.price_time = cents(body.price), event.time


_FAMILIES: dict[str, Callable[..., None]] = {
    "cart": _cart,
    "order": _order,
    "registration": _registration,
    "service": _service,
    "loyalty": _loyalty,
    "product": _product,
}
