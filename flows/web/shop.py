"""What is in force in the shop, and what operators change: plays, segments, identity, tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import redis

from flows import identity_commands, plays_control
from flows.plays_control import InForce
from flows.web import answers
from flows.web.access import Refusal, Who
from flows.web.audit import Auditor
from flows.web.tokens import DAY, state_of
from operators import kpis
from schemas.commands import Op
from schemas.config import Config
from schemas.errors import NoCustomer, TouchstreamError
from schemas.plays import PlayFile, kinds_of
from schemas.stitched import EVERY
from state.access import AccessStore, Token
from state.shards import ShardStore

#: So long (seconds) a change of plays is waited for.
PATIENCE: Final = 5.0


class Shop:
    """Blocks on Redis and Kafka; to be shared by threads. What changes something says who does, and is on record."""

    def __init__(self, config: Config, client: redis.Redis, auditor: Auditor) -> None:
        self._config, self._redis, self._auditor = config, client, auditor
        self._tokens = AccessStore(client, config.prefix)
        self._figures = ShardStore(client, config.prefix, kpis.FLOW)

    # -- what is in force ----------------------------------------------------------------------------------------------

    def plays(self) -> answers.Plays:
        """The plays in force."""
        found = plays_control.in_force(self._config, self._redis)
        plays = self._content(found).plays
        listed = [
            answers.Play(
                name=name,
                when=kinds_of(play.when)[0],
                channels=[*play.channels],
                category=play.category,
                mode=play.mode,
                priority=play.priority,
                holdout=play.holdout,
                description=play.description,
                paused=max(found.paused.get(name, 0), found.paused.get(EVERY, 0)),
            )
            for name, play in plays.items()
        ]
        return answers.Plays(found.version, found.versions, found.paused.get(EVERY, 0), listed)

    def segments(self) -> answers.Segments:
        """The segments in force, and how many are in each."""
        found = plays_control.in_force(self._config, self._redis)
        (stored,) = self._figures.read([0])
        totals = kpis.state_of(stored.state).totals if stored.state else None
        listed = [
            answers.Segment(
                name, each.who, each.description, None if totals is None else totals.get(f"segment/{name}", 0)
            )
            for name, each in self._content(found).segments.items()
        ]
        return answers.Segments(found.version, listed)

    def _content(self, found: InForce) -> PlayFile:
        if not found.version:
            return PlayFile(plays={})
        return plays_control.content(self._config, self._redis, found.version)

    # -- what is changed -----------------------------------------------------------------------------------------------

    def decide(self, who: Who, op: Op, named: Sequence[str], reason: str, wait: float) -> answers.Carried:
        """Carry an operator's command about identity out, waiting up to ``wait`` seconds for what comes of it."""
        try:
            command = identity_commands.prepare(self._config, self._redis, op, named, by=who.name, reason=reason)
        except NoCustomer:
            raise
        except TouchstreamError:
            raise Refusal(409, "refused") from None
        self._auditor.record(who, op, "asked", command=command.id, ids=command.ids, reason=reason)
        answer = identity_commands.send(self._config, command, wait=wait)
        return answers.Carried(command.id, answer.done, answer.audit)

    def hold(self, who: Who, verb: str, names: Sequence[str], reason: str) -> answers.Reached:
        """``pause`` or ``resume`` plays (`EVERY`: all)."""
        known = self._content(plays_control.in_force(self._config, self._redis)).plays
        if not {*names} <= {*known, EVERY}:
            raise Refusal(404, "no_play")
        self._auditor.record(who, verb, "asked", reason=reason, why=" ".join(names))
        if verb == "pause":
            plays_control.pause(self._config, names)
        else:
            plays_control.resume(self._config, names)
        self._auditor.record(who, verb, "applied", reason=reason, why=" ".join(names))
        paused = verb == "pause"
        reached = plays_control.await_reached(
            self._config, self._redis, lambda found: _reached(found, names, paused=paused), PATIENCE
        )
        return answers.Reached([*names], reached, self._config.topics.shards)

    # -- tokens --------------------------------------------------------------------------------------------------------

    def tokens(self) -> answers.TokenList:
        """All tokens."""
        return answers.TokenList([_known(each) for each in self._tokens.all()])

    def new_token(self, who: Who, order: answers.TokenOrder) -> answers.NewToken:
        """Create a token."""
        self._auditor.record(who, "create_token", "asked", why=f"{order.role} {order.name}")
        now = time.time_ns() // 1_000_000
        expires = now + int(order.days * DAY) if order.days else 0
        try:
            text, token = self._tokens.create(order.name, order.role, now=now, expires=expires)
        except TouchstreamError:
            raise Refusal(409, "name_taken") from None
        return answers.NewToken(text, token.id)

    def revoke_token(self, who: Who, id: str) -> answers.TokenKnown:
        """Take a token back: first of all, since it may be in the wrong hands."""
        try:
            token = self._tokens.revoke(id, now=time.time_ns() // 1_000_000)
        except TouchstreamError:
            raise Refusal(404, "no_such_token") from None
        self._auditor.record(who, "revoke_token", "applied", why=f"{token.role} {token.name}")
        return _known(token)


def _known(token: Token) -> answers.TokenKnown:
    state: Any = state_of(token)
    return answers.TokenKnown(token.id, token.name, token.role, token.created, token.expires, state)


def _reached(found: InForce, names: Sequence[str], *, paused: bool) -> int:
    """In how many shards all of them are paused, or none is."""
    held = [found.paused.get(name, 0) for name in names]
    return min(held) if paused else found.shards - max(held)
