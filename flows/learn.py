"""The learn flow: matured examples in, models out.

::

    churn.examples -> learn -> commit -> models, stitched (control records)

``python -m bytewax.run flows.learn`` or ``touchstream run learn``; one process learns, others stand by.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.running import Running
from operators.batches import BatchSink, BatchSource
from operators.training import FLOW, Training
from state.connection import connect

#: How long an idle process waits for examples (seconds).
WAIT = 0.2


def flow() -> Dataflow:
    """The dataflow of one process, configured from file and environment."""
    running = Running(FLOW)
    training = Training(running.config, connect(running.config), initialise=running.initialise)
    dataflow = Dataflow(FLOW)
    examples = op.input("examples", dataflow, BatchSource(running.polls(training, WAIT), running.draining))
    learned = op.map("learn", examples, running.timed("learn", training.learn))
    op.output("commit", learned, BatchSink(running.timed("commit", training.commit), training.close))
    return dataflow
