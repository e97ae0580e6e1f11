"""The kpis flow: what the shards of engage have counted in, the figures of the shop out.

::

    kpi.partials -> kpis -> commit -> kpis, alerts

``python -m bytewax.run flows.kpis`` or ``touchstream run kpis``; one process adds up, others stand by.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.running import Running
from operators.batches import BatchSink, BatchSource
from operators.kpis import FLOW, Scoreboard

#: How long an idle process waits for partials (seconds).
WAIT = 0.1


def flow() -> Dataflow:
    """The dataflow of one process, configured from file and environment."""
    running = Running(FLOW)
    board = Scoreboard(running.config, running.redis, initialise=running.initialise)
    dataflow = Dataflow(FLOW)
    partials = op.input("partials", dataflow, BatchSource(running.polls(board, WAIT), running.draining))
    summed = op.map("sum", partials, running.timed("sum", board.sum_up))
    op.output("commit", summed, BatchSink(running.timed("commit", board.commit), board.close))
    return dataflow
