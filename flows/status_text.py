"""`Status` as lines for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from flows.status import Account, FlowStatus, PartitionStatus, Status


def lines(status: Status) -> Iterator[str]:
    """Flows with their processes, then the account and the age of the last commit."""
    for flow in status.flows:
        yield from _flow(flow)
    yield from _account(status.account)
    age = status.last_commit_age_seconds
    yield f"last commit    {'none yet' if age is None else f'{age:.1f} s ago'}"


def _flow(flow: FlowStatus) -> Iterator[str]:
    yield f"{flow.flow:14} {flow.state}, {flow.processes} processes, {flow.lag} records behind"
    owned: dict[str, list[PartitionStatus]] = defaultdict(list)
    for each in flow.partitions:
        owned[each.owner or "(nobody)"].append(each)
    for owner, partitions in sorted(owned.items()):
        lag = sum(each.lag for each in partitions)
        yield f"  {owner}: {_ranges(partitions)}, {lag} behind"


def _ranges(partitions: list[PartitionStatus]) -> str:
    """``touchpoints 0-3,7``."""
    by_topic: dict[str, list[int]] = defaultdict(list)
    for each in partitions:
        by_topic[each.topic].append(each.partition)
    return "; ".join(f"{topic} {_range(sorted(numbers))}" for topic, numbers in sorted(by_topic.items()))


def _range(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _account(account: Account) -> Iterator[str]:
    consumed, dead, rest = (
        "unknown" if value is None else value for value in (account.consumed, account.dead_letters, account.under_way)
    )
    yield (
        f"account        consumed {consumed} = applied {account.applied} + duplicates {account.duplicates} "
        f"+ erased {account.erased} + dead letters {dead} + under way {rest}"
    )
