"""A Redis Cluster as one client: every command and every pipeline goes to the nodes that hold its keys.

All keys of a shard share a hash tag, the identity index is one slot, and no script leaves its slot; so it is enough to
ask the right node. redis-py's own cluster client knows neither scripts nor MGET in pipelines, and repeats by itself
what failed; here, as everywhere, a failure is told at once, and whoever takes over again finds the slots where they
are then. A pipeline costs one round trip for each node that it reaches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, ConnectionError, MovedError, ReadOnlyError, RedisError, TimeoutError

#: After these the slots may lie elsewhere.
_MOVED = (MovedError, ReadOnlyError, ClusterDownError, ConnectionError, TimeoutError)
#: Where the first key stands among the words of a command; of all others it is the second word.
_SCRIPTS = frozenset({"EVAL", "EVALSHA"})
#: Commands without a key: the first node answers for all.
_KEYLESS = frozenset({"PING", "INFO", "TIME"})

Node = tuple[str, int]


class Cluster(redis.Redis):
    """Speaks to the cluster that a node belongs to.

    Args:
        seed: a client of any of its nodes.
        reach: makes the client of the node at a host and port.
    """

    def __init__(self, seed: redis.Redis, reach: Callable[[str, int], redis.Redis]) -> None:
        super().__init__(connection_pool=seed.connection_pool)
        self._seed: Any = seed
        self._reach = reach
        self._clients: dict[Node, Any] = {}
        #: First and last slot, and who holds them; empty if that is not known.
        self._ranges: list[tuple[int, int, Node]] = []
        #: What nodes have said of single slots: others may not have heard of it yet.
        self._moved: dict[int, Node] = {}

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command, at the node of its key."""
        try:
            return self._client_of(args).execute_command(*args, **options)
        except _MOVED as error:
            self.forget(error)
            raise

    def pipeline(self, transaction: bool = False, shard_hint: Any = None) -> Pipeline:
        """Commands for any nodes; no transaction spans them."""
        return _Spread(self)

    def scan(self, cursor: Any = 0, match: Any = None, count: Any = None, *_: Any, **__: Any) -> Any:
        """As of one server: the cursor also says which node is being scanned."""
        nodes = self._nodes()
        at, number = divmod(int(cursor), len(nodes))
        try:
            following, keys = nodes[number].scan(at, match, count)
        except _MOVED as error:
            self.forget(error)
            raise
        return (following * len(nodes) + number if following else (number + 1) % len(nodes)), keys

    def close(self) -> None:
        """Close all connections."""
        for client in (self._seed, *self._clients.values()):
            client.close()

    def forget(self, error: RedisError) -> None:
        """Slots lie elsewhere by now, or may."""
        self._ranges = []
        if isinstance(error, MovedError):
            self._moved[error.slot_id] = (error.host, error.port)
        else:
            self._moved.clear()

    def by_node(self, commands: Iterable[tuple[Any, ...]]) -> list[tuple[Any, list[int]]]:
        """The nodes that commands go to, each with the places of its commands."""
        clients = [self._client_of(args) for args in commands]
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, client in enumerate(clients):
            places[id(client)].append(place)
        return [(clients[some[0]], some) for some in places.values()]

    def _client_of(self, args: Sequence[Any]) -> Any:
        name = str(args[0]).upper()
        if name in _KEYLESS:
            return self._nodes()[0]
        slot = key_slot(self._seed.get_encoder().encode(args[3 if name in _SCRIPTS else 1]))
        if slot in self._moved:
            return self._client(self._moved[slot])
        self._look()
        for first, last, node in self._ranges:
            if first <= slot <= last:
                return self._client(node)
        raise ClusterDownError(f"no node of the cluster holds slot {slot}")

    def _nodes(self) -> list[Any]:
        """All primaries, in the same order each time."""
        self._look()
        return [self._client(node) for node in sorted({node for _, _, node in self._ranges})]

    def _client(self, node: Node) -> Any:
        client = self._clients.get(node)
        if client is None:
            client = self._clients[node] = self._reach(*node)
        return client

    def _look(self) -> None:
        """Learn who holds which slots, of whichever node answers, if that is not known."""
        failure: RedisError = ClusterDownError("the cluster has given no slots to its nodes")
        for client in () if self._ranges else (self._seed, *self._clients.values()):
            try:
                found = client.execute_command("CLUSTER SLOTS")
            except RedisError as error:
                failure = error
                continue
            self._ranges = [(first, last, _node(primary)) for first, last, primary, *_ in found]
            if self._ranges:
                return
        if not self._ranges:
            raise failure


class _Spread(Pipeline):
    """Commands are collected as in any pipeline, and go in one to each node."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, False, None)
        self._cluster = cluster

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = list(self.command_stack)
        self.reset()
        replies: list[Any] = [None] * len(commands)
        try:
            for client, places in self._cluster.by_node(args for args, _ in commands):
                pipe = client.pipeline(transaction=False)
                for place in places:
                    args, options = commands[place]
                    pipe.execute_command(*args, **options)
                for place, reply in zip(places, pipe.execute(raise_on_error), strict=True):
                    replies[place] = reply
        except _MOVED as error:
            self._cluster.forget(error)
            raise
        return replies


def _node(primary: Sequence[Any]) -> Node:
    host, port = primary[:2]
    return host.decode() if isinstance(host, bytes) else host, int(port)
