"""One input record, read: a `Touch` that is ready to be resolved, or a fault that makes it a dead letter.

Everything a sender can get wrong comes out here, before the record has had any effect.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from operators.identity import DELIVERABLE, HOUSEHOLD
from operators.junk import Junk
from operators.normalise import namespace, normalise
from operators.privacy import Split, split, unknown_fields
from schemas.config import Config
from schemas.errors import RecordFault
from schemas.outputs import DeadLetter
from schemas.touchpoint import Identifier, Price, Stock, Touchpoint, decode, decode_body
from state.identity import Partition
from state.tokens import Tokens, token_text
from state.vault import DeadLetterBox, Original

#: Identifiers, sets of them and sessions remembered: up to 0.5 KB each. Most touchpoints carry ones seen lately.
CACHED = 50_000


class Message(Protocol):
    """What is used of ``confluent_kafka.Message``."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Known(NamedTuple):
    """A usable identifier: token, its text, namespace; the normalised value where a message can be sent to it."""

    token: bytes
    text: str
    ns: str
    value: str


class Person(NamedTuple):
    """Whom an event shows: ``who`` as in a `Sighting` (distinct tokens ascending, login bits), the texts of all
    usable tokens, those a message can be sent to, and how many identifiers were junk. Shared: not to be changed."""

    who: tuple[tuple[bytes, ...], int]
    ids: list[str]
    contacts: list[Known]
    junk: int


class Touch(NamedTuple):
    """A valid touchpoint, with nothing left in it that can fail.

    ``ts``: the broker's time (ms); ``eid`` and ``session`` are tokens; ``product``: the customer of a
    product event, whose ``person`` is `NOBODY`.
    """

    source: Partition
    offset: int
    ts: int
    touchpoint: Touchpoint
    time: int
    eid: str
    session: str | None
    split: Split
    person: Person
    product: str | None


NOBODY = Person(((), 0), [], [], 0)


class Reader:
    """Reads the records of one deployment."""

    def __init__(self, config: Config, tokens: Tokens) -> None:
        self._country = config.identity.default_country
        self._seal_unknown = config.privacy.unknown_fields == "seal"
        self._tokens = tokens
        self._junk = Junk(_blocked(config))
        self._box = DeadLetterBox(bytes.fromhex(config.keys.dead_letters))
        self._known = lru_cache(CACHED)(self._identifier)
        self._person = lru_cache(CACHED)(self._people)
        self._session = lru_cache(CACHED)(tokens.text)

    def read(self, message: Message) -> Touch:
        """The touchpoint in ``message``. Raises `RecordFault`."""
        try:
            return self._read(message)
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

    def _read(self, message: Message) -> Touch:
        raw = message.value()
        if not raw:
            raise RecordFault("empty")
        touchpoint = decode(raw)
        body = decode_body(touchpoint)
        product = f"product:{body.sku}" if isinstance(body, Stock | Price) else None
        session = touchpoint.session
        return Touch(
            (message.topic(), message.partition()),
            message.offset(),
            message.timestamp()[1],
            touchpoint,
            int(touchpoint.time),
            self._tokens.event(touchpoint.source, touchpoint.id),
            session if session is None else self._session("session", session),
            split(touchpoint, body, self._tokens, unknown_fields(raw, body) if self._seal_unknown else {}),
            NOBODY if product else self._shown(touchpoint.identifiers),
            product,
        )

    def _shown(self, given: list[Identifier]) -> Person:
        """Whom identifiers show. Raises `RecordFault` if nobody."""
        if not given:
            raise RecordFault("no_identifier", "$.identifiers")
        person = self._person(tuple(map(msgspec.structs.astuple, given)))
        if not person.ids:
            raise RecordFault("no_usable_identifier", "$.identifiers")
        return person

    def _people(self, given: tuple[tuple[str, str, str], ...]) -> Person:
        """Identifiers as (namespace, value, kind), put together. (Called through a cache.)

        A household says nothing of who somebody is, unless there is nothing else.
        """
        found = [(known, kind == "login") for ns, value, kind in given if (known := self._known(ns, value))]
        if not found:
            return NOBODY._replace(junk=len(given))
        proven: dict[bytes, bool] = {}
        for known, login in [each for each in found if each[0].ns != HOUSEHOLD] or found[:1]:
            proven[known.token] = login or proven.get(known.token, False)
        tokens = tuple(sorted(proven))
        logins = sum(1 << i for i, token in enumerate(tokens) if proven[token])
        ids = list(dict.fromkeys(known.text for known, _ in found))
        contacts = [known for known, _ in found if known.value]
        return Person((tokens, logins), ids, contacts, len(given) - len(found))

    def _identifier(self, name: str, given: str) -> Known | None:
        """One identifier, None if it is junk. (Called through a cache.)"""
        ns = namespace(name)
        value = normalise(ns, given, self._country) if ns else None
        if ns is None or value is None or self._junk(ns, value):
            return None
        token = self._tokens.identifier(ns, value)
        return Known(token, token_text(token), ns, value if ns in DELIVERABLE else "")


def _blocked(config: Config) -> list[str]:
    """The configured junk list with values normalised as those of touchpoints will be."""
    found = []
    for entry in config.identity.blocked:
        name, _, value = entry.partition(":")
        ns = namespace(name) or ""
        found.append(f"{ns}:{normalise(ns, value, config.identity.default_country) or value}")
    return found
