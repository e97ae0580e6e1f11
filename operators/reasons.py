"""A recorded decision, taken again from its grounds, and every check of it in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from operators import governance, quiet
from operators.expressions import compile_condition
from operators.feedback import ADDRESS
from operators.governance import Verdict
from operators.language import Scope
from operators.playbook import PlayBook
from operators.plays import Play
from operators.scope import scope
from operators.syntax import terms
from operators.texts import duration, rfc3339
from schemas.outputs import Decision, Grounds


class Check(msgspec.Struct, frozen=True):
    """One step of governance: whether it was ``passed``, what it looked at, and what it found."""

    step: str
    passed: bool
    text: str


def again(decision: Decision, books: Mapping[str, PlayBook]) -> Verdict:
    """The verdict that follows from what was recorded; ``books``: plays by version, those that it names at least."""
    if decision.grounds is None:
        return Verdict(decision.code)
    limits = books[decision.limits_version or decision.play_version]
    return governance.decide(
        _play(decision, books), decision.id, decision.customer, decision.at, decision.grounds, limits
    )


def _play(decision: Decision, books: Mapping[str, PlayBook]) -> Play:
    play = books[decision.play_version].plays[decision.play]
    return play.steps[decision.step - 1] if decision.step else play


def recorded(verdict: Verdict, decision: Decision) -> bool:
    """Whether a decision says what this verdict does."""
    said = decision.outcome, decision.code, decision.channel, decision.variant, decision.until or 0
    found = verdict.outcome, verdict.code, verdict.channel, verdict.variant, verdict.until
    return said == found


def checks(decision: Decision, books: Mapping[str, PlayBook]) -> list[Check]:
    """Every check that was made, in order, up to the one that decided; ``books`` as above."""
    rests = decision.grounds
    if rests is None:
        return [Check(decision.code or "", False, _ENDED.get(decision.code or "", ""))]
    asked = _Asked(decision, rests, books)
    stop = _STOPS.get(decision.code or "", decision.code)
    found: list[Check] = []
    for step, tell in _STEPS.items():
        found.append(Check(step, step != stop, tell(asked)))
        if step == stop and decision.outcome != "held_out":
            break
    return found


def false_terms(text: str, read: dict[str, Any], at: int, names: Scope) -> list[str]:
    """Those parts of a condition that do not hold of what was read, at ``at`` (ms)."""
    return [term for term in terms(text) if not compile_condition(term, names).holds(read, at)]


class _Asked:
    """A decision, and all that its checks look at."""

    def __init__(self, decision: Decision, rests: Grounds, books: Mapping[str, PlayBook]) -> None:
        self.decision = decision
        self.rests = rests
        self.book = books[decision.limits_version or decision.play_version]
        self.play = _play(decision, books)
        written = books[decision.play_version].file.plays[decision.play]
        self.exit_when = written.exit_when
        self.who = (written.steps[decision.step - 1].who if decision.step else None) or written.who
        self.scope = scope(books[decision.play_version].segments.names)

    def ago(self, time: int) -> str:
        return f"{rfc3339(time)}, {duration(self.decision.at - time)} before"


def _mode(asked: _Asked) -> str:
    known = {"live": "is sent", "shadow": "does everything but send", "test": "is sent to testers only"}
    return known[asked.play.mode]


def _consent(asked: _Asked) -> str:
    if "consent" in asked.play.skips:
        return "is not asked for by this play"
    said = {channel: asked.rests.consent.get(channel) for channel in asked.play.channels}
    purpose = asked.play.purpose
    return "; ".join([
        f"{channel}/{purpose}: nothing known"
        if known is None
        else f"{channel}/{purpose}: {'agreed' if known[0] else 'refused'} {rfc3339(known[1])}"
        for channel, known in said.items()
    ])  # fmt: skip


def _filter(asked: _Asked) -> str:
    if asked.who is None:
        return "is for everyone"
    read = ", ".join([f"{name} = {_value(asked, name, value)}" for name, value in asked.rests.who.items()])
    if wrong := false_terms(asked.who, asked.rests.who, asked.decision.at, asked.scope):
        return f"does not hold: {'; '.join(wrong)} (with {read})"
    return f"holds: {asked.who} (with {read})"


def _value(asked: _Asked, name: str, value: Any) -> str:
    """A value as it is read: times are those of names that say so."""
    if value is None:
        return "missing"
    return rfc3339(value) if asked.scope.names[name].type == "time" else repr(value)


def _exit(asked: _Asked) -> str:
    if asked.exit_when is None:
        return "ends with nothing of the profile"
    return f"ends when {asked.exit_when}"


def _duplicate(asked: _Asked) -> str:
    return "was decided before" if asked.rests.decided else "was not decided before"


def _cool_down(asked: _Asked) -> str:
    last, wanted = asked.rests.last, duration(asked.play.cool_down)
    if "cool_down" in asked.play.skips:
        return "is not asked for by this play"
    return f"last {'never' if last is None else asked.ago(last)}; waits {wanted}"


def _arbitration(asked: _Asked) -> str:
    rests, group = asked.rests, asked.play.group
    if group is None:
        return "competes with no other"
    if rests.lost:
        return f"{rests.lost} was chosen of group {group}"
    if rests.window and not rests.waited:
        return f"waits for others of group {group} until {rfc3339(rests.window)}"
    return f"no other of group {group} was chosen"


def _caps(asked: _Asked) -> str:
    if "caps" in asked.play.skips:
        return "is not asked for by this play"
    decision, rests = asked.decision, asked.rests
    said = []
    for channel in asked.play.channels:
        until = governance.capped_until(asked.play, channel, decision.at, rests, asked.book)
        said.append(f"{channel}: {'free' if until is None else f'full until {rfc3339(until)}'}")
    return f"{len(rests.sent)} messages remembered; {', '.join(said)}"


def _budget(asked: _Asked) -> str:
    left = asked.rests.left
    return "has none" if left is None else f"{left} left of this shard's share"


def _quiet(asked: _Asked) -> str:
    hours, book = asked.book.quiet_hours, asked.book
    if hours is None or "quiet_hours" in asked.play.skips:
        return "are not asked for"
    zone = asked.rests.timezone or f"{book.timezone} (the customer's is not known)"
    until = quiet.ends(hours, asked.decision.at, asked.rests.timezone, book.timezone)
    return f"{zone}: {f'quiet until {rfc3339(until)}' if until else 'not now'}"


def _holdout(asked: _Asked) -> str:
    births = [asked.decision.customer, *asked.rests.births]
    code = governance.held_out(asked.play, births, asked.book)
    if "holdout" in asked.play.skips:
        return "is not asked for by this play"
    return {None: "in none", governance.GLOBAL: "in that of all plays"}.get(code, "in that of this play")


def _variant(asked: _Asked) -> str:
    if not asked.play.variants:
        return "has none"
    chosen, evenly = governance.chosen(asked.play, asked.decision.id, asked.decision.customer, asked.rests)
    if evenly is not None:
        known = ", ".join([f"{name} {won} of {won + lost}" for name, (won, lost) in asked.rests.arms.items()])
        return f"{chosen}, drawn {'evenly' if evenly else 'by what is known'} ({known or 'nothing yet'})"
    return f"{chosen}, as before" if chosen == asked.rests.variant else f"{chosen}, drawn"


def _channel(asked: _Asked) -> str:
    return "; ".join([f"{channel}: {_reach(asked.rests, channel)}" for channel in asked.play.channels])


def _reach(rests: Grounds, channel: str) -> str:
    """What is known of the addresses for a channel, and how it is answered where that is asked for."""
    if channel in rests.resting:
        return "rests, since messages have bounced"
    reached = [each for each in ADDRESS[channel] if each in rests.addresses]
    bounced = [f"{each} (bounced)" for each in ADDRESS[channel] if each in rests.bounced]
    answers = f", {100 * rests.answers[channel]:.0f} % answered" if channel in rests.answers else ""
    return f"{', '.join(reached + bounced)}{answers}" if reached or bounced else "no address"


#: Steps in their order, each with what tells of it.
_STEPS: dict[str, Callable[[_Asked], str]] = {
    "mode": _mode,
    "consent": _consent,
    "filter": _filter,
    "exit": _exit,
    "duplicate": _duplicate,
    "cool_down": _cool_down,
    "arbitration": _arbitration,
    "frequency_cap": _caps,
    "budget": _budget,
    "quiet_hours": _quiet,
    "holdout": _holdout,
    "variant": _variant,
    "channel": _channel,
}
#: Codes whose step has another name.
_STOPS = {
    "no_consent": "consent",
    "unreachable": "channel",
    "not_a_tester": "mode",
    governance.GLOBAL: "holdout",
    governance.OF_PLAY: "holdout",
}
_ENDED = {
    "error": "the play could not be evaluated; see the alert",
    "too_old": "the touchpoint came too late to start anything (limits.start_within)",
    "exit": "something ended it, see `exit` of the play",
    "late": "the timer fired too late for this play (late: drop)",
    "not_valid": "the play is only valid at another time",
    "paused": "the play was paused by an operator",
    "play_removed": "the play is no longer in force",
    "product_changed": "what had become of the product no longer held",
    "no_interest": "the customer is no longer interested in the product, or has bought it",
}
