"""What engage tells the outside of identity: changes, aliases, alerts, and the receipts of erasures."""

from __future__ import annotations

from collections.abc import Mapping

from operators.changes import MERGED, QUARANTINED
from operators.shard import Shard
from schemas import outputs, stitched
from schemas.config import Config
from schemas.stitched import Change
from schemas.topics import ALERTS, ALIASES, AUDIT, DATA_KEYS, topic_name


class IdentityOutputs:
    """Writes to the outbox of a shard."""

    def __init__(self, config: Config) -> None:
        self._changes = topic_name(config, "identity.changes")
        self._aliases = topic_name(config, ALIASES)
        self._alerts = topic_name(config, ALERTS)
        self._audit = topic_name(config, AUDIT)
        self._data_keys = topic_name(config, DATA_KEYS)

    def change(self, shard: Shard, change: Change) -> None:
        """Publish a change that was applied, and an alert if somebody should look at it."""
        merged = change.kind == MERGED
        customer = change.new if merged and change.new else change.customer
        published = outputs.IdentityChange(
            id=change.id,
            kind=change.kind,
            customer=customer,
            version=change.version,
            time=change.time,
            at=shard.state.at,
            ids=change.ids,
            old=change.old,
            touchpoint=change.touchpoint,
            policy=change.policy,
            why=change.why,
        )
        shard.count(f"identity_{change.kind}")
        shard.tally(f"identity/{change.kind}")
        key = change.old if merged and change.old else change.customer
        shard.emit(self._changes, -1, key, stitched.encode(published))
        if change.kind == QUARANTINED:
            text = "so many people met at these identifiers that they stand for nobody: see touchstream identity show"
            alert = outputs.Alert(change.kind, shard.state.at, customer, text, change.ids)
            shard.emit(self._alerts, -1, customer, stitched.encode(alert))

    def alias(self, shard: Shard, customer: str, target: str, version: int, erased: int = 0) -> None:
        """Say what has become of a customer id; see `outputs.Alias`."""
        alias = outputs.Alias(customer, target, version, shard.state.at, erased)
        shard.emit(self._aliases, -1, customer, stitched.encode(alias))

    def destroy(self, shard: Shard, kid: str) -> None:
        """Destroy a data key: what is sealed under it opens no more."""
        shard.emit(self._data_keys, -1, kid, b"")

    def receipt(self, shard: Shard, change: Change, counts: Mapping[str, int]) -> None:
        """Say that the state of an erased customer is gone, and how much it was."""
        command, at = change.touchpoint or "", shard.state.at
        receipt = outputs.Audit(command, "erase", "erased", at, customers=[change.customer], counts=dict(counts))
        shard.emit(self._audit, -1, command, stitched.encode(receipt))
