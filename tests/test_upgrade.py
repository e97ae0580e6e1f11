"""Old and new versions side by side: what a newer one wrote, as an older one reads it, and the other way round
(docs/operations.md). The wire formats are this version's, with what a later one could add."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from schemas import stitched
from schemas.outputs import Decision, Trigger
from schemas.stitched import Control, Event, Gist
from state.identity import Cluster
from state.profile import Profile, pack, unpack
from tests.conftest import new_config
from tests.system.scenarios.versions import known_before, tree_before

EVENT = Event(at=5, customer="c", src="t/0/1", ts=4, eid="e", time=3, type="Order Completed", source="pos")
PROFILE = Profile(customer="c")
#: Of the first version that has to be upgraded from. Others only follow.
PROFILE_FIELDS = (
    "customer", "alias", "alias_version", "ids", "contacts", "consent", "seen", "behaviour", "units",
    "progress", "carts", "timers", "sent", "decided", "cooling", "score", "band", "scored_at", "absorbed",
    "parks", "parked", "points", "tier", "tickets", "language", "timezone", "country", "price", "stock",
    "stock_time", "price_time", "due", "changes", "erased", "parted", "moves", "lives", "leaving", "held",
    "births", "variants", "treated", "once", "birth_day", "applied", "journeys", "engagement", "goals",
    "windows", "segments", "judged", "unsettled", "refused", "signalled",
)  # fmt: skip
CLUSTER_FIELDS = ("ids", "spans", "customers", "owners", "keys", "pending", "nobody", "hub", "erased")


def test_fields_that_a_newer_version_has_added_to_a_record_are_passed_over() -> None:
    newer = json.loads(stitched.encode(EVENT)) | {"mood": "good"}
    assert stitched.decode(json.dumps(newer).encode()) == EVENT
    gist = stitched.decode_gist(json.dumps(newer).encode())
    assert isinstance(gist, Gist)
    assert (gist.customer, gist.eid, gist.time) == ("c", "e", 3)


def test_a_record_of_a_kind_that_only_a_newer_version_knows_ends_the_process() -> None:
    for decode in (stitched.decode, stitched.decode_gist):
        with pytest.raises(msgspec.ValidationError, match="Invalid value 'weather'"):
            decode(b'{"k":"weather","at":5}')


def test_what_an_older_version_wrote_is_read_with_defaults() -> None:
    fields: list[Any] = msgspec.msgpack.decode(pack(PROFILE))
    required = [field for field in msgspec.structs.fields(Profile) if field.required]
    assert unpack(msgspec.msgpack.encode(fields[: len(required)])) == PROFILE
    older = {"k": "control", "at": 5, "what": "pause", "key": "welcome"}
    assert stitched.decode(json.dumps(older).encode()) == Control(at=5, what="pause", key="welcome")


def test_an_older_version_reads_a_newer_profile_and_loses_the_new_field_when_it_writes() -> None:
    newer: list[Any] = [*msgspec.msgpack.decode(pack(PROFILE)), {"mood": "good"}]
    read = unpack(msgspec.msgpack.encode(newer))
    assert read == PROFILE
    assert msgspec.msgpack.decode(pack(read)) == newer[:-1]


@pytest.mark.parametrize(("kind", "first"), [(Profile, PROFILE_FIELDS), (Cluster, CLUSTER_FIELDS)])
def test_state_only_grows_at_its_end(kind: type[msgspec.Struct], first: tuple[str, ...]) -> None:
    """Whoever moves or removes a field breaks what lies in Redis."""
    assert kind.__struct_fields__[: len(first)] == first


def test_consumers_pass_over_what_they_do_not_know() -> None:
    """So outputs may grow, too."""
    for kind in (Trigger, Decision):
        assert not kind.__struct_config__.forbid_unknown_fields


def test_the_version_before_knows_the_configuration_that_it_is_given(tmp_path: Path) -> None:
    """Else the scenario ``upgrade`` fails, which the gate runs now and then only."""
    tree = tree_before(tmp_path)
    file = tree / "touchstream.yaml"
    file.write_text(yaml.safe_dump(known_before(new_config("127.0.0.1:1", "redis://127.0.0.1:1"))))
    environment = {**os.environ, "PYTHONPATH": str(tree), "TOUCHSTREAM_CONFIG": str(file)}
    command = [sys.executable, "-m", "flows.cli", "config", "check"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
