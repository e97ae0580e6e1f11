"""One input record, read: a `Touch` that is ready to be resolved, or a fault that makes it a dead letter.

Everything a sender can get wrong comes out here, before the record has had any effect.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import msgspec

from operators.evidence import ALIAS, OBSERVED, TILL, Sighting, confused
from operators.junk import Junk
from operators.normalise import canonical, namespace, normalise
from operators.privacy import split, unknown_fields
from operators.rules import Rules
from schemas import commands
from schemas.commands import Command
from schemas.config import Config
from schemas.errors import RecordFault
from schemas.outputs import DeadLetter
from schemas.stitched import Event
from schemas.topics import COMMANDS, topic_name
from schemas.touchpoint import REPEATING, Price, Stock, decode, decode_body, decode_identifiers
from state.tokens import CUT, Tokens, read_token, token_text
from state.vault import DeadLetterBox, Original

#: Identifiers, sets of them, sessions and bodies remembered: most touchpoints carry ones seen lately. What is longer
#: (bytes) is not worth its memory.
CACHED, LARGEST_REPEATING = 50_000, 1_000
#: A message can be sent to these: their values travel sealed, as the customer's number does.
DELIVERABLE = frozenset(("email", "phone", "wechat_openid", "wechat_unionid"))


#: How often something was found in caches, and was not, by cache.
Caches = dict[str, tuple[int, int]]


def found_in(**caches: Any) -> Caches:
    """How often something was found in these caches of `functools.lru_cache`, and was not."""
    return {name: cache.cache_info()[:2] for name, cache in caches.items()}


class Message(Protocol):
    """What is used of ``confluent_kafka.Message``."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Known(msgspec.Struct):
    """A usable identifier: token, its text, namespace; the normalised value where that travels sealed."""

    token: bytes
    text: str
    ns: str
    value: str


class Person(msgspec.Struct, eq=False):
    """Whom an event shows: ``who`` as in a `Sighting` (distinct tokens ascending, login bits), the texts of all
    usable tokens, those whose values travel sealed, and how many identifiers were junk. ``strongest``: the tokens of
    ``who``, strongest first. ``by_last``: for each pair of them, as `itertools.combinations` of their places sorted
    by the second, whether the last time of their link decides whose the weaker one is. ``kind`` is that of the links
    that no login has proven.

    Shared by the touchpoints that show the same identifiers, and not to be changed, but for ``cluster``: where they
    were found last, a hint of where to look first. ``command``: not a sighting, but what an operator says of ``who``,
    whose tokens then stand in the order of the command. ``mixed``: the identifiers are of several people.
    """

    who: tuple[tuple[bytes, ...], int]
    ids: list[str]
    contacts: list[Known]
    junk: int
    strongest: tuple[bytes, ...] = ()
    by_last: tuple[bool, ...] = ()
    logouts: tuple[bytes, ...] = ()
    cluster: bytes = b""
    command: Command | None = None
    kind: str = OBSERVED
    mixed: bool = False

    @property
    def flawed(self) -> bool:
        """Whether identifiers are of no use or of several people."""
        return self.junk > 0 or self.mixed

    def sighting(self, first: int, last: int) -> Sighting:
        """What it says of identity to have been seen so from ``first`` to ``last`` (ms)."""
        return Sighting(*self.who, first, last, self.kind)


class Touch(msgspec.Struct):
    """A valid touchpoint, with nothing left in it that can fail.

    ``event``: as it will stand in ``stitched``, short of the customer (but for a product event, whose ``person`` is
    `NOBODY`) and the sealed ``personal`` fields; its ``at`` is what the record itself says, or 0. ``time``: the event
    time as given. ``live``: it is not below K, so that it is to be published. ``sure``: nobody can have heard of it
    before, also not through changes that another process published. ``late``: it happened before an
    identifier of it was erased, and must not have happened.
    """

    event: Event
    time: int
    person: Person
    personal: bytes | None
    live: bool = True
    sure: bool = True
    late: bool = False


class _Content(NamedTuple):
    """What becomes of a body, and the product it is about if it is about one alone."""

    data: msgspec.Raw
    personal: bytes | None
    product: str


NOBODY = Person(((), 0), [], [], 0)


class Reader:
    """Reads the records of one deployment."""

    def __init__(self, config: Config, tokens: Tokens) -> None:
        self._commands = topic_name(config, COMMANDS)
        self._country = config.identity.default_country
        self._sealed = DELIVERABLE | {config.identity.customer_number}
        self._seal_unknown = config.privacy.unknown_fields == "seal"
        self._tokens = tokens
        blocked = _blocked(config)
        identity = config.identity
        self._junk = Junk(blocked, identity.blocked_patterns, identity.own_domains)
        self._tags, self._dots = identity.email_tags, identity.email_dots
        self.rules = Rules(config.identity.policy(), [tokens.identifier(*entry.split(":", 1)) for entry in blocked])
        self._box = DeadLetterBox(bytes.fromhex(config.keys.dead_letters))
        self._namespace = lru_cache(CACHED)(namespace)
        self._known = lru_cache(CACHED)(self.identifier)
        self._person = lru_cache(CACHED)(self._people)
        self._session = lru_cache(CACHED)(partial(tokens.text, "session"))
        self._repeating = lru_cache(CACHED)(self._content)

    def read(self, message: Message, source: str) -> Touch:
        """The touchpoint in ``message`` of ``source``, written "topic/partition". Raises `RecordFault`."""
        try:
            return self._read(message, source)
        except (ValueError, OverflowError, RecursionError) as error:
            raise RecordFault("unusable") from error

    def dead_letter(self, message: Message, fault: RecordFault, at: int) -> DeadLetter:
        """What is kept of a record that could not be read: the reason in clear, all the rest sealed."""
        cause = fault.__cause__ or fault.__context__
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        error = f"{fault}: {cause!r}" if cause else str(fault)
        headers = list(message.headers() or ())
        sealed = self._box.seal(Original(topic, partition, offset, message.key(), message.value(), headers, error))
        ts = message.timestamp()[1]
        return DeadLetter(fault.reason, fault.path, "stitch", topic, partition, offset, ts, at, sealed)

    def _read(self, message: Message, source: str) -> Touch:
        raw = message.value()
        if not raw:
            raise RecordFault("empty")
        if message.topic() == self._commands:
            return self._command(message, raw)
        touchpoint = decode(raw)
        kind, session = touchpoint.type, touchpoint.session
        if self._seal_unknown:
            data, personal, product = self._content(kind, touchpoint.data, raw)
        elif kind in REPEATING and len(touchpoint.data) <= LARGEST_REPEATING:
            data, personal, product = self._repeating(kind, bytes(touchpoint.data))
        else:
            data, personal, product = self._content(kind, touchpoint.data)
        person = NOBODY if product else self._shown(touchpoint.identifiers, leaving=kind == "Signed Out")
        time = int(touchpoint.time)
        event = Event(
            touchpoint.at or 0,
            product,
            f"{source}/{message.offset()}",
            message.timestamp()[1],
            self._tokens.event(touchpoint.source, touchpoint.id),
            time,
            kind,
            touchpoint.source,
            person.ids,
            touchpoint.channel,
            touchpoint.store,
            session if session is None else self._session(session),
            touchpoint.consent,
            data,
        )
        return Touch(event, time, person, personal)

    def _command(self, message: Message, raw: bytes) -> Touch:
        """An operator's command. Raises `RecordFault`."""
        command = commands.decode(raw)
        try:
            tokens = tuple([read_token(text) for text in command.ids])
        except ValueError:
            raise RecordFault("not_a_command", "$.ids") from None
        event = Event(0, "", "", message.timestamp()[1], command.id, command.time, command.op, "")
        return Touch(event, command.time, Person((tokens, 0), command.ids, [], 0, tokens, command=command), None)

    def _content(self, kind: str, data: msgspec.Raw | bytes, raw: bytes = b"") -> _Content:
        """What becomes of a body; ``raw`` is the whole record where unknown fields are kept. Raises `RecordFault`."""
        body = decode_body(kind, data)
        product = f"product:{body.sku}" if isinstance(body, Stock | Price) else ""
        kept, personal = split(msgspec.Raw(data), body, self._tokens, unknown_fields(raw, body) if raw else {})
        return _Content(kept, personal, product)

    def _shown(self, raw: msgspec.Raw, *, leaving: bool) -> Person:
        """Whom identifiers show. Raises `RecordFault` if nobody."""
        return (self._person if len(raw) <= LARGEST_REPEATING else self._people)(bytes(raw), leaving)

    def _people(self, raw: bytes, leaving: bool) -> Person:
        """Identifiers, put together. (Called through a cache.)"""
        given = decode_identifiers(raw)
        if not given:
            raise RecordFault("no_identifier", "$.identifiers")
        usable: dict[bytes, Known] = {}
        proven: set[bytes] = set()
        kinds = {each.kind for each in given}
        junk = 0
        for each in given:
            known = self._known(each.ns, each.value)
            if known is None:
                junk += 1
                continue
            usable[known.token] = known
            if each.kind == "login":
                proven.add(known.token)
        if not usable:
            raise RecordFault("no_usable_identifier", "$.identifiers")
        found = list(usable.values())
        tokens, mixed = self._connecting(found)
        logins = 0
        for i, token in enumerate(tokens):
            if token in proven:
                logins |= 1 << i
        return Person(
            (tokens, logins),
            [known.text for known in found],
            [known for known in found if known.value],
            junk,
            tuple(sorted(tokens, key=lambda token: self.rules.order(token[:CUT]))),
            tuple([self.rules.by_last(tokens[i], tokens[j]) for j in range(len(tokens)) for i in range(j)]),
            self.rules.logged_out(tokens) if leaving else (),
            kind=ALIAS if ALIAS in kinds else TILL if TILL in kinds else OBSERVED,
            mixed=mixed,
        )

    def _connecting(self, found: list[Known]) -> tuple[tuple[bytes, ...], bool]:
        """The tokens that say who somebody is, ascending. Those that never connect do so only if there is nothing
        else; where the event confuses several people, its strongest identifier alone counts. Whether it does."""
        of = self.rules.policy.of
        tokens = sorted([known.token for known in found if of(known.ns).connects] or [found[0].token])
        if mixed := confused(tuple(tokens), self.rules):
            tokens = [min(tokens, key=lambda token: (self.rules.order(token[:CUT]), token))]
        return tuple(tokens), mixed

    @property
    def caches(self) -> Caches:
        """How often what is remembered was asked for."""
        return found_in(bodies=self._repeating, identifiers=self._known, persons=self._person)

    def identifier(self, name: str, given: str) -> Known | None:
        """One identifier as it is known everywhere; None if it is junk."""
        ns = self._namespace(name)
        value = normalise(ns, given, self._country) if ns else None
        if ns is None or value is None or self._junk(ns, value):
            return None
        if ns == "email":
            value = canonical(value, self._tags, self._dots)
        token = self._tokens.identifier(ns, value)
        return Known(token, token_text(token), ns, value if ns in self._sealed else "")


def _blocked(config: Config) -> list[str]:
    """The configured junk list with values normalised as those of touchpoints will be."""
    found = []
    for entry in config.identity.blocked:
        name, _, value = entry.partition(":")
        ns = namespace(name) or ""
        found.append(f"{ns}:{normalise(ns, value, config.identity.default_country) or value}")
    return found
