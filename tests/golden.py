"""The collected identity cases: the collection itself beside the repository where it is there, else its copy."""

from __future__ import annotations

from pathlib import Path

from flows.identity_cases import Case, read_cases

_DATA = Path(__file__).parent / "data"
COPY = _DATA / "identity.json"
COLLECTION = _DATA.parents[2] / "shared" / "golden" / "identity.json"
#: SHA-256 of the collection, by which a copy alone is known to be it.
DIGEST = "09cc583d3f8080007b0230df9893e93e8cee38b8a917cecc4f5d035493908391"
GOLDEN = COLLECTION if COLLECTION.exists() else COPY
#: Cases of the same kind that are ours.
MORE = _DATA / "identity_more.json"


def cases(path: Path) -> list[Case]:
    found, faults = read_cases(path.read_bytes())
    assert not faults
    return found
