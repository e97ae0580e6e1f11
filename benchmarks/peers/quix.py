"""The job in Quix Streams, exactly-once, with its state in RocksDB and on changelog topics.

``python quix.py BOOTSTRAP FOLDER``, in an environment of its own (``quix-requirements.txt``). Values stay bytes
between the steps and are decoded with msgspec, which is a good part faster than its JSON.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State
from quixstreams.models.serializers import Serializer
from quixstreams.state.rocksdb import RocksDBOptions

from benchmarks.peers import job


class Second(Serializer):
    """Writes the second of a pair; the first becomes the key."""

    def __call__(self, value: tuple[str, bytes], ctx: Any) -> bytes:
        return value[1]


def attribute(value: bytes, state: State) -> tuple[str, bytes]:
    """Give a touchpoint to the customer who signed in last on its device, which is the key."""
    touch = job.decode(value)
    customer, known = job.login(touch), state.get_bytes("owner")
    if customer is None:
        return (known or b"").decode(), value
    if customer.encode() != known:
        state.set_bytes("owner", customer.encode())
    return customer, value


def decide(value: bytes, customer: str, timestamp: int, headers: Any, state: State) -> list[job.Trigger]:
    """Fold a touchpoint into its customer's profile."""
    known = state.get_bytes("profile")
    profile = job.unpack(known) if known else job.Profile()
    triggers = job.apply(profile, customer, job.decode(value))
    if triggers is not None:
        state.set_bytes("profile", job.pack(profile))
    return triggers or []


def main(bootstrap: str, folder: str) -> None:
    """Run until the process is ended."""
    application = Application(
        broker_address=bootstrap,
        consumer_group="peers.quix",
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=0.5,
        state_dir=folder,
        rocksdb_options=RocksDBOptions(use_fsync=False),
        producer_extra_config={"linger.ms": 20, "retry.backoff.ms": 2, "queue.buffering.max.messages": 1_000_000},
        consumer_extra_config={"fetch.wait.max.ms": 20},
        loglevel="WARNING",
    )
    source = application.topic(job.SOURCE, key_deserializer="str", value_deserializer="bytes")
    triggers = application.topic(job.TRIGGERS, key_serializer="str", value_serializer="bytes")
    touchpoints = application.dataframe(source)
    owned = touchpoints.apply(attribute, stateful=True)
    # Not `group_by`, which leaves the topic out where the source has one partition, and could not grow.
    between = application.topic(
        job.KEYED, key_serializer="str", key_deserializer="str", value_serializer=Second(), value_deserializer="bytes"
    )
    owned.to_topic(between, key=lambda pair: pair[0])
    keyed = application.dataframe(between)
    decided = keyed.apply(decide, stateful=True, metadata=True, expand=True)
    decided.apply(job.encode).to_topic(triggers)
    print("ready", flush=True)
    application.run()


if __name__ == "__main__":
    main(*sys.argv[1:3])
