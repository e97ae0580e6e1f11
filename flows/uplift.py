"""``touchstream report uplift``: the outcomes of a time, compared (`operators.uplift`), for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from flows.reading import decoded, read
from operators.uplift import LEVEL, Comparison, Group, Interval, Tally
from schemas.config import Config
from schemas.outputs import Alias, Outcome
from schemas.topics import ALIASES, topic_name

_outcomes = msgspec.json.Decoder(Outcome)
_aliases = msgspec.json.Decoder(Alias)


class Asked(msgspec.Struct, frozen=True):
    """What to compare: outcomes of one play or (None) of all, decided from ``start`` until before ``end`` (ms; None: at
    any time), a customer's first of each ``period`` (ms)."""

    play: str | None
    start: int | None
    end: int | None
    period: int

    def __contains__(self, outcome: Outcome) -> bool:
        at = outcome.decided_at
        fits = self.play in (None, outcome.play)
        return fits and (self.start is None or at >= self.start) and (self.end is None or at < self.end)


def uplift(config: Config, asked: Asked, progress: Callable[[int], None]) -> Tally:
    """Read ``outcomes`` (read_committed) to its end. Raises `TouchstreamError`."""
    tally, done = Tally(asked.period), 0
    for messages in read(config, topic_name(config, "outcomes"), start=0, follow=False):
        for message in messages:
            outcome = decoded(_outcomes, "outcomes", message)
            if outcome in asked:
                tally.add(outcome)
        done += len(messages)
        progress(done)
    tally.resolve(_names(config))
    return tally


def _names(config: Config) -> dict[str, str]:
    """What customer ids have become; ids of the erased stay what they were."""
    newest: dict[str, Alias] = {}
    for messages in read(config, topic_name(config, ALIASES), start=0, follow=False):
        for message in messages:
            alias = decoded(_aliases, ALIASES, message)
            known = newest.get(alias.customer)
            if known is None or alias.version >= known.version:
                newest[alias.customer] = alias
    targets = {customer: alias.target for customer, alias in newest.items() if alias.target}
    return {customer: _end(customer, targets) for customer in targets}


def _end(customer: str, targets: dict[str, str]) -> str:
    """Where a chain of merges ends; one that is being written may seem to be a circle."""
    seen = {customer}
    while (target := targets.get(customer, customer)) not in seen:
        seen.add(target)
        customer = target
    return customer


# -- shown -------------------------------------------------------------------------------------------------


def as_json(asked: Asked, tally: Tally) -> dict[str, Any]:
    """All there is to say; money in major units."""
    return {
        "play": asked.play,
        "from": asked.start,
        "to": asked.end,
        "period": asked.period,
        "level": LEVEL,
        "excluded": tally.excluded,
        "comparisons": [_row(each) for each in tally.comparisons()],
    }


def _row(each: Comparison) -> dict[str, Any]:
    return {
        "play": each.play,
        "variant": each.variant,
        "treated": _group(each.treated),
        "held_out": _group(each.held_out),
        "conversion": each.conversion and each.conversion._asdict(),
        "revenue": each.revenue and _major(each.revenue)._asdict(),
        "natural": round(each.natural, 1),
        "stimulated": round(each.treated.conversions - each.natural, 1),
        "enough": not each.lacking,
        "lacking": each.lacking,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "customers": group.customers,
        "conversions": group.conversions,
        "rate": group.rate,
        "revenue": group.revenue / 100,
        "revenue_per_customer": group.mean / 100,
    }


def _major(interval: Interval) -> Interval:
    return Interval(*[each / 100 for each in interval])


def readable(tally: Tally) -> Iterator[str]:
    """Lines for people."""
    found = tally.comparisons()
    if not found:
        yield "no outcomes: plays have them that have a `goal`, once its window has closed"
    for each in found:
        yield f"{each.play}{f' / {each.variant}' if each.variant else ''}"
        yield f"  sent        {_text(each.treated)}"
        yield f"  held out    {_text(each.held_out)}"
        if each.lacking or each.conversion is None or each.revenue is None:
            yield f"  too little data: {each.lacking}"
            continue
        shares, money = Interval(*[100 * value for value in each.conversion]), _major(each.revenue)
        yield f"  conversion  {_between(shares)} points"
        yield f"  revenue     {_between(money)} a customer"
        yield f"  conversions {each.natural:.0f} natural, {each.treated.conversions - each.natural:.0f} stimulated"
    for why, count in tally.excluded.items():
        if count:
            yield f"not compared: {count} {_WHY[why]}"


_WHY = {
    "treated": "held out, but sent the play before",
    "not_observed": "of customers with too many open goals",
}


def _text(group: Group) -> str:
    return (
        f"{group.customers:,} customers, {group.conversions:,} converted ({100 * group.rate:.2f} %), "
        f"{group.mean / 100:,.2f} a customer"
    )


def _between(interval: Interval) -> str:
    return f"{interval.difference:+,.2f} ({interval.low:+,.2f} to {interval.high:+,.2f})"
