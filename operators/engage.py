"""Engage, the pure core: a function of the ``stitched`` log alone.

`Engage.apply` takes one record of a shard in log order and changes the shard in memory: alias check →
dedupe → fold → timers → score → plays → governance → outputs. No I/O, no clock but the records' ``at``.
Replaying a log gives the same outputs, byte for byte.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from operators import fold, join, scoring
from operators.churn import Model
from operators.deciding import Decider
from operators.plays import Candidate, PlayBook
from operators.shard import Shard
from schemas import outputs, stitched
from schemas.config import Config
from schemas.stitched import Absorb, Change, Control, Event, Gist, Tick, shard_of
from schemas.topics import STITCHED, topic_name
from schemas.touchpoint import REPEATING, Body, View, decode_body
from state.profile import Contact, OpenExample, Park, Profile, Timer, pack

log = logging.getLogger(__name__)

#: How often a record may be forwarded along aliases. Registers with versions make longer chains impossible but
#: for changes that are still on their way.
MAX_HOPS = 8

#: Bodies remembered where they repeat.
CACHED = 20_000

_repeated = lru_cache(CACHED)(decode_body)
_events = msgspec.json.Decoder(Event)
_gists = msgspec.json.Decoder(Gist)
_handover = msgspec.msgpack.Decoder(tuple[Profile, list[OpenExample]])


def _body(event: Event | Gist) -> Body | None:
    """The typed body, shared and not to be changed; None for a type this version does not know."""
    return _repeated(event.type, bytes(event.data)) if event.type in REPEATING else decode_body(event.type, event.data)


class Engage:
    """The rules of one deployment. ``models`` holds the loaded models by hash."""

    def __init__(self, config: Config, models: Mapping[str, Model]) -> None:
        self._config = config
        self._shards = config.topics.shards
        self._stitched = topic_name(config, STITCHED)
        self._changes = topic_name(config, "identity.changes")
        self._book = PlayBook(config.plays)
        self._decider = Decider(config, self._book)
        self._scorer = scoring.Scorer(config, models)
        self._handlers: dict[type, Callable[..., None]] = {
            Gist: self._event,
            Event: self._event,  # whoever has the whole of it may apply that
            Change: self._change,
            Absorb: self._absorb,
            Control: self._control,
        }

    def apply(self, shard: Shard, record: stitched.Record, raw: bytes) -> None:
        """Apply one record, ticks aside. Its customer's profile has been loaded."""
        state = shard.state
        if record.at > state.at:
            state.at = record.at
        self._handlers[type(record)](shard, record, raw)

    def tick(self, shard: Shard, record: Tick) -> list[str]:
        """Advance the clock; the customers whose timers fire now. Load them, then call `fire` for each."""
        shard.state.at = max(shard.state.at, record.at)
        return shard.timers.due(record.watermark, self._config.limits.timers_per_tick)

    def fire(self, shard: Shard, customer: str, watermark: int) -> None:
        """Fire all timers of one customer that are due at ``watermark``."""
        profile = shard.profile(customer)
        if any(park.until <= watermark for park in profile.parks):
            self._give_up_waiting(shard, profile)
        elif not profile.parks:
            for timer in sorted((each for each in profile.timers if each.due <= watermark), key=_by_due):
                fold.set_timer(profile, timer.kind, timer.key, None)
                if timer.kind == "cart":
                    self._cart_timer(shard, profile, timer.key)
                else:
                    self._score_timer(shard, profile, timer.kind, timer.due)
        self._schedule(shard, profile)

    # -- events ------------------------------------------------------------------------------------------

    def _event(self, shard: Shard, event: Event | Gist, raw: bytes) -> None:
        profile = shard.profile(event.customer)
        if profile.alias and event.hops < MAX_HOPS:
            self._forward_event(shard, raw, profile.alias)
            return
        if profile.parks and self._park(shard, profile, raw):
            return
        self._touch(shard, profile, event)
        self._schedule(shard, profile)

    def _touch(self, shard: Shard, profile: Profile, event: Event | Gist) -> None:
        """One touchpoint of a customer who is who he is: the heart of it all."""
        if fold.seen(profile, event.eid):
            shard.count("duplicates")
            return
        shard.count("applied")
        body = _body(event)
        fold.fold(profile, event, body, self._book)
        if body is not None:
            self._wake(shard, profile, event, body)

    def _wake(self, shard: Shard, profile: Profile, event: Event | Gist, body: Body) -> None:
        """The plays and scores that this type of touchpoint can start."""
        fresh = event.at - event.time <= self._book.start_within
        if event.type == "Signed Up" and fresh:
            candidate = Candidate(self._book.welcome, "signup", "1", event.eid, event.time, event.ts, {})
            self._decider.decide(shard, profile, candidate)
        elif isinstance(body, View) and fresh:
            self._viewed(shard, profile, event, body)
        elif event.type == "Order Completed":
            self._score(shard, profile, event.time, warn=fresh)
            if all(timer.kind != "grid" for timer in profile.timers):
                scoring.schedule_grid(profile, shard.state.at, self._config.churn)

    def _viewed(self, shard: Shard, profile: Profile, event: Event | Gist, body: View) -> None:
        sku = body.product.sku
        since = event.time - self._book.view_window
        views = len([time for seen, time in profile.views if seen == sku and time > since])
        if views >= self._book.views:
            profile.views = [view for view in profile.views if view[0] != sku]
            values: dict[str, str | int | float] = {"sku": sku, "views": views}
            candidate = Candidate(self._book.repeat_view, sku, event.eid, event.eid, event.time, event.ts, values)
            self._decider.decide(shard, profile, candidate)

    # -- timers and scores -------------------------------------------------------------------------------

    def _cart_timer(self, shard: Shard, profile: Profile, cart_id: str) -> None:
        cart = profile.carts.pop(cart_id, None)
        if cart is not None:
            values: dict[str, str | int | float] = {"value": cart.value / 100}
            book, time = self._book, cart.time
            candidate = Candidate(book.cart_abandoned, cart_id, str(time), cart.touchpoint, time, 0, values)
            self._decider.decide(shard, profile, candidate)

    def _score_timer(self, shard: Shard, profile: Profile, kind: str, due: int) -> None:
        churn = self._config.churn
        examples = shard.open_examples(profile.customer)
        if kind == "label":
            self._scorer.mature(shard, profile, examples, due)
        else:
            # As of now, not of the grid point: what has happened since is in the profile and would tell the label.
            self._score(shard, profile, shard.state.at, warn=True, examples=examples)
            scoring.schedule_grid(profile, shard.state.at, churn)
        scoring.schedule_label(profile, examples, churn)

    def _score(
        self, shard: Shard, profile: Profile, time: int, *, warn: bool, examples: list[OpenExample] | None = None
    ) -> None:
        before = profile.band
        score = self._scorer.score(shard, profile, time, examples)
        if warn and score.band == "high" and before in ("low", "medium"):
            book, woken = self._book, f"score:{time}"
            candidate = Candidate(book.churn_warning, "churn", str(time), woken, time, 0, {}, score.probability)
            self._decider.decide(shard, profile, candidate)

    def _schedule(self, shard: Shard, profile: Profile) -> None:
        """Tell the index the customer's earliest timer, if it moved."""
        due: int | None = None
        if profile.parks:
            due = min([park.until for park in profile.parks])
        elif profile.timers:
            due = min([timer.due for timer in profile.timers])
        if due != profile.due:
            profile.due = due
            shard.timers.set(profile.customer, due)

    # -- identity ----------------------------------------------------------------------------------------

    def _change(self, shard: Shard, change: Change, raw: bytes) -> None:
        profile = shard.profile(change.customer)
        if change.kind != "merged":
            self._regroup(shard, profile, change)
        elif change.customer == change.old:
            self._hand_over(shard, profile, change)
        else:
            self._expect(shard, profile, change)
        # By its name: a hand-over has put an alias in the profile's place.
        self._schedule(shard, shard.profile(change.customer))

    def _regroup(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Identifiers joined or left. Changes arrive at least once, and late again when other ones have followed, so
        each is known by its id."""
        if change.id in profile.changes:
            return
        profile.changes = [*profile.changes, change.id][-join.KEPT_CHANGES :]
        if change.customer == change.old:
            gone = set(change.ids)
            profile.ids = [token for token in profile.ids if token not in gone]
            profile.contacts = {ns: known for ns, known in profile.contacts.items() if known.token not in gone}
        else:
            self._linked(shard, profile, change)

    def _linked(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Identifiers joined; what is no news to this profile is not published."""
        if profile.alias and not _revive(profile, change.version):
            return
        joined = [token for token in change.ids if token not in profile.ids]
        if not joined:
            return
        profile.ids = [*profile.ids, *joined][: join.KEPT_IDS]
        for contact in change.contacts:
            known = profile.contacts.get(contact.ns)
            if known is None or contact.time >= known.time:
                profile.contacts[contact.ns] = Contact(contact.kid, contact.sealed, contact.time, contact.token)
        self._publish_change(shard, change)

    def _hand_over(self, shard: Shard, profile: Profile, change: Change) -> None:
        """This customer was merged into another: set the alias and send all there is, even if it is nothing."""
        new, fresh = change.new or "", change.version > profile.alias_version
        state, examples = Profile(profile.customer), list[OpenExample]()
        if fresh and not profile.alias:
            state, examples = profile, shard.open_examples(profile.customer)
        parked, state.parked = state.parked, []
        packed = b64encode(pack((state, examples))).decode()
        self._send(shard, Absorb(shard.state.at, new, profile.customer, change.id, change.version, packed))
        if not fresh:
            return
        for raw in parked:
            self._forward_event(shard, raw, new)
        examples.clear()
        shard.profiles[profile.customer] = Profile(profile.customer, new, change.version, due=profile.due)
        if profile.alias != new:
            # After Redis has forgotten a merge it is told again; that changes nothing.
            self._publish_change(shard, change)

    def _expect(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Another customer was merged into this one: wait for what it hands over."""
        if profile.alias and not _revive(profile, change.version):
            return
        if change.id not in profile.absorbed and all(park.change != change.id for park in profile.parks):
            until = shard.state.at + self._config.limits.park_seconds * 1000
            profile.parks.append(Park(change.id, until))

    def _absorb(self, shard: Shard, absorb: Absorb, raw: bytes) -> None:
        profile = shard.profile(absorb.customer)
        if profile.alias and absorb.hops < MAX_HOPS:
            self._forward(shard, msgspec.structs.replace(absorb, customer=profile.alias, hops=absorb.hops + 1))
            return
        if absorb.change not in profile.absorbed:
            other, examples = _handover.decode(b64decode(absorb.profile))
            join.absorb(profile, other)
            mine = shard.open_examples(profile.customer)
            examples += mine
            mine[:] = sorted(examples, key=lambda each: (each.time, each.customer))[-scoring.OPEN_EXAMPLES :]
            profile.absorbed = [*profile.absorbed, absorb.change][-join.KEPT_CHANGES :]
            scoring.schedule_label(profile, mine, self._config.churn)
            scoring.schedule_grid(profile, shard.state.at, self._config.churn)
            shard.count("absorbed")
        # Those that the other was still waiting for have come along; some may have arrived here before it.
        profile.parks = [park for park in profile.parks if park.change not in profile.absorbed]
        if not profile.parks:
            self._resume(shard, profile)
        self._schedule(shard, profile)

    def _park(self, shard: Shard, profile: Profile, raw: bytes) -> bool:
        """Keep a record until the hand-over has come; False if waiting took too long or too much."""
        limits = self._config.limits
        late = min(park.until for park in profile.parks) <= shard.state.at
        if late or len(profile.parked) >= limits.park_records:
            self._give_up_waiting(shard, profile)
            return False
        profile.parked.append(raw)
        return True

    def _give_up_waiting(self, shard: Shard, profile: Profile) -> None:
        shard.count("park_timeouts")
        log.warning("a merged customer goes on without its hand-over", extra={"shard": shard.number})
        profile.parks = []
        self._resume(shard, profile)

    def _resume(self, shard: Shard, profile: Profile) -> None:
        """What was parked now happens, in order."""
        parked, profile.parked = profile.parked, []
        for raw in parked:
            self._touch(shard, profile, _gists.decode(raw))

    # -- control and output ------------------------------------------------------------------------------

    def _control(self, shard: Shard, control: Control, raw: bytes) -> None:
        if control.what == "model":
            shard.state.models[control.key] = control.hash
            shard.count("activations")

    def _publish_change(self, shard: Shard, change: Change) -> None:
        merged = change.kind == "merged"
        customer = change.new if merged and change.new else change.customer
        published = outputs.IdentityChange(
            id=change.id,
            kind=change.kind,
            customer=customer,
            version=change.version,
            time=change.time,
            at=shard.state.at,
            ids=change.ids,
            old=change.old,
            touchpoint=change.touchpoint,
            policy=change.policy,
        )
        shard.count(f"identity_{change.kind}")
        key = change.old if merged and change.old else change.customer
        shard.emit(self._changes, -1, key, stitched.encode(published))

    def _forward_event(self, shard: Shard, raw: bytes, customer: str) -> None:
        shard.count("forwarded")
        event = _events.decode(raw)
        self._forward(shard, msgspec.structs.replace(event, customer=customer, hops=event.hops + 1))

    def _forward(self, shard: Shard, record: Event | Change | Absorb) -> None:
        """Send a record on to the shard of its customer's successor, stamped with this shard's clock."""
        self._send(shard, msgspec.structs.replace(record, at=shard.state.at))

    def _send(self, shard: Shard, record: Event | Change | Absorb) -> None:
        partition = shard_of(record.customer, self._shards)
        shard.emit(self._stitched, partition, record.customer, stitched.encode(record))


def _by_due(timer: Timer) -> tuple[int, str, str]:
    return timer.due, timer.kind, timer.key


def _revive(profile: Profile, version: int) -> bool:
    """Whether a change names this alias as a customer who lives again: then the register points to itself."""
    if version <= profile.alias_version:
        return False
    profile.alias, profile.alias_version = "", version
    return True
