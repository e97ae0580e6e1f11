"""Every decoder, fed random bytes and valid ones with changes: nothing but the errors that it declares may escape.

::

    python -m tests.fuzz --minutes 10 --seed 3
    python -m tests.fuzz --minutes 1 --decoder touchpoint

What fails is shown as small as it gets, and found again under the same seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from flows import playfile
from flows import settings as configuration
from operators import beliefs, board, churn, contest, learning, reading, training
from operators.playbook import PlayBook
from operators.reception import _read_account
from operators.shard import ShardState, state_of
from schemas import commands, outputs, stitched, touchpoint
from schemas.config import Config, Keys, Privacy
from schemas.errors import MALFORMED, ConfigError, MissingContent, RecordFault
from schemas.stitched import Absorb, Change, Contact, Control, Event, Occasion, Record, Signal, Step, Tick, Visit
from schemas.topics import COMMANDS, topic_name
from state import identity, products, profile, shards
from state.tokens import Tokens, read_token, token_text
from state.vault import DeadLetterBox, Original, SealError, Vault, kid
from tests.corpus import corpus, good
from tests.messages import Message

KEYS: Final = Keys(index="11" * 32, dead_letters="22" * 32, master={"k1": "33" * 32})
_TOKENS: Final = Tokens(bytes.fromhex(KEYS.index))
#: Larger ones take the time of all others.
_LARGEST: Final = 20_000


class Fuzzed(NamedTuple):
    """A decoder. ``seeds``: valid bytes; ``errors``: all that may escape; ``load`` and ``dump``: the format of the
    bytes, where they have one, for changes inside it."""

    name: str
    decode: Callable[[bytes], object]
    seeds: list[bytes]
    errors: tuple[type[Exception], ...]
    load: Callable[[bytes], Any] | None = None
    dump: Callable[[Any], bytes] | None = None
    #: One of so many examples is tried: it takes so long.
    cost: int = 1


def _json(name: str, decode: Callable[[Any], object], seeds: list[bytes], *errors: type[Exception]) -> Fuzzed:
    return Fuzzed(name, decode, seeds, errors or MALFORMED, json.loads, lambda value: json.dumps(value).encode())


def _packed(name: str, decode: Callable[[bytes], object], *values: object, errors: Any = MALFORMED) -> Fuzzed:
    load, dump = msgspec.msgpack.decode, msgspec.msgpack.encode
    return Fuzzed(name, decode, [dump(value) for value in values], errors, load, dump)


def _yaml(name: str, decode: Callable[[bytes], object], seeds: list[bytes]) -> Fuzzed:
    return Fuzzed(name, decode, seeds, (ConfigError,), yaml.safe_load, lambda value: yaml.safe_dump(value).encode(), 20)


@cache
def decoders() -> dict[str, Fuzzed]:
    """All of them, by name."""
    return {each.name: each for each in (*_inputs(), *_records(), *_told(), *_kept(), *_written())}


def _inputs() -> list[Fuzzed]:
    """What others send."""
    valid = [sample.value or b"" for sample in corpus() if sample.fate == "applied"]
    bodies = [good("b", type=type, data=data) for type, data in _BODIES.items()]
    seeds = [each for each in valid if len(each) < _LARGEST] + bodies
    command = commands.Command(
        id="c1", op="merge", ids=[_token("a"), _token("b")], time=1_767_225_600_000, by="ops", reason="ticket"
    )
    said = [msgspec.json.encode(command)]
    config = Config(keys=KEYS)
    sealing = Config(keys=KEYS, privacy=Privacy(unknown_fields="seal"))
    return [
        _json("touchpoint", _reads(config, "t"), seeds, RecordFault),
        _json("touchpoint with unknown fields", _reads(sealing, "t"), bodies, RecordFault),
        _json("command", _reads(config, topic_name(config, COMMANDS)), said, RecordFault),
        _json("bare command", commands.decode, said, RecordFault),
        _json("bare touchpoint", touchpoint.decode, seeds, RecordFault),
        _json(
            "identifiers",
            touchpoint.decode_identifiers,
            [b'[{"ns":"device","value":"d1","kind":"login"}]'],
            RecordFault,
        ),
        _json("bodies", _every_body, [json.dumps(data).encode() for data in _BODIES.values()], RecordFault),
        _json("normalised", _normalised, [b'["email"," Ann@Mail.CN "]', b'["phone","138 1234 5678"]'], RecordFault),
    ]


def _records() -> list[Fuzzed]:
    """What ``stitched`` holds."""
    occasion = {"cheaper": Occasion(1, "t", 3)}
    data = msgspec.Raw(b'{"order_id":"o"}')
    records: list[Record] = [
        Event(
            1, "c", "t/0/1", 2, "e", 3, "Order Completed", "shop", [_token("a")], "web", data=data, kid="k", sealed="x"
        ),
        Change(1, "i", "merged", "c", 2, 3, [_token("a")], [Contact("email", "k", "s", 1)], "o", "c"),
        Absorb(1, "c", "o", "i", 2, "cHJvZmlsZQ=="),
        Tick(1, 2),
        Visit(1, ["c"], 1),
        Control(1, "bandit", "play", part=1, arms={"a": (1, 2)}),
        Signal(1, "sku", 100, 3, occasion),
        Step(1, "sku", occasion, (1, "c"), {"cheaper": 2}),
    ]
    seeds = [stitched.encode(record) for record in records]
    return [
        _json("stitched", stitched.decode, seeds),
        _json("gists", stitched.decode_gist, seeds),
        _json("control", training._control.decode, [each for each in seeds if b"bandit" in each]),
    ]


def _told() -> list[Fuzzed]:
    """Outputs that our own flows and commands read again."""
    kinds = (
        outputs.Partial, outputs.Outcome, outputs.Example, outputs.Decision, outputs.Trigger, outputs.Alert,
        outputs.Alias, outputs.Audit, outputs.Score, outputs.SegmentChange, outputs.IdentityChange, outputs.DeadLetter,
        outputs.Kpis,
    )  # fmt: skip
    return [
        _json(kind.__name__.lower(), msgspec.json.Decoder(kind).decode, [json.dumps(sample(kind)).encode()])
        for kind in kinds
    ]


def _kept() -> list[Fuzzed]:
    """What stands in Redis."""
    one = profile.Profile("c", ids=[_token("a")], segments={"keen": 1}, sent=[profile.Sent(1, "p", "sms")])
    part = profile.Part([_token("a")], 1, one)
    cluster = identity.Cluster([b"device:0123456789abcdef"], {0: (1, 2)}, ["c"], [0], {"c": identity.Key("k", b"w")})
    output = shards.Output(1, "t", -1, b"k", b"v")
    learner = churn.Learner()
    return [
        _packed("profile", profile.unpack, one),
        _packed("examples", profile.unpack_examples, [sample(profile.OpenExample)]),
        _packed("parts", profile.unpack_parts, [part]),
        _packed("hand-over", profile.unpack_handover, profile.HandOver(one, [], [part])),
        _packed("product", products.unpack_product, products.Product(1, 2, {"p": Occasion(1, "t")})),
        _packed("cluster", identity._cluster.decode, cluster),
        _packed("source", identity.read_source, identity.Source(1, 2)),
        _packed("outbox", shards._outbox.decode, [output]),
        _packed("shard", state_of, ShardState(1, {"m": "h"}, "p", tally={1: {"applied": 2}})),
        _packed("figures", msgspec.msgpack.Decoder(board.State).decode, sample(board.State)),
        _packed("beliefs", beliefs._kept.decode, beliefs._Kept({"p": {"a": (1, 2)}}, {}, [])),
        _packed("standing", contest.standing_of, sample(contest.Standing)),
        _packed("progress", learning.progress_of, sample(learning.Progress)),
        Fuzzed("learner", churn.Learner.from_bytes, [learner.to_bytes()], (*MALFORMED, MissingContent)),
        _json("account", _account, [b'{"consumed":3,"dead":1}']),
        Fuzzed("token", lambda raw: read_token(raw.decode("latin-1")), [_token("a").encode()], (ValueError,)),
        *_sealed(),
    ]


def _sealed() -> list[Fuzzed]:
    box = DeadLetterBox(bytes.fromhex(KEYS.dead_letters))
    letter = box.seal(Original("t", 0, 1, b"k", b"v", [("n", None)], "invalid")).encode()
    vault = Vault(KEYS.master)
    wrapped = vault.new_key("c")
    key = vault.data_key(wrapped, "c", kid("c", wrapped))
    return [
        Fuzzed("sealed dead letter", lambda raw: box.open(raw.decode("latin-1")), [letter], (SealError,)),
        Fuzzed("sealed value", lambda raw: key.open(raw.decode("latin-1")), [key.seal(b"v").encode()], (SealError,)),
        Fuzzed("data key", lambda raw: vault.data_key(raw, "c", "c.1"), [wrapped], (SealError,)),
    ]


def _written() -> list[Fuzzed]:
    """What people write: play files and configuration; and content that control records name."""
    plays = [(Path(__file__).parent / "data" / "plays.yaml").read_bytes()]
    book = PlayBook(playfile.parse(plays[0], "plays.yaml"))
    config = {"keys": msgspec.to_builtins(KEYS), "topics": {"shards": 8}, "identity": {"blocked": ["member:0815"]}}
    return [
        _yaml("plays", lambda raw: playfile.parse(raw, "plays.yaml"), plays),
        _json("plays in force", PlayBook.from_bytes, [book.content], ConfigError)._replace(cost=10),
        _yaml("config", _load_config, [yaml.safe_dump(config).encode()]),
        _json("model", churn.Model.from_bytes, [churn.PRIOR_CONTENT], MissingContent),
    ]


# -- what the decoders are called with -------------------------------------------------------------------------

_BODIES: Final[dict[str, dict[str, Any]]] = {
    "Page Viewed": {"url": "https://shop.cn", "category": "tea"},
    "Product Viewed": {"product": {"sku": "s", "price": 9.5, "quantity": 2}},
    "Products Searched": {"query": "tea", "results": 3},
    "Product Added": {"cart_id": "c", "product": {"sku": "s"}, "value": 9.5},
    "Order Completed": {"order_id": "o", "revenue": 9.5, "currency": "CNY", "lines": [{"sku": "s", "price": 9.5}]},
    "Order Refunded": {"order_id": "o", "amount": 1.5},
    "Message Bounced": {"channel": "sms", "trigger_id": "t", "bounce": "soft"},
    "Signed Up": {"name": "Ann", "birthday": "1990-02-28", "country": "CN"},
    "Signed In": {"method": "sms"},
    "Ticket Opened": {"ticket_id": "t", "satisfaction": 7, "due_at": "2026-01-01T00:00:00Z"},
    "Points Earned": {"points": 7, "balance": 70, "expires_at": 1_767_225_600_000},
    "Stock Changed": {"sku": "s", "stock": 3},
    "Price Changed": {"sku": "s", "price": 9.5, "old_price": 10.5},
    "Consent Changed": {"wording": "yes"},
}


def _token(value: str) -> str:
    return token_text(_TOKENS.identifier("device", value))


def _reads(config: Config, topic: str) -> Callable[[bytes], object]:
    reader = reading.Reader(config, _TOKENS)
    return lambda raw: reader.read(Message(0, raw, source=topic), "t/0")


def _every_body(raw: bytes) -> None:
    """Whichever types take it; the others have to say so."""
    faults = 0
    for type in touchpoint.TYPES:
        try:
            touchpoint.decode_body(type, raw)
        except RecordFault:
            faults += 1
    if faults == len(touchpoint.TYPES):
        raise RecordFault("invalid")


def _normalised(raw: bytes) -> object:
    """An identifier, of a list of two texts."""
    try:
        ns, value = msgspec.json.decode(raw, type=tuple[str, str])
    except MALFORMED:
        return None
    return _READER.identifier(ns, value)


_READER: Final = reading.Reader(Config(keys=KEYS), _TOKENS)


def _account(raw: bytes) -> object:
    """As metadata of an offset: text."""
    return _read_account(raw.decode("utf-8"))


def _load_config(raw: bytes) -> object:
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        return configuration.load(file.name, {})


def sample(kind: Any) -> Any:
    """Something that decodes as ``kind``, every field of it there."""
    return _sample(msgspec.inspect.type_info(kind))


def _sample(info: msgspec.inspect.Type) -> Any:
    match info:
        case msgspec.inspect.StructType(array_like=True):
            return [_sample(field.type) for field in info.fields]
        case msgspec.inspect.StructType():
            return {field.encode_name: _sample(field.type) for field in info.fields}
        case msgspec.inspect.UnionType():
            return _sample(next(each for each in info.types if not isinstance(each, msgspec.inspect.NoneType)))
        case msgspec.inspect.DictType():
            return {_sample(info.key_type): _sample(info.value_type)}
        case msgspec.inspect.TupleType():
            return [_sample(each) for each in info.item_types]
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            return [_sample(info.item_type)]
        case msgspec.inspect.LiteralType():
            return info.values[0]
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.IntType():
            return 1
        case msgspec.inspect.FloatType():
            return 0.5
        case msgspec.inspect.Metadata():
            return _sample(info.type)
        case msgspec.inspect.StrType():
            return "text" if info.pattern is None else f"00-{'0' * 32}-{'0' * 16}-01"
        case msgspec.inspect.BytesType():
            return b"bytes"
        case msgspec.inspect.DateTimeType():
            return "2026-01-01T00:00:00Z"
        case _:
            return {}


# -- changed bytes ---------------------------------------------------------------------------------------------

_NASTY: Final[list[Any]] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", " ", "null", "\0", "\ud800", "\ufeff", "x" * 300, "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01", [], {}, [[]], [None], {"": None}, [0] * 60, "a@b", "+86", "茶",
]  # fmt: skip
_BYTES: Final = (
    b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":",
    b"null", b"NaN", b"-", b"1e999", b"9" * 400, b"[" * 2_000, b'{"a":' * 2_000, b"\xdd\xff\xff\xff\xff", b"\xc1",
    b"\x81\xa0", b"\n", b"\t", b"# ", b"&a ", b"*a", b"!!python/object:os.system ", b"2026-02-31", b"<<: ", b"? ", b"|",
)  # fmt: skip


def changed(one: Fuzzed) -> st.SearchStrategy[bytes]:
    """Random bytes, and seeds with bytes or parts of them changed."""
    seeds = st.integers(0, len(one.seeds) - 1).map(one.seeds.__getitem__)
    kinds = [st.binary(max_size=200), st.builds(_cut, seeds, st.lists(_cuts, min_size=1, max_size=4))]
    if one.load is not None:
        inside = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(_NASTY)), min_size=1, max_size=3)
        kinds += [st.builds(lambda raw, changes: _change(one, raw, changes), seeds, inside)] * 2
    return st.one_of(kinds)


_cuts = st.tuples(st.integers(0, 2**16), st.integers(0, 40), st.sampled_from(_BYTES) | st.binary(max_size=8))


def _cut(raw: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """Put other bytes in the place of some."""
    for at, length, other in cuts:
        at %= len(raw) + 1
        raw = raw[:at] + other + raw[at + length :]
    return raw


def _change(one: Fuzzed, raw: bytes, changes: list[tuple[int, Any]]) -> bytes:
    """Put something else in the place of values, or add it where there are others."""
    assert one.load is not None
    assert one.dump is not None
    try:
        tree = one.load(raw)
    except ValueError:
        return raw
    for at, something in changes:
        nasty = deepcopy(something)
        places = list(_places(tree, []))
        if not places:
            tree = nasty
            continue
        *path, last = places[at % len(places)]
        holder = tree
        for step in path:
            holder = holder[step]
        holder[last] = nasty
    try:
        return one.dump(tree)
    except (ValueError, OverflowError, TypeError, yaml.YAMLError):  # not in this format
        return raw


def _places(tree: Any, path: list[Any]) -> Any:
    """The path of every value, and of one more that is not there yet."""
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield [*path, key]
            yield from _places(value, [*path, key])
        if isinstance(tree, dict):
            yield [*path, "odd"]


def check(one: Fuzzed, raw: bytes) -> None:
    """Decode; only what is declared may be raised."""
    with suppress(*one.errors):
        one.decode(raw)


def attempt(one: Fuzzed, examples: int, number: int) -> None:
    """Try so many, the same under the same number. Raises what escapes, from the smallest that lets it."""

    @seed(number)
    @settings(
        max_examples=max(1, examples // one.cost), database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(changed(one))
    def run(raw: bytes) -> None:
        check(one, raw)

    run()


#: Examples at a time.
ROUND: Final = 200


def main(arguments: list[str] | None = None) -> int:
    """Try all decoders in turns until the time is over; 1 if anything escaped."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--decoder", choices=sorted(decoders()), help="this one alone")
    options = parser.parse_args(arguments)
    chosen = [options.decoder] if options.decoder else list(decoders())
    end = time.monotonic() + options.minutes * 60
    tried: dict[str, int] = dict.fromkeys(chosen, 0)
    escaped: dict[str, str] = {}
    number = options.seed * 1_000_000
    while time.monotonic() < end and len(escaped) < len(chosen):
        for name in chosen:
            if name not in escaped and time.monotonic() < end:
                try:
                    attempt(decoders()[name], ROUND, number)
                except Exception as error:
                    escaped[name] = "\n".join([f"{error!r}"[:500], *getattr(error, "__notes__", ())])
                tried[name] += ROUND // decoders()[name].cost
        number += 1
    print(json.dumps({"examples": sum(tried.values()), "fewest": min(tried.values()), "decoders": len(chosen)}))
    for name, how in escaped.items():
        print(f"{name}: {how}")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
