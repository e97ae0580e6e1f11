"""What the demo is asked for, and the configuration of the deployment it makes from it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from math import ceil, isfinite
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from flows import playfile
from flows.retailer.simulation import NATURAL
from schemas.config import Churn, Config, Kafka, Keys, Limits, Redis, Topics
from schemas.errors import ConfigError
from schemas.plays import PlayFile

#: Touchpoints per second: half of one core for everything, so that latency is honest on two.
RATE: Final = 600.0
#: Three simulated days a second: the churn horizon of 28 days passes in 9 seconds, so that a model has been
#: learned after 20 and warns within 40.
SPEED: Final = 259_200.0
#: Days that the shop has been there for when it begins, so that customers can be missed, or known to spend a lot.
HISTORY: Final = 120
#: The share of customers who spend enough to be cared for.
OFFICES: Final = 0.05
SHARDS, SOURCE_PARTITIONS = 8, 4
#: The embedded broker once left fetches of a busy machine unanswered; a client asks again after this long (60 s
#: by default). Above the 3 s that joining a group takes there.
ANSWER_MS: Final = 8_000
_DAY_SECONDS: Final = 86_400


class Options(msgspec.Struct, frozen=True):
    """The command's options. ``rate`` in touchpoints per second, ``speed`` in simulated seconds per second;
    ``customers`` None: as many as make that rate natural. ``kafka``, ``redis``: existing servers."""

    seconds: float | None = None
    rate: float = RATE
    customers: int | None = None
    seed: int = 1
    speed: float = SPEED
    json: bool = False
    kafka: str | None = None
    redis: str | None = None

    @property
    def shop(self) -> int:
        """Customers at any time."""
        return self.customers or max(2, round(self.rate * _DAY_SECONDS / (NATURAL * self.speed)))


def read(given: Mapping[str, Any]) -> Options:
    """Options from the command line; None stands for the default. Raises `ConfigError` with all faults."""
    options = Options(**{name: value for name, value in given.items() if value is not None})
    faults = [
        f"--{name}: {value!r}, allowed is {allowed}"
        for name, value, fine, allowed in (
            ("seconds", options.seconds, options.seconds is None or _positive(options.seconds), "more than 0"),
            ("rate", options.rate, _positive(options.rate), "more than 0"),
            ("customers", options.customers, options.customers is None or options.customers >= 2, "2 or more"),
            ("seed", options.seed, 0 <= options.seed < 2**63, "0 to 2^63 - 1"),
            ("speed", options.speed, _positive(options.speed), "more than 0; 1 is real time, 86400 a day a second"),
        )
        if not fine
    ]
    if faults:
        raise ConfigError(faults)
    return options


def deployment(options: Options, bootstrap: str, url: str) -> Config:
    """A small deployment with fresh keys on the log's clock.

    Limits that guard against real delays are in log time, so they grow with the speed. The high churn band
    begins early: the simulated customers' hazards are small, and a warning is to be seen within a minute.
    """
    prefix = f"demo-{secrets.token_hex(4)}" if options.kafka or options.redis else "demo"
    return Config(
        keys=Keys(index=_key(), dead_letters=_key(), master={"demo": _key()}),
        prefix=prefix,
        clock="log",
        kafka=Kafka(bootstrap=bootstrap, properties={} if options.kafka else {"socket.timeout.ms": ANSWER_MS}),
        redis=Redis(url=url),
        topics=Topics(source_partitions=SOURCE_PARTITIONS, shards=SHARDS, retention_days=1),
        churn=Churn(high=0.7, publish_examples=100, publish_each=10, publish_seconds=_scaled(5, options)),
        limits=Limits(park_seconds=_scaled(10, options), tick_ms=500),
    )


def plays(options: Options) -> PlayFile:
    """The starter set, which at this speed takes what is older for new."""
    starter = playfile.load()
    minutes = max(60, ceil(options.speed / 60))
    return msgspec.structs.replace(starter, limits=msgspec.structs.replace(starter.limits, start_within=f"{minutes}m"))


def write(config: Config, folder: Path) -> Path:
    """Write ``touchstream.yaml`` for the flows, readable by its owner alone."""
    path = folder / "touchstream.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False))
    return path


def _scaled(seconds: float, options: Options) -> int:
    return max(1, ceil(seconds * max(1.0, options.speed)))


def _positive(value: float) -> bool:
    return isfinite(value) and value > 0


def _key() -> str:
    return secrets.token_hex(32)
