"""Three nodes of a Redis Cluster (Valkey), each with a third of the slots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.servers import ValkeyServer

SLOTS = 16_384
NODES = 3
#: The nodes must know of each other within this time (seconds).
PATIENCE = 30.0


class ClusterNode(ValkeyServer):
    """One node. The nodes talk among themselves at its port and 10,000."""

    options = (*ValkeyServer.options, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")

    def ask(self, *words: Any) -> Any:
        """The answer to a command of administration."""
        with redis.Redis.from_url(self.url) as client:
            answer: Any = client.execute_command(*words)
            return answer


@contextmanager
def redis_cluster(folder: Path) -> Iterator[list[ClusterNode]]:
    """The nodes, once all of them can serve."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(ClusterNode(folder / f"node-{number}")) for number in range(NODES)]
        for number, node in enumerate(nodes):
            node.ask("CLUSTER ADDSLOTSRANGE", SLOTS * number // NODES, SLOTS * (number + 1) // NODES - 1)
            if number:
                node.ask("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        deadline = time.monotonic() + PATIENCE
        while not all(_serves(node) for node in nodes):
            if time.monotonic() > deadline:
                facts = [node.ask("CLUSTER INFO") for node in nodes]
                raise TimeoutError(f"the nodes did not become a cluster: {facts}")
            time.sleep(0.05)
        yield nodes


def move_slot(key: str, nodes: list[ClusterNode]) -> None:
    """Give the slot of ``key`` and all that is in it to another node."""
    slot = key_slot(key.encode())
    ids = [_text(node.ask("CLUSTER MYID")) for node in nodes]
    owner = next(_text(row[2][2]) for row in nodes[0].ask("CLUSTER SLOTS") if row[0] <= slot <= row[1])
    old = ids.index(owner)
    new = (old + 1) % len(nodes)
    nodes[new].ask("CLUSTER SETSLOT", slot, "IMPORTING", ids[old])
    nodes[old].ask("CLUSTER SETSLOT", slot, "MIGRATING", ids[new])
    # As two words: redis-py would take the names, which are bytes, for text.
    while names := nodes[old].ask("CLUSTER", "GETKEYSINSLOT", slot, 1_000):
        nodes[old].ask("MIGRATE", "127.0.0.1", nodes[new].port, "", 0, 5_000, "KEYS", *names)
    for node in (nodes[new], nodes[old], *nodes):
        node.ask("CLUSTER SETSLOT", slot, "NODE", ids[new])


def _serves(node: ClusterNode) -> bool:
    facts = node.ask("CLUSTER INFO")
    return (facts["cluster_state"], facts["cluster_known_nodes"]) == ("ok", str(NODES))


def _text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)
