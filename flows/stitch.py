"""The stitch flow: which customer each touchpoint belongs to.

::

    touchpoints -> stitch (decode, validate, resolve identity, seal) -> commit -> stitched, dead-letters, data-keys

``python -m bytewax.run flows.stitch`` or ``touchstream run stitch``; any number of processes, one worker each.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.running import Running
from operators.batches import BatchSink, BatchSource
from operators.reception import FLOW, Reception

#: How long an idle process waits for touchpoints (seconds).
WAIT = 0.02


def flow() -> Dataflow:
    """The dataflow of one process, configured from file and environment."""
    running = Running(FLOW)
    reception = Reception(running.config, running.redis, initialise=running.initialise)
    dataflow = Dataflow(FLOW)
    touchpoints = op.input("touchpoints", dataflow, BatchSource(running.polls(reception, WAIT), running.draining))
    batches = op.map("stitch", touchpoints, running.timed("stitch", reception.stitch))
    op.output("commit", batches, BatchSink(running.timed("commit", reception.commit), reception.close))
    return dataflow
