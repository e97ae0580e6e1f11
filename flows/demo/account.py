"""The account of a run: what became of every touchpoint, and whether that is all of them."""

from __future__ import annotations

import msgspec

from flows.demo.figures import Figures
from flows.status import STITCH, Status


class Account(msgspec.Struct, frozen=True):
    """``closes``: written = consumed = applied + duplicates + erased + dead letters, and every trigger that was
    committed could be read. ``latency_ms``: touchpoint to trigger, p50 and p99, None without any."""

    written: int
    consumed: int
    applied: int
    duplicates: int
    erased: int
    dead_letters: int
    closes: bool
    triggers: dict[str, int]
    latency_ms: dict[str, int | None]
    customers: int
    merges: int
    models: int
    restarts: int
    seconds: float

    @property
    def missing(self) -> int:
        """Consumed touchpoints that ended nowhere; negative: some ended twice."""
        return self.consumed - self.applied - self.duplicates - self.erased - self.dead_letters


def settle(status: Status, figures: Figures, seconds: float) -> Account:
    """The account after the flows have drained.

    ``consumed`` and ``dead_letters`` are those committed with the offsets; the embedded broker loses that
    text, so there they are the group's offsets themselves (sources hold plain records, one offset each)
    and the dead letters that were read.
    """
    found = status.account
    offsets = sum(row.next or 0 for flow in status.flows if flow.flow == STITCH for row in flow.partitions)
    consumed = offsets if found.consumed is None else found.consumed
    dead = figures.dead.total() if found.dead_letters is None else found.dead_letters
    balanced = consumed == found.applied + found.duplicates + found.erased + dead
    written = figures.written["written"]
    whole = written == consumed and figures.decided_triggers == figures.triggers.total()
    return Account(
        written=written,
        consumed=consumed,
        applied=found.applied,
        duplicates=found.duplicates,
        erased=found.erased,
        dead_letters=dead,
        closes=balanced and whole,
        triggers={play: figures.triggers[play] for play in figures.plays},
        latency_ms={"p50": figures.latency.p50, "p99": figures.latency.p99},
        customers=figures.customers,
        merges=figures.merges,
        models=figures.models,
        restarts=figures.restarts,
        seconds=round(seconds, 1),
    )


def lines(account: Account, figures: Figures) -> list[str]:
    """The account for reading, beside what the retailer says it has written."""
    dead = ", ".join(f"{reason} {n:,}" for reason, n in figures.dead.most_common())
    latency, written = figures.latency, figures.written
    return [
        "",
        _row("written by the retailer", account.written),
        _row("consumed", account.consumed),
        _row("= applied", account.applied, f"valid {written['valid']:,}"),
        _row("+ duplicates", account.duplicates, f"sent twice {written['duplicates']:,}"),
        _row("+ erased", account.erased),
        _row("+ dead letters", account.dead_letters, f"broken {written['broken']:,}", dead),
        "",
        _row("triggers", sum(account.triggers.values())),
        *(_row(f"  {play}", count) for play, count in account.triggers.items()),
        f"  touchpoint to trigger     p50 {shown_ms(latency.p50)}, p99 {shown_ms(latency.p99)}"
        f" ({figures.measured:,} triggers; the others come from timers)",
        f"  customers {account.customers:,}, merges {account.merges:,}, models {account.models:,}",
        "",
        f"  {verdict(account, figures)}",
    ]


def verdict(account: Account, figures: Figures) -> str:
    """One sentence: whether it closes, and what is wrong if not."""
    if account.closes:
        return "The account closes: every touchpoint is accounted for, once."
    faults = []
    if account.missing:
        where = "nowhere" if account.missing > 0 else "twice"
        faults.append(f"touchpoints that ended {where}: {abs(account.missing):,}")
    if account.written != account.consumed:
        faults.append(f"{account.written:,} were written but {account.consumed:,} consumed")
    if figures.decided_triggers != figures.triggers.total():
        faults.append(f"{figures.decided_triggers:,} triggers decided but {figures.triggers.total():,} read")
    return f"THE ACCOUNT DOES NOT CLOSE: {'; '.join(faults)}."


def shown_ms(value: int | None) -> str:
    """A latency for reading."""
    return "-" if value is None else f"{value:,} ms"


def _row(name: str, count: int, of_retailer: str = "", detail: str = "") -> str:
    return f"  {name:<24}{count:>10,}   {of_retailer:<20}{detail}".rstrip()
