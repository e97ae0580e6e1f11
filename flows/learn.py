"""The learn flow: matured examples in, models out; outcomes in, what is believed of variants out.

::

    churn.examples, outcomes -> learn -> commit -> models, stitched (control records)

``python -m bytewax.run flows.learn`` or ``touchstream run learn``; one process learns models, others stand by.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.running import Running
from operators.batches import BatchSink, BatchSource
from operators.rewards import Rewards
from operators.subscription import Received, Subscription
from operators.training import FLOW, Training
from state.shards import Commit

#: How long an idle process waits for examples, and for outcomes (seconds).
WAIT = 0.1


class Turns:
    """Two that learn, batch by batch in turn: a batch passes all steps before the next is asked for."""

    def __init__(self, training: Training, rewards: Rewards) -> None:
        self._both: tuple[Training | Rewards, ...] = (training, rewards)
        self._turns: Iterator[Training | Rewards] = cycle(self._both)
        self._turn = next(self._turns)

    def poll(self, wait: float) -> list[Received]:
        """The next batch of whose turn it is."""
        self._turn = next(self._turns)
        return self._turn.poll(wait)

    def sum_up(self, messages: list[Received]) -> list[Commit]:
        """Learn it."""
        return self._turn.sum_up(messages)

    def commit(self, commits: list[Commit]) -> None:
        """Commit it."""
        self._turn.commit(commits)

    @property
    def subscriptions(self) -> list[Subscription]:
        """What both read."""
        return [subscription for each in self._both for subscription in each.subscriptions]

    def close(self) -> None:
        """Leave cleanly."""
        for each in self._both:
            each.close()


def flow() -> Dataflow:
    """The dataflow of one process, configured from file and environment."""
    running = Running(FLOW)
    config, client = running.config, running.redis
    turns = Turns(
        Training(config, client, initialise=running.initialise), Rewards(config, client, initialise=running.initialise)
    )
    dataflow = Dataflow(FLOW)
    examples = op.input("examples", dataflow, BatchSource(running.polls(turns, WAIT), running.draining))
    learned = op.map("learn", examples, running.timed("learn", turns.sum_up))
    op.output("commit", learned, BatchSink(running.timed("commit", turns.commit), turns.close))
    return dataflow
