"""One customer's story for whoever asks: masked, or in the clear for a purpose that is on record before.

Routes and pages both go through this; nothing else in the service opens a personal value.
"""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Final

import redis

from flows.contents import Contents
from flows.identity_export import Keys
from flows.identity_lookup import Lookup
from flows.identity_show import Shown, short, tell
from flows.web import answers
from flows.web.access import Refusal, Who
from flows.web.audit import Auditor
from flows.web.limits import Limit
from flows.web.masking import mask, mask_check
from flows.why import Line, Standing, Told, Why
from operators.playbook import PlayBook
from schemas.config import Config
from schemas.errors import NoCustomer
from schemas.topics import PLAYS
from state.identity import Cluster
from state.profile import Profile

#: So many read topics at once to say why; others are told to come again.
MOST_WHY: Final = 4


class People:
    """Blocks on Redis and Kafka; to be shared by threads. Raises `NoCustomer`, `Refusal` and what these raise."""

    def __init__(self, config: Config, client: redis.Redis, auditor: Auditor) -> None:
        self._config, self._redis, self._auditor = config, client, auditor
        self._lookup = Lookup(config, client)
        self._books = Contents(config, PLAYS, PlayBook.from_bytes)
        self._looks = Limit(config.dashboard.looks_per_minute)
        self._whys = BoundedSemaphore(MOST_WHY)

    def customer(self, who: Who, subject: str, purpose: str | None = None) -> answers.Customer:
        """A customer, by id or ``namespace:value``; in the clear with a ``purpose``, for agents and above."""
        meant, held = self._lookup.seen(subject)
        shown = tell(self._lookup, meant, held, "this customer", short(meant.token))
        profile = meant.profile
        if profile is None or profile.customer != shown.customer:
            profile = self._lookup.own(shown.customer)
        clear = self._unmasks(who, profile.customer, purpose, "customer")
        return _customer(shown, profile, self._contacts(held.cluster, profile, clear=clear), clear=clear)

    def decisions(self, subject: str) -> answers.Decisions:
        """The latest decisions on a customer; nothing in them is personal."""
        profile = self._profile(self._why(), subject)
        return answers.Decisions(profile.customer, _last(profile))

    def why(
        self, who: Who, subject: str, *, play: str | None, decision: str | None, purpose: str | None = None
    ) -> answers.WhyAnswer:
        """Why a decision on a customer came out so, by its id; or the latest of a play, or how that stands with it.
        Neither given: the latest of all. Raises `flows.why.Overdue` where topics are too long for the time there is."""
        asked = self._why()
        profile = self._profile(asked, subject)
        known = {each.id: each.at for each in profile.decided}
        if play is None:
            decision = decision or next(reversed(known), None)
            if decision is None:
                raise NoCustomer("nothing was decided on this customer")
        if not self._whys.acquire(blocking=False):
            raise Refusal(503, "busy", **{"retry-after": "5"})
        try:
            found = asked.play(profile, play) if play else asked.decision(decision or "", known.get(decision or ""))
        finally:
            self._whys.release()
        # Another's decision is not told by way of this customer.
        if isinstance(found, Told) and not _concerns(found, profile):
            raise NoCustomer("no such decision on this customer")
        clear = self._unmasks(who, profile.customer, purpose, "why")
        return _explained(found, profile.customer, clear=clear)

    def _why(self) -> Why:
        seconds = self._config.dashboard.why_seconds
        return Why(self._config, self._redis, seconds=seconds, lookup=self._lookup, books=self._books)

    def _profile(self, asked: Why, subject: str) -> Profile:
        profile = asked.customer(subject)
        if profile is None:
            raise NoCustomer("no such customer")
        return profile

    def _unmasks(self, who: Who, customer: str, purpose: str | None, what: str) -> bool:
        """Whether values are shown in the clear. If so, that is on record when this returns."""
        if purpose is None:
            return False
        if not who.may("agent"):
            raise Refusal(403, "role")
        self._looks.take(who.token)
        self._auditor.record(who, "look", "shown", customers=[customer], reason=purpose, why=what)
        return True

    def _contacts(self, cluster: Cluster, profile: Profile, *, clear: bool) -> dict[str, str]:
        keys = Keys(self._config, cluster, profile.customer)
        opened = {name: keys.open(known.kid, known.sealed) for name, known in profile.contacts.items()}
        return opened if clear else {name: mask(name, value) for name, value in opened.items()}


def _customer(shown: Shown, profile: Profile, contacts: dict[str, str], *, clear: bool) -> answers.Customer:
    own = next(each for each in shown.people if each.customer == shown.customer)
    consent = [(*key.partition("/")[::2], *given) for key, given in sorted(profile.consent.items())]
    return answers.Customer(
        customer=profile.customer,
        masked=not clear,
        contacts=contacts,
        bounced=[name for name, known in profile.contacts.items() if known.bounced],
        consent=[answers.Consent(*each) for each in consent],
        standing=_standing(profile, clear=clear),
        identifiers=[answers.Identifier(each.rpartition(":")[0], each) for each in own.identifiers],
        links=shown.links,
        decided=shown.decisions,
        merged=profile.births,
        decisions=_last(profile),
    )


def _standing(profile: Profile, *, clear: bool) -> answers.Standing:
    did = profile.behaviour
    scored = answers.Churn(profile.score, profile.band, profile.scored_at) if profile.band else None
    held = [answers.Waiting(each.play, each.code, each.until) for each in profile.held]
    told = [profile.tier, profile.language, profile.timezone, profile.country, profile.birth_day]
    tier, language, timezone, country, birth_day = told if clear else [None] * len(told)
    journeys = [answers.Waiting(each.play, "journey", each.due) for each in profile.journeys]
    return answers.Standing(
        first_seen=did.first_seen,
        last_seen=did.last_seen,
        orders=did.orders,
        spent=did.spent / 100,
        returned=did.returned / 100,
        points=profile.points,
        tickets=profile.tickets,
        tier=tier,
        language=language,
        timezone=timezone,
        country=country,
        birth_day=birth_day,
        carts=[answers.Cart(each.time, each.value / 100) for each in profile.carts.values()],
        segments={name: abs(since) for name, since in profile.segments.items()},
        churn=scored,
        waiting=[*held, *journeys],
    )


def _last(profile: Profile) -> list[Line]:
    return [Line(each.id, each.at, each.play, each.code) for each in reversed(profile.decided)]


def _concerns(found: Told, profile: Profile) -> bool:
    known = {each.id for each in profile.decided}
    return found.decision.id in known or found.decision.customer in (profile.customer, *profile.births)


def _explained(found: Told | Standing, customer: str, *, clear: bool) -> answers.WhyAnswer:
    checks = found.checks if clear else [mask_check(each) for each in found.checks]
    if isinstance(found, Standing):
        return answers.WhyAnswer(customer, not clear, found.play, found.play_version, "waiting", found.at, checks)
    it = found.decision
    return answers.WhyAnswer(
        customer=customer,
        masked=not clear,
        play=it.play,
        play_version=it.play_version,
        outcome=it.outcome,
        at=it.at,
        checks=checks,
        id=it.id,
        code=it.code,
        channel=it.channel,
        variant=it.variant,
        until=it.until,
        about=it.business_key if clear else None,
        grounds=it.grounds if clear else None,
        touchpoint=found.happened,
        complete=found.complete,
    )
