"""Identity in the memory of one process: for replays, where nothing is to outlive them and nobody else writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from state.identity import ABSENT, ANY, DELETED, SAME, Held, IdentityStore, Mark, Partition, Set, Write, displaced


class MemoryIdentity(IdentityStore):
    """An `IdentityStore` without Redis: the same reads, and the same compare-and-set as ``scripts/identity.lua``."""

    def __init__(self) -> None:
        super().__init__(None, "memory")
        self._values: dict[bytes, bytes] = {}
        self._positions: dict[Partition, bytes] = {}

    def places(self, tokens: Collection[bytes]) -> dict[bytes, bytes]:
        """Cluster id of each identifier that has one."""
        values, key = self._values, self.identifier_key
        return {token: value[:8] for token in tokens if (value := values.get(key(token))) is not None}

    def clusters(self, ids: Collection[bytes]) -> dict[bytes, Held]:
        """The clusters that exist."""
        values, key, held = self._values, self.cluster_key, self._held
        return {each: held(each, value) for each in ids if (value := values.get(key(each))) is not None}

    def write(self, writes: Sequence[Write], marks: Sequence[Mark] = ()) -> list[bool]:
        """Which of the writes were done; marks move when all were. Raises `Conflict`."""
        if any([self._positions.get(mark.source, ABSENT) != mark.expected for mark in marks]):
            raise displaced(marks)
        done = [self._write(write) for write in writes]
        if all(done):
            self._positions.update((mark.source, mark.moved) for mark in marks)
        return done

    def _write(self, write: Write) -> bool:
        values = self._values
        if not all([self._as_expected(each) for each in write]):
            return False
        for key, _, value in write:
            if value == DELETED:
                values.pop(key, None)
            elif value != SAME:
                values[key] = value
        return True

    def _as_expected(self, one: Set) -> bool:
        held = self._values.get(one.key)
        if one.expected == ABSENT:
            return held is None
        return one.expected == ANY or (held is not None and held.startswith(one.expected))

    def sources(self, partitions: Iterable[Partition] | None = None) -> dict[Partition, bytes]:
        """Packed positions of these source partitions (all, if None) where there are any."""
        held = self._positions
        return dict(held) if partitions is None else {each: held[each] for each in partitions if each in held}
