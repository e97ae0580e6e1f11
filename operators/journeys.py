"""Journeys: plays of several messages, with a wait before each further one, until something ends them.

A journey goes on as the play was when it began, whatever is put in force meanwhile; if the play is gone it ends with
``play_removed``. What ends it is looked for at every touchpoint of the customer, and once more before each message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from operators import progress
from operators.playbook import PlayBook
from operators.plays import ERROR, EXIT, Candidate, Exit, Play, said
from schemas.stitched import Event, Gist
from schemas.touchpoint import Body
from state.profile import Journey, Profile

#: Journeys of one customer at once; of more, none begins.
KEPT_JOURNEYS = 20
Books = Mapping[str, PlayBook]


def begin(profile: Profile, candidate: Candidate, version: str, at: int) -> bool:
    """After the first message, wait for the second; False if there is no room."""
    play, key = candidate.play, candidate.business_key
    others = [each for each in profile.journeys if (each.play, each.key) != (play.name, key)]
    if len(others) >= KEPT_JOURNEYS:
        return False
    began = Journey(
        play.name, key, candidate.occurrence, 1, at + play.steps[0].within, version, candidate.touchpoint,
        candidate.time, candidate.values,
    )  # fmt: skip
    profile.journeys = [*others, began]
    progress.follow(profile)
    return True


def running(profile: Profile, play: str, key: str) -> Journey | None:
    """The customer's journey of a play under a key."""
    return next((each for each in profile.journeys if (each.play, each.key) == (play, key)), None)


def message(profile: Profile, journey: Journey, books: Books, at: int) -> Candidate:
    """What a journey says next; if it is over by then, why not."""
    whole = _play(journey, books)
    play, occurrence = whole.steps[journey.step - 1], f"{journey.occurrence}/{journey.step}"
    bare = Candidate(
        play, journey.key, occurrence, journey.touchpoint, journey.time, 0, journey.values, due=journey.due,
        version=journey.version,
    )  # fmt: skip
    given = (None, None, profile, at, journey.key, 0)
    try:
        if whole.exit is not None and whole.exit.over(profile, at):
            return bare._replace(stop=EXIT)
        return bare._replace(values={**journey.values, **said(play, *given)})
    except Exception:  # of whatever kind: it is the play's, not ours
        return bare._replace(stop=ERROR)


def move_on(profiles: Iterable[Profile], journey: Journey, books: Books, at: int, *, over: bool) -> None:
    """Wait for the message after this one, if there is one and the journey is not ``over``, in place; in all that know
    the journey, the parts of a customer too."""
    steps = _play(journey, books).steps
    last = over or journey.step >= len(steps)
    after = [] if last else [
        msgspec.structs.replace(journey, step=journey.step + 1, due=at + steps[journey.step].within)
    ]  # fmt: skip
    for profile in profiles:
        if journey in profile.journeys:
            profile.journeys = [each for each in profile.journeys if each != journey] + after
            progress.follow(profile)


def ended(profile: Profile, event: Event | Gist, body: Body | None, books: Books) -> list[Journey]:
    """The journeys that a touchpoint ends."""
    return [each for each in profile.journeys if ends(_play(each, books).exit, each.key, profile, event, body)]


def ends(exit: Exit | None, key: str, profile: Profile, event: Event | Gist, body: Body | None) -> bool:
    """Whether a touchpoint ends what is under ``key``. What cannot be evaluated ends nothing."""
    if exit is None:
        return False
    given = (event, body, profile, event.at, key, 0)
    try:
        if event.type in exit.types and (exit.where is None or exit.where(*given)):
            return exit.by is None or key in progress.keys_of(exit.by(*given))
        return exit.over(profile, event.at)
    except Exception:  # of whatever kind: it is the play's, not ours
        return False


def join(mine: Profile, other: Profile) -> None:
    """Unite the journeys of both, in place: of two of one play and key the one that is further."""
    further: dict[tuple[str, str], Journey] = {}
    for each in sorted([*other.journeys, *mine.journeys], key=lambda each: (each.step, each.due, each.occurrence)):
        further[each.play, each.key] = each
    mine.journeys = sorted(further.values(), key=lambda each: (each.due, each.play, each.key))[:KEPT_JOURNEYS]


def _play(journey: Journey, books: Books) -> Play:
    """As it was when the journey began."""
    return books[journey.version].plays[journey.play]
