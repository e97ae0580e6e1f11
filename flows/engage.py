"""The engage flow: what happens to a customer, and what is to be said about it.

::

    stitched -> load -> decide -> commit -> triggers, decisions, outcomes, segments, scores, identity.changes,
                                            churn.examples, stitched

``python -m bytewax.run flows.engage`` or ``touchstream run engage``; any number of processes, one worker each.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.running import Running
from operators.batches import BatchSink, BatchSource
from operators.engagement import FLOW, Engagement

#: How long an idle process waits for messages before it looks at its timers again (seconds).
WAIT = 0.02


def flow() -> Dataflow:
    """The dataflow of one process, configured from file and environment."""
    running = Running(FLOW)
    engagement = Engagement(running.config, running.redis, initialise=running.initialise)
    dataflow = Dataflow(FLOW)
    stitched = op.input("stitched", dataflow, BatchSource(running.polls(engagement, WAIT), running.draining))
    loaded = op.map("load", stitched, running.timed("load", engagement.load))
    decided = op.map("decide", loaded, running.timed("decide", engagement.decide))
    op.output("commit", decided, BatchSink(running.timed("commit", engagement.commit), engagement.close))
    return dataflow
