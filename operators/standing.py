"""How a play stands with a customer that it has not decided on: how far it is, and what would stop it now."""

from __future__ import annotations

from operators import governance, reasons
from operators.governance import Circumstances
from operators.playbook import PlayBook
from operators.plays import Candidate
from operators.reasons import Check
from operators.texts import rfc3339
from schemas.outputs import Decision
from schemas.plays import Pattern, When
from state.profile import Profile, Progress


def standing(name: str, profile: Profile, book: PlayBook, at: int, left: int | None = None) -> list[Check]:
    """What the play waits for, and every check as it would come out if the play were woken at ``at`` (ms). ``left``:
    of its budget. Raises `KeyError` if there is no such play."""
    play, when = book.plays[name], book.file.plays[name].when
    candidate = Candidate(play, "", "", "", at, 0, {})
    rests = governance.grounds(candidate, "", profile, Circumstances(at, book, left))
    verdict = governance.decide(play, "", profile.customer, at, rests, book)
    decision = Decision(
        "", name, book.version, profile.customer, verdict.outcome, at, "", "", verdict.code, grounds=rests
    )
    known = profile.progress.get(play.watch.interest if play.watch else name, {})
    return [
        Check("start", False, start(when, known, profile)),
        *reasons.checks(decision, {book.version: book}),
    ]


def start(when: When, known: dict[str, Progress], profile: Profile) -> str:
    """Why a play has not been woken."""
    if when.score is not None:
        band = when.score
        aim = f"rises to {band.rises_to}" if band.rises_to else f"falls to {band.falls_to}"
        now = f"is {profile.band}" if profile.band else "was never computed"
        return f"wakes when the churn score {aim}; it {now}"
    if when.segment is not None:
        name, verb = (when.segment.entered, "enters") if when.segment.entered else (when.segment.left, "leaves")
        since = profile.segments.get(name or "")
        now = f"is in it since {rfc3339(abs(since))}" if since else "is not in it"
        return f"wakes when the customer {verb} the segment {name}; it {now}"
    if when.product is not None:
        asked = when.product.interested
        said = [f"{key} {rfc3339(each.times[-1])}" for key, each in known.items() if each.times]
        return f"wakes for products of {_pattern(asked.of)} within {asked.within}; known: {', '.join(said) or 'none'}"
    counts = when.count
    if counts is not None:
        said = [f"{key or 'so far'}: {len(each.times)}" for key, each in known.items() if each.times]
        wanted = f"wakes at {counts.times} of {_pattern(counts.of)} within {counts.within}"
        return f"{wanted}; counted {', '.join(said) or 'none'}"
    if when.event is not None:
        return f"wakes at {_pattern(when.event)}; none that it could start with has been seen"
    waits = [
        f"{key} since {rfc3339(each.times[0])} until {rfc3339(each.due)}" for key, each in known.items() if each.due
    ]
    ended = [f"{key or 'ended'} at {rfc3339(each.ended)}" for key, each in known.items() if each.ended and not each.due]
    if waits:
        return f"waits: {', '.join(waits).strip()}"
    return f"waits for nothing; ended: {', '.join(ended)}" if ended else "waits for nothing"


def _pattern(pattern: Pattern) -> str:
    types = pattern.event if isinstance(pattern.event, str) else " or ".join(pattern.event)
    return f"{types} where {pattern.where}" if pattern.where else types
