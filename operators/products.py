"""What has become of a product: which plays that wakes, for how long it holds, and who is interested.

A product's own shard sees its prices and its stock change and tells every shard, in a `Signal`, when that wakes a play
or when what has woken one no longer holds. Plain functions; `operators.signals` carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from operators.features import cents
from operators.playbook import PlayBook
from operators.plays import DAY, Candidate, Play, Watch, unasked
from schemas.stitched import Event, Gist, Occasion
from schemas.touchpoint import Body, Price
from state.products import Product
from state.profile import Profile
from state.shards import INTERESTED


class Told(NamedTuple):
    """What a message can tell of a product; prices in minor units, 0 if not known, ``stock`` -1."""

    sku: str
    price: int
    was: int
    stock: int


class Before(NamedTuple):
    """Price (0: not known) and stock (-1) before a touchpoint."""

    price: int
    stock: int


def before(profile: Profile, body: Body | None) -> Before:
    """How a product stands before a touchpoint is folded into it. The first price says itself what was before."""
    price = profile.price
    if not profile.price_time and isinstance(body, Price):
        price = cents(body.old_price or 0)
    return Before(price, profile.stock)


def move(profile: Profile, was: Before, event: Event | Gist, book: PlayBook) -> bool:
    """After a touchpoint of a product has been folded: which plays it wakes and which no longer hold, in place; whether
    that changed anything. A late touchpoint has moved nothing, and history wakes nothing."""
    plays = {
        name: occasion
        for name, occasion in profile.signalled.items()
        if name in book.plays and _holds(book.plays[name].watch, occasion, profile)
    }
    if event.at - event.time <= book.start_within:
        plays |= {
            play.name: Occasion(event.time, event.eid, was.price)
            for play in book.watching
            if play.watch is not None and _wakes(play.watch, was, profile)
        }
    changed = plays != profile.signalled
    profile.signalled = plays
    return changed


def _wakes(watch: Watch, was: Before, now: Profile) -> bool:
    if watch.price_drop is not None:
        return now.price < was.price and _dropped(watch.price_drop, was.price, now)
    if watch.low_stock is not None:
        return was.stock > watch.low_stock >= now.stock > 0
    return was.stock == 0 < now.stock


def _holds(watch: Watch | None, occasion: Occasion, now: Profile) -> bool:
    if watch is None:
        return False
    if watch.price_drop is not None:
        return _dropped(watch.price_drop, occasion.was, now)
    return 0 < now.stock <= watch.low_stock if watch.low_stock is not None else now.stock > 0


def _dropped(per_cent: float, was: int, now: Profile) -> bool:
    """What is sold out is not cheaper."""
    return now.price * 100 <= was * (100 - per_cent) and now.stock != 0


def interested(profile: Profile, watch: Watch, sku: str, at: int) -> bool:
    """Whether a customer is interested in a product, as asked for, at ``at`` (ms)."""
    known = profile.progress.get(watch.interest, {}).get(sku)
    return known is not None and bool(known.times) and known.times[-1] > at - watch.within


def stale(candidate: Candidate, product: Product | None, profile: Profile, at: int) -> str | None:
    """The code that stops a candidate whose product, or customer, is no longer as it was."""
    play, sku = candidate.play, candidate.business_key
    occasion = product.plays.get(play.name) if product is not None else None
    if occasion is None or str(occasion.time) != candidate.occurrence:
        return "product_changed"
    assert play.watch is not None
    return None if interested(profile, play.watch, sku, at) else "no_interest"


def candidate(play: Play, sku: str, product: Product, profile: Profile, at: int) -> Candidate:
    """A play that speaks of a product."""
    occasion = product.plays[play.name]
    told = Told(sku, product.price, occasion.was, product.stock)
    return unasked(play, profile, sku, str(occasion.time), occasion.touchpoint, occasion.time, at, told)


def forgotten(book: PlayBook, at: int) -> int:
    """Up to when (ms) the index of interest may have forgotten; a day more, since that is noted once a day."""
    return at - book.interest - DAY


def page(customers: Mapping[str, int], old: int, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
    """The next ``limit`` of the `INTERESTED` customers who were interested last, behind ``after``, as (time, customer):
    the latest first, none whose interest is as old as ``old``."""
    known = sorted([(time, customer) for customer, time in customers.items() if time > old], reverse=True)
    return [entry for entry in known[:INTERESTED] if after is None or entry < after][:limit]
