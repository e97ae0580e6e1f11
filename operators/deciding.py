"""From a candidate to what is written: the decision, and the trigger if it is emitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from uuid import UUID

from operators import fold, governance, journeys, products, progress
from operators.chance import portion
from operators.consent import said
from operators.governance import Circumstances, Verdict
from operators.outcomes import Outcomes
from operators.playbook import PlayBook
from operators.plays import ERROR, EXIT, Candidate, Play, gone
from operators.shard import Shard, ShardState, arms_of
from operators.texts import rfc3339
from operators.uuids import uuid5_text
from schemas import outputs, stitched
from schemas.config import Config
from schemas.stitched import EVERY, Event, Gist
from schemas.topics import ALERTS, topic_name
from schemas.touchpoint import Body
from state.profile import Held, Journey, Profile

#: A play that could not be evaluated so often in a shard is paused there.
FAILURES = 5
#: Namespace of decision ids.
DECISIONS = UUID("5f1d7c0e-7f0a-5b7e-9a53-1c0c6d0a7e11")


def decision_id(candidate: Candidate, customer: str) -> str:
    """UUIDv5 of play, customer (in which of its lives), business key and occurrence: the same decision always has the
    same id."""
    parts = (candidate.play.name, customer, candidate.business_key, candidate.occurrence)
    return uuid5_text(DECISIONS, "\x1f".join(parts))


def _ids(candidate: Candidate, profile: Profile) -> tuple[str, str]:
    """The id of a decision in this customer's name, and the one that is published: what was decided before an id came
    back to life went elsewhere."""
    known = own = decision_id(candidate, profile.customer)
    if profile.lives:
        own = decision_id(candidate, f"{profile.customer}@{profile.alias_version}")
    return known, own


def _best_first(candidate: Candidate) -> tuple[int, float, str]:
    return -candidate.play.priority, -candidate.worth, candidate.play.name


def _traceparent(touchpoint: str, decision: str) -> str:
    """The trace of a touchpoint, the span of a decision."""
    trace = blake2b(touchpoint.encode(), digest_size=16).hexdigest()
    return f"00-{trace}-{decision.replace('-', '')[:16]}-01"


def _consent(play: Play, verdict: Verdict, profile: Profile) -> list[str | int]:
    """What proves that the message may be sent, if it has to be proven."""
    _, time = said(profile.consent, verdict.channel or "", play.purpose) or (False, 0)
    return [] if "consent" in play.skips else [play.purpose, time]


def budget_left(play: Play, shard: int, shards: int, state: ShardState) -> int | None:
    """Messages left of a shard's share of a play's budget."""
    if play.budget is None:
        return None
    messages, per = play.budget
    period, used = state.budgets.get(play.name, (0, 0))
    return portion(messages, shard, shards, play.name) - (used if period == state.at // per else 0)


def _taken(
    candidate: Candidate, ids: tuple[str, str], profile: Profile, given: Circumstances
) -> tuple[outputs.Grounds | None, Verdict]:
    """What governance says, and on which grounds."""
    try:
        known_id, own_id = ids
        rests = governance.grounds(candidate, known_id, profile, given)
        return rests, governance.decide(candidate.play, own_id, profile.customer, given.at, rests, given.book)
    except Exception:  # of whatever kind: it is the play's, not ours
        return None, Verdict(ERROR)


def _sealed(profile: Profile, namespace: str | None) -> outputs.Sealed | None:
    """The value of that namespace as triggers carry it, if there is one."""
    known = profile.contacts.get(namespace or "")
    return None if known is None else outputs.Sealed(namespace or "", known.kid, known.sealed)


class Decider:
    """Takes decisions and writes them: every one to ``decisions``, emitted ones to ``triggers`` as well."""

    def __init__(self, config: Config, books: Mapping[str, PlayBook]) -> None:
        self._books = books
        self._shards = config.topics.shards
        self._source = f"touchstream/{config.prefix}"
        self._number = config.identity.customer_number
        self._triggers = topic_name(config, "triggers")
        self._decisions = topic_name(config, "decisions")
        self._alerts = topic_name(config, ALERTS)
        self._outcomes = Outcomes(config)

    def decide(
        self, shard: Shard, profile: Profile, candidates: Sequence[Candidate], book: PlayBook
    ) -> list[tuple[str, str]]:
        """Decide on what was woken together, the best first: of a group one is chosen. Plays and outcomes."""
        chosen: dict[str, str] = {}
        outcomes = []
        for candidate in sorted(candidates, key=_best_first):
            play = candidate.play
            verdict = self._decide(shard, profile, candidate, book, chosen.get(play.group or "", ""))
            if play.group is not None and verdict.outcome in ("emitted", "held_out"):
                chosen[play.group] = play.name
            outcomes.append((play.name, verdict.outcome))
        return outcomes

    def release(
        self, shard: Shard, profile: Profile, held: Sequence[Held], book: PlayBook, stop: str | None = None
    ) -> None:
        """Decide anew, together, on what has waited long enough, or ``stop`` it."""
        ids, paused_at = {each.id for each in held}, shard.state.paused_at
        for known in shard.sides(profile):
            known.held = [each for each in known.held if each.id not in ids]
            known.decided = [each for each in known.decided if each.id not in ids]
        candidates = []
        for each in held:
            # Who was paused meanwhile is cancelled, also if it may speak again by now.
            paused = max(paused_at.get(each.play, -1), paused_at.get(EVERY, -1)) >= each.at
            candidates.append(
                Candidate(
                    self._play(each, book), each.key, each.occurrence, each.touchpoint, each.time, 0, each.values,
                    each.score, each.worth, each, "paused" if paused else stop, version=each.version,
                    reasons=each.reasons,
                )
            )  # fmt: skip
        self.decide(shard, profile, candidates, book)

    def exit(self, shard: Shard, profile: Profile, event: Event | Gist, body: Body | None, book: PlayBook) -> None:
        """End what a touchpoint ends: journeys, and messages that are held."""
        for journey in journeys.ended(profile, event, body, self._books):
            stopped = self._message(shard, profile, journey)._replace(stop=EXIT)
            journeys.move_on(shard.sides(profile), journey, self._books, shard.state.at, over=True)
            self.decide(shard, profile, [stopped], book)
        in_vain = [
            each for each in profile.held if journeys.ends(self._play(each, book).exit, each.key, profile, event, body)
        ]
        if in_vain:
            self.release(shard, profile, in_vain, book, EXIT)
            progress.follow(profile)

    def step(self, shard: Shard, profile: Profile, play: str, key: str, book: PlayBook) -> list[Candidate]:
        """The next message of a journey whose time has come."""
        journey = journeys.running(profile, play, key)
        if journey is None:
            return []
        said = self._message(shard, profile, journey)
        over = said.stop == EXIT or play not in book.plays
        journeys.move_on(shard.sides(profile), journey, self._books, shard.state.at, over=over)
        return [said]

    def _message(self, shard: Shard, profile: Profile, journey: Journey) -> Candidate:
        return journeys.message(profile, journey, self._books, shard.state.at)

    def _play(self, held: Held, book: PlayBook) -> Play:
        """The play of a message that waits; of a journey's, as it was when that began."""
        if held.version:
            return self._books[held.version].plays[held.play].steps[held.step - 1]
        return book.plays.get(held.play) or gone(held.play)

    def _decide(
        self, shard: Shard, profile: Profile, candidate: Candidate, book: PlayBook, lost: str
    ) -> governance.Verdict:
        play, at, held = candidate.play, shard.state.at, candidate.held
        known_id, own_id = (held.id, held.own) if held else _ids(candidate, profile)
        left = budget_left(play, shard.number, self._shards, shard.state)
        arms = arms_of(shard.state, play.name) if play.bandit else {}
        given = Circumstances(at, book, left, lost, held is not None, arms)
        stopped = self._stopped(shard, profile, candidate, book)
        rests, verdict = (None, Verdict(stopped)) if stopped else _taken(candidate, (known_id, own_id), profile, given)
        if verdict.code == ERROR:
            self._failed(shard, profile, play, book)
        treated, outcome = play.name in profile.treated, verdict.outcome
        for each in shard.sides(profile):
            governance.record(candidate, known_id, verdict, each, given)
        decision = outputs.Decision(
            id=own_id,
            play=play.name,
            play_version=candidate.version or book.version,
            limits_version=book.version if candidate.version not in ("", book.version) else None,
            step=play.step,
            explored=verdict.explored,
            customer=profile.customer,
            outcome=outcome,
            at=at,
            business_key=candidate.business_key,
            touchpoint=candidate.touchpoint,
            code=verdict.code,
            channel=verdict.channel,
            variant=verdict.variant,
            until=verdict.until or None,
            treated=treated and outcome == "held_out",
            grounds=rests,
        )
        shard.emit(self._decisions, -1, profile.customer, stitched.encode(decision))
        shard.count(f"decision/{play.name}/{verdict.code or 'emitted'}")
        shard.tally(f"play/{play.name}/{outcome}/{verdict.channel if outcome == 'emitted' else verdict.code}")
        if verdict.until:
            self._hold(profile, candidate, (known_id, own_id), verdict, at)
        elif verdict.code is None:
            self._emit(shard, profile, candidate, own_id, verdict, book)
        begins = play.steps and held is None and outcome != "stopped"
        if begins and not journeys.begin(profile, candidate, book.version, at):
            shard.count("journeys_refused")
        if outcome in ("emitted", "held_out"):
            self._outcomes.open(shard, profile, decision, play)
        return verdict

    def _failed(self, shard: Shard, profile: Profile, play: Play, book: PlayBook) -> None:
        """A play could not be evaluated: tell it once, and take it out if that goes on."""
        state = shard.state
        count = state.failed[play.name] = state.failed.get(play.name, 0) + 1
        if count not in (1, FAILURES):
            return
        text = f"play {play.name} of version {book.version} could not be evaluated"
        if count == FAILURES:
            state.paused = sorted({*state.paused, play.name})
            state.paused_at[play.name] = state.at
            text += f" {count} times and is paused in shard {shard.number}; mend it, apply it, and resume it"
        alert = outputs.Alert("play_error", state.at, profile.customer, text)
        shard.emit(self._alerts, -1, profile.customer, stitched.encode(alert))

    def _stopped(self, shard: Shard, profile: Profile, candidate: Candidate, book: PlayBook) -> str | None:
        """What stops a candidate before anything is asked."""
        play, (start, end) = candidate.play, candidate.play.valid
        if play.name not in book.plays:
            return "play_removed"
        if not {play.name, EVERY}.isdisjoint(shard.state.paused):
            return "paused"
        if not start <= shard.state.at < end:
            return "not_valid"
        if candidate.stop is None and play.watch is not None:
            return products.stale(candidate, shard.products.get(candidate.business_key), profile, shard.state.at)
        return candidate.stop

    def _hold(self, profile: Profile, candidate: Candidate, ids: tuple[str, str], verdict: Verdict, at: int) -> None:
        held = Held(
            *ids, at, verdict.until, verdict.code or "", candidate.play.name, candidate.business_key,
            candidate.occurrence, candidate.touchpoint, candidate.time, candidate.values,
            candidate.score, candidate.worth, candidate.play.step, candidate.version, candidate.reasons,
        )  # fmt: skip
        profile.held = [*profile.held, held]
        fold.set_timer(profile, progress.HELD, held.id, held.until)

    def _emit(
        self, shard: Shard, profile: Profile, candidate: Candidate, own_id: str, verdict: Verdict, book: PlayBook
    ) -> None:
        play, at = candidate.play, shard.state.at
        if play.budget is not None:
            period = at // play.budget[1]
            before, used = shard.state.budgets.get(play.name, (period, 0))
            shard.state.budgets[play.name] = (period, used + 1 if before == period else 1)
        trigger = self._trigger(profile, candidate, own_id, verdict, at, candidate.version or book.version)
        shard.emit(self._triggers, -1, profile.customer, stitched.encode(trigger))
        if candidate.ts:
            shard.started.append((candidate.ts, candidate.time))

    def _trigger(
        self, profile: Profile, candidate: Candidate, own_id: str, verdict: Verdict, at: int, version: str
    ) -> outputs.Trigger:
        varied = candidate.play.variants[verdict.variant].values if verdict.variant else {}
        return outputs.Trigger(
            id=own_id,
            source=self._source,
            type=f"touchstream.trigger.{candidate.play.name}",
            subject=profile.customer,
            time=rfc3339(at),
            traceparent=_traceparent(candidate.touchpoint, own_id),
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
                contact=_sealed(profile, verdict.namespace),
                values={**candidate.values, **varied},
                score=candidate.score,
                step=candidate.play.step,
                variant=verdict.variant,
                channels=list(verdict.channels),
                consent=_consent(candidate.play, verdict, profile),
                expires_at=None if candidate.play.expires is None else at + candidate.play.expires,
                customer_number=_sealed(profile, self._number),
                reasons=candidate.reasons,
                not_before=candidate.held.until if candidate.held else at,
            ),
        )
