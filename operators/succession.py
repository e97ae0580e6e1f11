"""Who is whose successor, as a shard sees it: identifiers that join and leave, hand-overs, splits, erasures.

A merge of ``old`` into ``new``: the shard of ``old`` writes the alias and hands everything over as one `Absorb`
(always, even if it is nothing); the shard of ``new`` parks what comes for it until that has been folded in. A split
goes the same way back: the shard of ``old`` hands over the parts that leave, the shard of ``new`` waits for them.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable

import msgspec

from operators import fold, join, parts, scoring, segments, tally
from operators.changes import AGAIN, CREATED, ERASED, EXPIRED, MERGED, MOVED, QUARANTINED, REFUSED, SPLIT_OFF
from operators.identity_outputs import IdentityOutputs
from operators.outcomes import Outcomes
from operators.plays import DAY
from operators.shard import Shard
from schemas import stitched
from schemas.config import Config
from schemas.stitched import Absorb, Change, Event, Gist, shard_of
from schemas.topics import STITCHED, topic_name
from state.profile import Contact, HandOver, OpenExample, Park, Part, Profile, copy, pack, unpack_handover

log = logging.getLogger(__name__)

#: How often a record may be forwarded along aliases. Registers with versions make longer chains impossible but
#: for changes that are still on their way.
MAX_HOPS = 8
#: Ends the id of the change under which a part is handed over that came only when it should have been gone.
LATE = "+"
#: Timers that follow from the rest of a profile.
_DERIVED = frozenset(("grid", "label", "undo"))

_events = msgspec.json.Decoder(Event)
_gists = msgspec.json.Decoder(Gist)


class Succession:
    """Applies identity changes and hand-overs. ``touch`` folds a touchpoint into the profile of its customer."""

    def __init__(self, config: Config, touch: Callable[[Shard, Profile, Gist, bytes], None]) -> None:
        self._config = config
        self._touch = touch
        self._shards = config.topics.shards
        self._undo_ms = config.identity.undo_days * DAY
        self._stitched = topic_name(config, STITCHED)
        self._outputs = IdentityOutputs(config)
        self._goals = Outcomes(config)
        self._segments = segments.Segments(config)

    def change(self, shard: Shard, change: Change) -> None:
        """Apply an identity change. Changes arrive at least once, and late again when others have followed."""
        profile, leaves = shard.profile(change.customer), change.customer == change.old
        if change.kind == ERASED:
            self._erase(shard, profile, change)
        elif change.kind == EXPIRED:
            self._expire(shard, profile, change)
        elif change.kind == MERGED:
            self._hand_over(shard, profile, change) if leaves else self._expect(shard, profile, change)
        elif change.id not in profile.changes and not profile.erased and change.version >= profile.alias_version:
            profile.changes = [*profile.changes, change.id][-join.KEPT_CHANGES :]
            if leaves:
                self._leave(shard, profile, change)
            elif change.kind == REFUSED:
                self._outputs.change(shard, change)
            else:
                self._linked(shard, profile, change)
                if change.kind == SPLIT_OFF:
                    self._expect(shard, profile, change)

    # -- identifiers join and leave --------------------------------------------------------------------------

    def _linked(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Identifiers joined; what is no news to this profile is not published."""
        if profile.alias and not self._revive(shard, profile, change.version):
            return
        news = join.newer(profile, change.ids, change.version)
        joined = [token for token in news if token not in profile.ids]
        if change.old:
            join.note(profile, news, change.version)
        profile.keys = join.with_keys(profile, change.keys)
        first = change.kind == CREATED and len(profile.changes) == 1
        # What comes from another has been there, even if it never left here, since Redis forgot that it did.
        came = news and change.old and change.why != AGAIN
        if not joined and not first and not came:
            return
        profile.ids = [*profile.ids, *joined][: join.KEPT_IDS]
        for contact in change.contacts:
            known = profile.contacts.get(contact.ns)
            if known is None or contact.time >= known.time:
                # An address that messages bounce from stays one, also if it is told of again.
                bounced = known.bounced if known is not None and known.token == contact.token else 0
                new = Contact(contact.kid, contact.sealed, contact.time, contact.token, bounced)
                profile.contacts[contact.ns] = new
        self._outputs.change(shard, change)

    def _leave(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Identifiers left; with them goes what only they have brought, if that is known and has come."""
        gone = set(join.newer(profile, change.ids, change.version))
        join.note(profile, gone, change.version)
        profile.ids = [token for token in profile.ids if token not in gone]
        profile.contacts = {ns: known for ns, known in profile.contacts.items() if known.token not in gone}
        self._let_go(shard, profile, change)
        if profile.parks and change.kind != QUARANTINED:
            late = msgspec.structs.replace(change, id=change.id + LATE, kind=MOVED)
            profile.leaving.append((len(profile.parked), late))

    def _let_go(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Hand over the parts that left; of a split, whose other side waits, also if there are none."""
        gone = set(change.ids).difference(profile.ids)
        leaving = self._take_out(shard, profile, gone) if profile.parted and change.kind != QUARANTINED else []
        examples = self._part_with(shard, profile, leaving, gone) if leaving else []
        if leaving or change.kind == SPLIT_OFF:
            handed = HandOver(parts.whole(leaving) if leaving else Profile(profile.customer), examples)
            # Which identifiers go the change itself says.
            handed.profile.ids, handed.profile.moves = [], {}
            handed.profile.segments, handed.profile.judged = segments.untold(profile), profile.judged
            handed.profile.unsettled = segments.SPLIT
            if len(leaving) > 1:
                handed.parts, handed.until = leaving, leaving[0].until
            self._absorb_by(shard, change, handed)

    def _take_out(self, shard: Shard, profile: Profile, gone: set[str]) -> list[Part]:
        kept = shard.kept_parts(profile.customer)
        parts.expire(kept, shard.state.at)
        until = max([part.until for part in kept])
        leaving = parts.take_out(kept, gone)
        for part in leaving:
            part.until = part.until or until
        return leaving

    def _part_with(self, shard: Shard, profile: Profile, leaving: list[Part], gone: set[str]) -> list[OpenExample]:
        """Make a customer anew without the parts that leave, in place; their open examples."""
        left = parts.without(profile, shard.kept_parts(profile.customer), leaving, gone)
        for field in Profile.__struct_fields__:
            setattr(profile, field, getattr(left, field))
        profile.unsettled = segments.SPLIT
        names = {part.profile.customer for part in leaving}
        mine = shard.open_examples(profile.customer)
        scoring.forget_spent(mine)
        theirs = [each for each in mine if each.customer in names]
        mine[:] = [each for each in mine if each.customer not in names]
        self._derive(shard, profile)
        self._keep(shard, profile)
        return theirs

    def _derive(self, shard: Shard, profile: Profile) -> None:
        """The timers that follow from the rest."""
        profile.timers = [timer for timer in profile.timers if timer.kind not in _DERIVED]
        scoring.schedule_label(profile, shard.open_examples(profile.customer), self._config.churn)
        scoring.schedule_grid(profile, shard.state.at, self._config.churn)

    def _keep(self, shard: Shard, profile: Profile) -> None:
        """Note how long parts are kept, if there are several."""
        kept = shard.kept_parts(profile.customer)
        if len(kept) < 2:
            kept.clear()
        profile.parted = max([part.until for part in kept], default=0)
        fold.set_timer(profile, "undo", "", profile.parted or None)

    # -- hand-overs ------------------------------------------------------------------------------------------

    def _hand_over(self, shard: Shard, profile: Profile, change: Change) -> None:
        """This customer was merged into another: set the alias and send all there is, even if it is nothing."""
        new, fresh = change.new or "", change.version > profile.alias_version and not profile.erased
        handed = HandOver(Profile(profile.customer))
        if fresh and not profile.alias:
            kept = shard.kept_parts(profile.customer) if profile.parted else []
            until = shard.state.at + self._undo_ms if self._undo_ms else 0
            handed = HandOver(profile, shard.open_examples(profile.customer), kept, until)
            self._segments.withdraw(shard, profile, segments.MERGE)
            tally.withdraw(shard, profile)
        parked, handed.profile.parked = handed.profile.parked, []
        handed.profile.leaving = [(0, left) for _, left in handed.profile.leaving]
        self._absorb_by(shard, change, handed)
        if not fresh:
            return
        for raw in parked:
            self.forward_event(shard, raw, new)
        handed.examples.clear()
        handed.parts.clear()
        shard.count("customers", 0 if profile.alias else -1)
        lives = _ended(profile) if profile.alias and profile.alias != new else profile.lives
        shard.profiles[profile.customer] = Profile(profile.customer, new, change.version, due=profile.due, lives=lives)
        if profile.alias != new:
            # After Redis has forgotten a merge it is told again; that changes nothing.
            self._outputs.change(shard, change)
            self._outputs.alias(shard, profile.customer, new, change.version)

    def _absorb_by(self, shard: Shard, change: Change, handed: HandOver) -> None:
        """Send a hand-over to the other side of a change."""
        packed = b64encode(pack(handed)).decode()
        old = change.old or ""
        self._send(shard, Absorb(shard.state.at, change.new or "", old, change.id, change.version, packed))

    def _expect(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Another customer's state, or a part of it, is to come: wait for it."""
        if profile.erased or change.version < profile.alias_version:
            return
        if profile.alias and not self._revive(shard, profile, change.version):
            return
        if change.id not in profile.absorbed and all(park.change != change.id for park in profile.parks):
            until = shard.state.at + self._config.limits.park_seconds * 1000
            profile.parks.append(Park(change.id, until))

    def absorb(self, shard: Shard, absorb: Absorb) -> None:
        """Fold in what another customer hands over."""
        profile = shard.profile(absorb.customer)
        end, heir = _end(profile, absorb.version)
        if heir and absorb.hops < MAX_HOPS:
            # It belongs to what was handed over then.
            version = max(end, absorb.version)
            self._forward(shard, msgspec.structs.replace(absorb, customer=heir, version=version, hops=absorb.hops + 1))
            return
        if profile.erased:
            _forget_goals(shard, unpack_handover(b64decode(absorb.profile)).profile)
        elif absorb.change not in profile.absorbed:
            self._fold_in(shard, profile, unpack_handover(b64decode(absorb.profile)))
            profile.absorbed = [*profile.absorbed, absorb.change][-join.KEPT_CHANGES :]
            shard.count("absorbed")
        # Those that the other was still waiting for have come along; some may have arrived here before it.
        profile.parks = [park for park in profile.parks if park.change not in profile.absorbed]
        if not profile.parks:
            self.resume(shard, profile)

    def _fold_in(self, shard: Shard, profile: Profile, other: HandOver) -> None:
        if other.until:
            kept = shard.kept_parts(profile.customer)
            parts.expire(kept, shard.state.at)
            parts.add(kept, profile, other)
        elif profile.parted:
            join.absorb(shard.kept_parts(profile.customer)[0].profile, copy(other.profile))
        unsettled = other.profile.unsettled or segments.MERGE
        join.absorb(profile, other.profile)
        profile.unsettled = unsettled
        mine = shard.open_examples(profile.customer)
        both = [*other.examples, *mine]
        mine[:] = sorted(both, key=lambda each: (each.time, each.customer))[-scoring.OPEN_EXAMPLES :]
        scoring.forget_spent(mine)
        self._derive(shard, profile)
        self._goals.make_room(shard, profile)
        if other.until or profile.parted:
            self._keep(shard, profile)

    def park(self, shard: Shard, profile: Profile, raw: bytes) -> bool:
        """Keep a record until the hand-over has come; False if waiting took too long or too much."""
        limits = self._config.limits
        late = min(park.until for park in profile.parks) <= shard.state.at
        if late or len(profile.parked) >= limits.park_records:
            self.give_up_waiting(shard, profile)
            return False
        profile.parked.append(raw)
        return True

    def give_up_waiting(self, shard: Shard, profile: Profile) -> None:
        """Go on without the hand-over."""
        shard.count("park_timeouts")
        log.warning("a merged customer goes on without its hand-over", extra={"shard": shard.number})
        profile.parks = []
        self.resume(shard, profile)

    def resume(self, shard: Shard, profile: Profile) -> None:
        """What was parked now happens, in order, and what should have left in between goes."""
        parked, profile.parked = profile.parked, []
        leaving, profile.leaving = profile.leaving, []
        done = 0
        for place, change in leaving:
            for raw in parked[done:place]:
                self._touch(shard, profile, _gists.decode(raw), raw)
            self._let_go(shard, profile, change)
            done = max(done, place)
        for raw in parked[done:]:
            self._touch(shard, profile, _gists.decode(raw), raw)

    def forget_parts(self, shard: Shard, profile: Profile) -> None:
        """Nothing can be undone any more."""
        shard.kept_parts(profile.customer).clear()
        profile.parted = 0

    # -- erasure ---------------------------------------------------------------------------------------------

    def _erase(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Forget all there is; what is still on its way for this customer will find nobody."""
        if profile.erased:
            return
        customer = profile.customer
        counts = {
            "identifiers": len(change.ids),
            "contacts": len(profile.contacts),
            "carts": len(profile.carts),
            "decisions": len(profile.decided),
            "timers": len(profile.timers),
            "open_goals": len(profile.goals),
            "open_examples": len(shard.open_examples(customer)),
            "waiting_touchpoints": len(profile.parked),
            "data_keys": len(_keys(profile, change)),
        }
        self._withdraw(shard, profile, change, segments.ERASED)
        shard.profiles[customer] = Profile(customer, erased=change.time, due=profile.due)
        self._outputs.change(shard, msgspec.structs.replace(change, ids=[]))
        self._outputs.alias(shard, customer, "", change.version, change.time)
        self._outputs.receipt(shard, change, counts)

    def _expire(self, shard: Shard, profile: Profile, change: Change) -> None:
        """Forget who has been silent for long, but for whoever has come back, or is told of once more."""
        if profile.alias or profile.erased or profile.touched > change.time:
            return
        if profile.ids:
            self._outputs.change(shard, change)
        self._withdraw(shard, profile, change, segments.EXPIRED)
        shard.forget(profile.customer)

    def _withdraw(self, shard: Shard, profile: Profile, change: Change, why: str) -> None:
        """Take a customer who is to be forgotten out of everything it is counted in, and destroy its data keys: stitch
        knows and destroys the latest; of those that it made before Redis forgot them only the log has told."""
        for kid in sorted(_keys(profile, change).difference(change.keys)):
            self._outputs.destroy(shard, kid)
        self._segments.withdraw(shard, profile, why)
        tally.withdraw(shard, profile)
        shard.count("erased", len(profile.parked))
        shard.count("customers", 0 if profile.alias else -1)
        _forget_goals(shard, profile)
        shard.open_examples(profile.customer).clear()
        self.forget_parts(shard, profile)

    # -- out -------------------------------------------------------------------------------------------------

    def _revive(self, shard: Shard, profile: Profile, version: int) -> bool:
        """Whether a change names this alias as a customer who lives again: then the register points to itself."""
        if version <= profile.alias_version:
            return False
        shard.count("customers")
        profile.lives = _ended(profile)
        profile.alias, profile.alias_version = "", version
        self._outputs.alias(shard, profile.customer, profile.customer, version)
        return True

    def forward_event(self, shard: Shard, raw: bytes, customer: str) -> None:
        """Send a touchpoint on to the successor of its customer."""
        shard.count("forwarded")
        event = _events.decode(raw)
        self._forward(shard, msgspec.structs.replace(event, customer=customer, hops=event.hops + 1))

    def _forward(self, shard: Shard, record: Event | Absorb) -> None:
        """Send a record on to the shard of its customer's successor, stamped with this shard's clock."""
        self._send(shard, msgspec.structs.replace(record, at=shard.state.at))

    def _send(self, shard: Shard, record: Event | Absorb) -> None:
        partition = shard_of(record.customer, self._shards)
        shard.emit(self._stitched, partition, record.customer, stitched.encode(record))


def _keys(profile: Profile, change: Change) -> set[str]:
    """The data keys that go with a customer."""
    return {*change.keys, *[join.kid_of(profile.customer, key) for key in profile.keys]}


def _forget_goals(shard: Shard, profile: Profile) -> None:
    """What would have come of an erased customer's decisions nobody will know."""
    for goal in profile.goals:
        shard.count(f"outcome/{goal.play}/erased")


def _ended(alias: Profile) -> list[tuple[int, str]]:
    """The lives of an id, the last of which ended when it became this alias."""
    return [*alias.lives, (alias.alias_version, alias.alias)][-join.KEPT_LIVES :]


def _end(profile: Profile, version: int) -> tuple[int, str]:
    """When the life ended that this id had at ``version``, and who got all it had and waits for what it still waited
    for; nobody if it lives. An id that comes back has nothing of its former lives."""
    return next((life for life in profile.lives if life[0] > version), (profile.alias_version, profile.alias))
