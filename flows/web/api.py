"""The read API, and the little that operators change through it; docs/dashboard.md.

An application of its own, mounted at ``/v1``: it answers everything there, also what is not found, in JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import unquote

import msgspec
from confluent_kafka import KafkaException
from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from redis import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from flows.process import build_info
from flows.web import access, answers
from flows.web.access import Refusal, Who
from flows.web.document import Known, describe
from flows.web.people import People
from flows.web.shop import Shop
from flows.why import NoPlay, Overdue
from schemas.commands import Op
from schemas.errors import NoCustomer, TouchstreamError
from state.access import Role

T = TypeVar("T")
log = logging.getLogger(__name__)
#: Bytes of a body; the largest that is asked for is far smaller.
LARGEST: Final = 65_536
#: Words for each code. They never repeat what was asked for: that may name a person.
TEXTS: Final = {
    "sign_in": "send a token (Authorization: Bearer ...), or sign in at /login",
    "no_token": "no such token, or it was revoked or has expired; or the session has ended",
    "role": "the role of this token may not do this",
    "csrf": "send X-CSRF-Token, as GET /v1/me tells it",
    "foreign_origin": "another site's page has sent this",
    "not_this_host": "not a host name that this service answers to (dashboard.hosts)",
    "too_many": "too many requests with this token; Retry-After says when to come again",
    "no_audit": "Kafka did not take the record for the audit, so nothing is shown or done",
    "busy": "too many are asking why at this moment",
    "no_customer": "nobody here: not known, never seen, junk, or not decided on",
    "erased": "the customer was erased; nothing is kept",
    "overdue": "topics are too long to be read within dashboard.why_seconds; ask about a later decision",
    "no_play": "no such play is in force",
    "no_such_token": "there is no such token",
    "name_taken": "a token that holds has this name",
    "refused": "this cannot be done: the identifiers are one and the same, or no hub, or too many meet there",
    "refused_later": "the flows have refused it; see `audit`",
    "not_valid": "not as documented: see /v1/openapi.json",
    "too_large": "the body is too large",
    "not_found": "there is no such path",
    "method": "not a method of this path",
    "unavailable": "Redis or Kafka does not answer",
    "failed": "an error of this service; its log says which",
}
_CUSTOMER: Final = ((404, "Nobody has this id or identifier."), (410, "The customer was erased."))
_NOT_VALID: Final = (422, "The request is not as documented here.")


def problem(status: int, code: str, at: str = "", **headers: str) -> Response:
    """An answer that says what went wrong; ``at``: in which part of the request."""
    text = TEXTS[code] + (f" (at {at})" if at else "")
    body = msgspec.json.encode(answers.Problem(code, text))
    return Response(body, status, media_type="application/json", headers=headers)


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > LARGEST:
            raise Refusal(413, "too_large")
    return bytes(found)


def _needs(role: Role) -> Callable[[Request], Who]:
    def check(request: Request) -> Who:
        who = access.who(request)
        if not who.may(role):
            raise Refusal(403, "role")
        return who

    return check


#: What routes are given.
Subject = Annotated[str, Path(description="A customer id, old or new, or namespace:value.", max_length=500)]
Purpose = Annotated[
    str | None,
    Header(
        alias="Purpose",
        description="Why values are looked at unmasked, which takes the role agent and is recorded. UTF-8, or percent-"
        "encoded; 2 to 500 characters.",
        min_length=answers.SHORTEST,
        max_length=500,
    ),
]
PlayName = Annotated[str | None, Query(description="Its latest decision, or what it waits for.", max_length=48)]
DecisionId = Annotated[str | None, Query(description="A decision, by its id.", max_length=100)]
Wait = Annotated[float, Query(description="Seconds to wait for what comes of it.", ge=0, le=30)]
Body = Annotated[bytes, Depends(_body)]
Operator = Annotated[Who, Depends(_needs("operator"))]
Admin = Annotated[Who, Depends(_needs("admin"))]


def build(people: People, shop: Shop) -> FastAPI:
    """The application."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    known = Known()
    _reading(api, known, people, shop)
    _deciding(api, known, shop)
    _giving(api, known, shop)
    api.openapi = describe(api, known, build_info("dashboard")["version"])  # type: ignore[method-assign]
    answer_errors(api)
    return api


def _reading(api: FastAPI, known: Known, people: People, shop: Shop) -> None:
    @api.get("/me", **known.said(answers.Me))
    def me(request: Request) -> Response:
        """Whom the service takes you for."""
        who = access.who(request)
        return answer(answers.Me(who.name, who.role, who.csrf))

    @api.get("/customers/{subject}", **known.said(answers.Customer, *_CUSTOMER, _NOT_VALID))
    def customer(request: Request, subject: Subject, purpose: Purpose = None) -> Response:
        """One customer: who it is and why, how it stands, and what was decided."""
        return answer(people.customer(access.who(request), subject, _purpose(purpose)))

    @api.post(
        "/lookup",
        **known.said(answers.Customer, *_CUSTOMER, _NOT_VALID, _TOO_LARGE),
        **known.asked(answers.Asked),
    )
    def lookup(request: Request, body: Body) -> Response:
        """The same, asked for in the body, so that no URL holds a personal value."""
        asked = _decoded(body, answers.Asked)
        return answer(people.customer(access.who(request), asked.customer, asked.purpose))

    @api.get("/customers/{subject}/decisions", **known.said(answers.Decisions, *_CUSTOMER, _NOT_VALID))
    def decisions(subject: Subject) -> Response:
        """The latest decisions on a customer."""
        return answer(people.decisions(subject))

    @api.get(
        "/customers/{subject}/why",
        **known.said(answers.WhyAnswer, *_CUSTOMER, _NOT_VALID, (504, "Topics are too long to be read in time.")),
    )
    def why(
        request: Request,
        subject: Subject,
        play: PlayName = None,
        decision: DecisionId = None,
        purpose: Purpose = None,
    ) -> Response:
        """Why a play has spoken or not; of neither play nor decision: the latest decision."""
        who = access.who(request)
        return answer(people.why(who, subject, play=play, decision=decision, purpose=_purpose(purpose)))

    @api.get("/plays", **known.said(answers.Plays))
    def plays() -> Response:
        """The plays in force."""
        return answer(shop.plays())

    @api.get("/segments", **known.said(answers.Segments))
    def segments() -> Response:
        """The segments in force, and how many customers are in each."""
        return answer(shop.segments())


def _deciding(api: FastAPI, known: Known, shop: Shop) -> None:
    def decided(who: Who, op: Op, named: Sequence[str], reason: str, wait: float) -> Response:
        carried = shop.decide(who, op, named, reason, wait)
        if any([each.outcome == "refused" for each in carried.audit]):
            return answer(answers.Refused("refused", TEXTS["refused_later"], carried.audit), 409)
        return answer(carried, 200 if carried.done else 202)

    carried = known.said(
        answers.Carried, *_CUSTOMER, _NOT_VALID, _TOO_LARGE, s202=answers.Carried, s409=answers.Refused
    )
    two, one = known.asked(answers.Two), known.asked(answers.One)

    @api.post("/identity/merge", **carried, **two)
    def merge(body: Body, who: Operator, wait: Wait = 10.0) -> Response:
        """Make two one customer. 202: not carried out yet, but it will be."""
        order = _decoded(body, answers.Two)
        return decided(who, "merge", order.identifiers, order.reason, wait)

    @api.post("/identity/split", **carried, **two)
    def split(body: Body, who: Operator, wait: Wait = 10.0) -> Response:
        """Keep two apart from now on, and undo a merge of theirs."""
        order = _decoded(body, answers.Two)
        return decided(who, "split", order.identifiers, order.reason, wait)

    @api.post("/identity/release", **carried, **one)
    def release(body: Body, who: Operator, wait: Wait = 10.0) -> Response:
        """Let a hub stand for a person again."""
        order = _decoded(body, answers.One)
        return decided(who, "release", [order.identifier], order.reason, wait)

    @api.post("/identity/erase", **carried, **one)
    def erase(body: Body, who: Operator, wait: Wait = 10.0) -> Response:
        """Forget a customer for good."""
        order = _decoded(body, answers.One)
        return decided(who, "erase", [order.identifier], order.reason, wait)

    @api.post(
        "/plays/{verb}",
        **known.said(answers.Reached, _NOT_VALID, _TOO_LARGE, (404, "No such play is in force.")),
        **known.asked(answers.PlaysOrder),
    )
    def hold(verb: Literal["pause", "resume"], body: Body, who: Operator) -> Response:
        """Stop plays at once, or let them speak again."""
        order = _decoded(body, answers.PlaysOrder)
        return answer(shop.hold(who, verb, order.plays, order.reason))


def _giving(api: FastAPI, known: Known, shop: Shop) -> None:
    @api.get("/tokens", **known.said(answers.TokenList))
    def tokens(who: Admin) -> Response:
        """All tokens, without what they say."""
        return answer(shop.tokens())

    @api.post(
        "/tokens",
        status_code=201,
        **known.said(None, _NOT_VALID, _TOO_LARGE, (409, "A token that holds has this name."), s201=answers.NewToken),
        **known.asked(answers.TokenOrder),
    )
    def create(body: Body, who: Admin) -> Response:
        """Create a token."""
        return answer(shop.new_token(who, _decoded(body, answers.TokenOrder)), 201)

    @api.delete("/tokens/{id}", **known.said(answers.TokenKnown, _NOT_VALID, (404, "There is no such token.")))
    def revoke(id: Annotated[str, Path(max_length=64)], who: Admin) -> Response:
        """Let nobody in by this token any more; sessions that it began end, too."""
        return answer(shop.revoke_token(who, id))


_TOO_LARGE: Final = (413, "The body is too large.")


def answer(value: msgspec.Struct, status: int = 200) -> Response:
    """A struct as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _decoded(body: bytes, kind: type[T]) -> T:
    """Raises `Refusal` that names the place, never the value."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(422, "not_valid") from None


def _purpose(header: str | None) -> str | None:
    """What a header says, which travels as bytes: UTF-8 or percent-encoded. Raises `Refusal` if that is nothing."""
    if header is None:
        return None
    said = unquote(header.encode("latin-1").decode("utf-8", "replace")).strip()
    if len(said) < answers.SHORTEST:
        raise Refusal(422, "not_valid")
    return said


def answer_errors(api: FastAPI) -> None:
    """Answer every error in JSON, without a word of what was asked for."""

    def on(kind: type[Exception], tell: Callable[[Any], Response]) -> None:
        async def handler(request: Request, error: Exception) -> Response:
            return tell(error)

        api.add_exception_handler(kind, handler)

    async def of_path(request: Request, error: Any) -> Response:
        code = {404: "not_found", 405: "method"}.get(error.status_code, "not_valid")
        # Of a path with several methods, the framework would name those of the first.
        routes: list[Any] = [each for each in api.routes if each.matches(request.scope)[0] != Match.NONE]
        known = {method for each in routes for method in getattr(each, "methods", None) or ()}
        allowed = {"allow": ", ".join(sorted(known))} if code == "method" else {}
        return problem(error.status_code, code, **allowed)

    on(Refusal, lambda error: problem(error.status, error.code, **error.headers))
    on(NoCustomer, lambda error: problem(410, "erased") if error.erased else problem(404, "no_customer"))
    on(NoPlay, lambda error: problem(404, "no_play"))
    on(Overdue, lambda error: problem(504, "overdue"))
    on(
        RequestValidationError,
        lambda error: problem(422, "not_valid", ".".join(map(str, error.errors()[0]["loc"][:2]))),
    )
    api.add_exception_handler(HTTPException, of_path)
    for kind in (RedisError, KafkaException, TouchstreamError):
        on(kind, _unavailable)


def _unavailable(error: Exception) -> Response:
    log.warning("a request could not be answered", exc_info=error)
    return problem(503, "unavailable")
