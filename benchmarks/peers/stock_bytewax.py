"""The job in Bytewax as it comes: its Kafka connectors, keyed state, recovery store. At least once.

``python stock_bytewax.py BOOTSTRAP FOLDER``, with one worker. A crash repeats what happened since the last snapshot,
which is taken every ten seconds, as is the default.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from benchmarks.peers import job

Source = KafkaSourceMessage[bytes | None, bytes | None]
Sink = KafkaSinkMessage[bytes | None, bytes | None]


def attribute(owner: str | None, touch: job.Touch) -> tuple[str, tuple[str, job.Touch]]:
    """Give a touchpoint to the customer who signed in last on its device."""
    customer = job.login(touch) or owner or ""
    return customer, (customer, touch)


def decide(profile: job.Profile | None, keyed: tuple[str, job.Touch]) -> tuple[job.Profile, list[job.Trigger]]:
    """Fold a touchpoint into its customer's profile."""
    profile = profile or job.Profile()
    return profile, job.apply(profile, *keyed) or []


def by_device(message: Source) -> tuple[str, job.Touch]:
    touch = job.decode(message.value or b"")
    return job.device_of(touch), touch


def written(keyed: tuple[str, job.Trigger]) -> Sink:
    return KafkaSinkMessage(keyed[0].encode(), job.encode(keyed[1]))


def flow(bootstrap: str) -> Dataflow:
    dataflow = Dataflow("peers")
    source = kafka.input("source", dataflow, brokers=[bootstrap], topics=[job.SOURCE], batch_size=1_000)
    touchpoints = op.map("by_device", source.oks, by_device)
    owned = op.stateful_map("attribute", touchpoints, attribute)
    keyed = op.map("by_customer", owned, lambda each: each[1])
    decided = op.stateful_flat_map("decide", op.map("whole", keyed, lambda each: (each[0], each)), decide)
    kafka.output("triggers", op.map("written", decided, written), brokers=[bootstrap], topic=job.TRIGGERS)
    return dataflow


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    init_db_dir(folder, 1)
    print("ready", flush=True)
    store = RecoveryConfig(str(folder))
    cluster_main(flow(sys.argv[1]), [], 0, recovery_config=store, epoch_interval=timedelta(seconds=10))
