"""From a candidate to what is written: the decision, and the trigger if it is emitted."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from operators import governance
from operators.governance import Verdict
from operators.plays import Candidate, PlayBook
from operators.shard import Shard
from operators.uuids import uuid5_text
from schemas import outputs, stitched
from schemas.config import Config
from schemas.stitched import EVERY
from schemas.topics import topic_name
from state.profile import Profile

#: Namespace of decision ids.
DECISIONS = UUID("5f1d7c0e-7f0a-5b7e-9a53-1c0c6d0a7e11")


def decision_id(candidate: Candidate, customer: str) -> str:
    """UUIDv5 of play, customer (in which of its lives), business key and occurrence: the same decision always has the
    same id."""
    parts = (candidate.play.name, customer, candidate.business_key, candidate.occurrence)
    return uuid5_text(DECISIONS, "\x1f".join(parts))


def rfc3339(ms: int) -> str:
    """UTC time with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Decider:
    """Takes decisions and writes them: every one to ``decisions``, emitted ones to ``triggers`` as well."""

    def __init__(self, config: Config) -> None:
        self._source = f"touchstream/{config.prefix}"
        self._triggers = topic_name(config, "triggers")
        self._decisions = topic_name(config, "decisions")

    def decide(
        self, shard: Shard, profile: Profile, candidate: Candidate, book: PlayBook, code: str | None = None
    ) -> None:
        """Decide on ``candidate`` now, the shard's clock. All parts of the customer remember it: whichever leaves, what
        was sent in this name counts on both sides. ``code``: it is stopped with this anyway."""
        at, customer = shard.state.at, profile.customer
        known_id = own_id = decision_id(candidate, customer)
        if profile.lives:  # what was decided before this id came back went elsewhere
            own_id = decision_id(candidate, f"{customer}@{profile.alias_version}")
        if code is None and not {candidate.play.name, EVERY}.isdisjoint(shard.state.paused):
            code = "paused"
        verdict = Verdict(code) if code else governance.decide(candidate, known_id, profile, at, book)
        kept = shard.kept_parts(customer) if profile.parted else []
        for each in (profile, *[part.profile for part in kept]):
            governance.record(candidate, known_id, verdict, each, at, book)
        decision = outputs.Decision(
            id=own_id,
            play=candidate.play.name,
            play_version=book.version,
            customer=profile.customer,
            outcome="stopped" if verdict.code else "emitted",
            at=at,
            business_key=candidate.business_key,
            touchpoint=candidate.touchpoint,
            code=verdict.code,
            channel=verdict.channel,
        )
        shard.emit(self._decisions, -1, profile.customer, stitched.encode(decision))
        shard.count(f"decision/{candidate.play.name}/{verdict.code or 'emitted'}")
        if verdict.code is None:
            trigger = self._trigger(profile, candidate, own_id, verdict, at, book.version)
            shard.emit(self._triggers, -1, profile.customer, stitched.encode(trigger))
            if candidate.ts:
                shard.started.append(candidate.ts)

    def _trigger(
        self, profile: Profile, candidate: Candidate, own_id: str, verdict: Verdict, at: int, version: str
    ) -> outputs.Trigger:
        contact = profile.contacts[verdict.namespace or ""]
        return outputs.Trigger(
            id=own_id,
            source=self._source,
            type=f"touchstream.trigger.{candidate.play.name}",
            subject=profile.customer,
            time=rfc3339(at),
            data=outputs.TriggerData(
                play=candidate.play.name,
                play_version=version,
                customer=profile.customer,
                channel=verdict.channel or "",
                business_key=candidate.business_key,
                touchpoint=candidate.touchpoint,
                touchpoint_time=candidate.time,
                touchpoint_ts=candidate.ts,
                decided_at=at,
                contact=[verdict.namespace or "", contact.kid, contact.sealed],
                values=candidate.values,
                score=candidate.score,
            ),
        )
