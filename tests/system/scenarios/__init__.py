"""What is done to a running deployment. Each scenario returns its own figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from schemas.config import Config
from tests.system import bad_input
from tests.system.feed import PEOPLE
from tests.system.pipeline import FLOWS
from tests.system.scenarios import broker, clock, drains, kills, load, members, store, versions
from tests.system.scenarios.stage import Stage

#: What stitches and engages.
LEAN: Final = ("stitch", "stitch", "engage", "engage")


class Scenario(NamedTuple):
    """``harm``: what happens under load; ``flows``: the processes; ``front``: whether clients reach Redis through one;
    ``cluster``: whether Kafka has three nodes;
    ``judged``: whether the deployment comes to rest afterwards, for the oracle to judge; ``idle``: it sends what it
    needs itself; ``people``: how many there are at a time when the harm is done ``count`` times; ``shows``: the figure
    that would be 0 somewhere if no harm had been done, where nothing was waited for that comes of it."""

    harm: Callable[[Stage], Mapping[str, Any]]
    flows: tuple[str, ...] = LEAN
    front: bool = False
    judged: bool = True
    scattered: bool = False
    cluster: bool = False
    idle: bool = False
    people: Callable[[int], int] = lambda _: PEOPLE
    shows: str = ""
    prepare: Callable[[Config], Config] = lambda config: config


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "kills": Scenario(kills.kills, FLOWS, shows="kills"),
    "scattered": Scenario(
        kills.scattered, ("stitch",) * 4 + ("engage",) * 2, scattered=True, shows="takeovers_after_rollback"
    ),
    "zombie": Scenario(members.zombie, FLOWS),
    "rebalance": Scenario(members.rebalance, FLOWS),
    "upgrade": Scenario(versions.upgrade, FLOWS),
    "rollback": Scenario(store.rollback, FLOWS, shows="takeovers_after_rollback"),
    "flushed": Scenario(store.flushed, shows="restored"),
    "full": Scenario(store.full, shows="refused"),
    "scripts": Scenario(store.scripts, shows="unknown_scripts"),
    "frozen": Scenario(store.frozen),
    "reset": Scenario(store.reset, front=True, shows="cuts"),
    "failover": Scenario(store.failover, front=True, shows="behind"),
    "crash": Scenario(broker.crash),
    "outage": Scenario(broker.outage),
    "slow": Scenario(broker.slow),
    "large": Scenario(broker.large),
    "timed-out": Scenario(broker.timed_out, prepare=broker.patient, shows="given_up"),
    "widened": Scenario(broker.widened),
    "resharded": Scenario(broker.resharded, judged=False),
    "missing": Scenario(broker.missing, judged=False),
    "unread": Scenario(broker.unread, judged=False),
    "recreated": Scenario(broker.recreated, judged=False),
    "refilled": Scenario(broker.refilled, judged=False, prepare=broker.unhurried),
    "quorum": Scenario(broker.quorum, cluster=True),
    "input": Scenario(lambda stage: bad_input.feed(stage.pipeline), ("stitch", "engage"), judged=False, idle=True),
    "crowd": Scenario(load.crowd, shows="of_one_customer"),
    "burst": Scenario(load.burst),
    "catch-up": Scenario(load.catch_up, people=load.many, prepare=load.roomy),
    "soak": Scenario(load.soak, FLOWS),
    "drains": Scenario(drains.drains, FLOWS, prepare=drains.brief),
    "backlog": Scenario(clock.backlog, idle=True, shows="reminded"),
    "stepped": Scenario(clock.stepped, prepare=clock.by_the_wall),
}
